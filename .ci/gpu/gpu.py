#!/usr/bin/env python3
"""What goes to a GPU that is there for minutes without a network, what runs there, what comes back: see README.md."""

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# pip takes a wheel for one of these and no other: it does not know that an older one will do.
PLATFORMS = [f"--platform={name}_x86_64" for name in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
WEIGHTS = ("weights.safetensors", "checkpoint.pt")
STAYS = ("features.npz", "lease.json")


def write_pieces(archive: Path, members: list[tuple[Path, str]], mib: float) -> None:
    """Write files, each with its name inside, as ARCHIVE.01-of-03, ...: pieces of at most so many MiB."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    for old in archive.parent.glob(f"{archive.name}.*-of-*"):  # pieces of two archives do not go together
        old.unlink()
    with tempfile.TemporaryFile() as whole:
        with tarfile.open(fileobj=whole, mode="w:xz" if archive.suffix == ".xz" else "w") as packed:
            for file, name in members:
                packed.add(file, name)
        size, most = whole.tell(), int(mib * 2**20)
        count = -(-size // most)
        whole.seek(0)
        for number in range(1, count + 1):
            archive.with_name(f"{archive.name}.{number:02d}-of-{count:02d}").write_bytes(whole.read(most))
    print(f"{archive}: {size / 2**20:.1f} MiB in {count} pieces")


def read_pieces(archive: Path, to: Path) -> None:
    """Unpack what `write_pieces` wrote, where nothing as new is in `to`; nothing where no piece is there."""
    pieces = sorted(archive.parent.glob(f"{archive.name}.*-of-*"))
    if not pieces:
        return
    count = int(pieces[0].name.rpartition("-")[2])
    if len(pieces) != count:
        sys.exit(f"error: {archive}: {len(pieces)} of {count} pieces are here, and all are needed")
    with tempfile.TemporaryFile() as whole:
        for piece in pieces:
            whole.write(piece.read_bytes())
        whole.seek(0)
        with tarfile.open(fileobj=whole) as archive:
            here = {one: to / one.name for one in archive}
            new = [one for one, file in here.items() if not file.is_file() or file.stat().st_mtime < one.mtime]
            archive.extractall(to, new, filter="data")


def pack(given: argparse.Namespace) -> int:
    """Gather the images that the sweep reads, and wheels in the versions of constraints.txt."""
    from benchmark.data.catalog import split_class
    from benchmark.data.images import data_root, folder
    from benchmark.plan import sweep as sweeps

    configs = [run.config for run in sweeps.load(Path(given.sweep)).runs]
    keys = {key for config in configs for key in config.training_sets()}
    keys |= {tuple(config.ood_key(name).rsplit("/", 1)) for config in configs for name in config.ood_sets()}
    sets = {(split_class(name)[0], split) for name, split in keys}
    members = [(folder(data_root(), *key), "/".join(key)) for key in sorted(sets)]
    if missing := ", ".join(name for path, name in members if not path.is_dir()):
        sys.exit(f"error: {data_root()}: has no {missing}; get them: bench data prepare --for {given.sweep}")
    write_pieces(given.to / "images.tar.xz", members, given.piece)
    if not given.lacking:
        return 0
    how = ["--only-binary=:all:", "--implementation=cp", f"--python-version={given.python}", *PLATFORMS, *given.more]
    what = ["-c", str(REPOSITORY / "constraints.txt"), "-d", str(given.to / "wheels"), *given.lacking]
    return subprocess.call([sys.executable, "-m", "pip", "download", "-q", *how, *what])


def run(given: argparse.Namespace) -> int:
    """Run the tests that need a GPU and the sweep until its time is up; pack records and weights."""
    site, data = given.results / ".packages", given.results / ".images"
    for wheel in sorted((given.to / "wheels").glob("*.whl")):
        zipfile.ZipFile(wheel).extractall(site)
    read_pieces(given.to / "images.tar.xz", data)
    env = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{site.resolve()}:{os.environ.get('PYTHONPATH', '')}"}
    python = [sys.executable, "-m"]
    tests = [*python, "pytest", "-m", "cuda", "-p", "no:cacheprovider", "tests/cuda"]
    code = 0 if given.no_tests else subprocess.call(tests, cwd=REPOSITORY, env=env)
    how = ["--executor", "local", "--stop-after", given.stop_after, "--checkpoint-every", "60", *given.more]
    places = ["--results", str(given.results), "--data", str(data)]
    code = subprocess.call([*python, "benchmark", "sweep", given.sweep, *how, *places], env=env) or code
    runs = [path for path in sorted(given.results.glob("[!.]*/*")) if path.is_file() and path.name not in STAYS]
    for name, of_weights in (("records.tar.xz", False), ("weights.tar", True)):
        members = [(file, f"{file.parent.name}/{file.name}") for file in runs if (file.name in WEIGHTS) == of_weights]
        write_pieces(given.out / name, members, given.piece)
    return code


def unpack(given: argparse.Namespace) -> None:
    """Put the records and weights of a `run` into a results folder; of files there, newer ones stay."""
    read_pieces(given.out / "records.tar.xz", given.results)
    read_pieces(given.out / "weights.tar", given.results)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="gpu.py", description=__doc__)
    made.add_argument("command", choices=["pack", "run", "unpack"])
    made.add_argument("sweep", nargs="?", default="half-hour")
    made.add_argument("--piece", type=float, default=15.0, metavar="MIB", help="size of a piece at most [15]")
    made.add_argument("--to", type=Path, default=Path(".gpu"), metavar="DIR", help="what travels there [.gpu]")
    made.add_argument("--lacking", nargs="*", metavar="NAME", help="packages whose wheels are needed there")
    made.add_argument("--python", default="3.12", help="version of Python there [3.12]")
    made.add_argument("--stop-after", default="8m", metavar="TIME", help="of the sweep [8m]")
    made.add_argument("--no-tests", action="store_true", help="run the sweep alone")
    made.add_argument("--results", type=Path, default=Path("results/gpu"), metavar="DIR")
    made.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".gpu/back")), help="what comes back")
    return made


if __name__ == "__main__":
    given, given.more = parser().parse_known_args()  # more: options of pip, of `bench sweep`
    sys.exit(globals()[given.command](given))
