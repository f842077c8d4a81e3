"""`python -m benchmark` is `bench`."""

from benchmark.commands.app import main

if __name__ == "__main__":
    main()
