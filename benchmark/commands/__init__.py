"""The `bench` command, one file per command: each parses, calls and prints; what decides lies in the other rooms."""
