"""Images on sheets: without loss, for any number and size, in loads that are taken in one after another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.commands.app import main as bench
from benchmark.data.images import fingerprint
from benchmark.errors import BenchError
from benchmark.kit import luggage, sheets
from benchmark.kit.__main__ import main


def write_set(folder: Path, name: str, count: int, height: int = 32, width: int = 32) -> Path:
    """Noise, which shows every pixel that is lost or moved; its labels tell the images apart."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    np.savez(folder / f"{name}.npz", images=images, labels=np.arange(count))
    return folder / f"{name}.npz"


@pytest.mark.parametrize(
    ("count", "height", "width"),
    [(1, 32, 32), (31, 32, 32), (33, 32, 32), (4096, 8, 8), (4097, 32, 32), (5, 24, 40), (3, 40, 1500)],
)
def test_what_is_unpacked_is_what_was_packed(count: int, height: int, width: int, tmp_path: Path) -> None:
    source = write_set(tmp_path / "in", "noise-train", count, height, width)
    packed = sheets.pack(source, tmp_path)
    assert packed.name == "noise-train.sheets"
    made = sheets.unpack(packed, tmp_path)
    with np.load(source) as before, np.load(made) as after:
        assert made.name == source.name and set(after.files) == {"images", "labels"}
        assert all(np.array_equal(before[key], after[key]) for key in before.files)


def test_photographs_take_less_room(tmp_path: Path) -> None:
    """Smooth images, as photographs are; npz packs each plane of bytes and sees no neighbour below."""
    rng = np.random.default_rng(0)
    steps = rng.normal(0, 3, (256, 32, 32, 3))
    images = (steps.cumsum(1).cumsum(2) / 6 + 128).clip(0, 255).astype(np.uint8)
    (tmp_path / "in").mkdir()
    np.savez_compressed(tmp_path / "in/smooth-train.npz", images=images, labels=np.zeros(256, int))
    packed = sheets.pack(tmp_path / "in/smooth-train.npz", tmp_path)
    assert packed.stat().st_size < 0.9 * (tmp_path / "in/smooth-train.npz").stat().st_size


def test_what_is_no_set_or_damaged_is_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "a-train.npz", images=np.zeros((2, 4, 4), np.uint8))
    (tmp_path / "b-train.npz").write_bytes(b"no")
    for name in ("a-train.npz", "b-train.npz", "c-train.npz"):
        with pytest.raises(BenchError, match=f"{name}: not a set") as caught:
            sheets.pack(tmp_path / name, tmp_path)
        assert "\n" not in str(caught.value)
    packed = sheets.pack(write_set(tmp_path, "d-train", 40), tmp_path)
    whole = packed.read_bytes()
    for damaged in (b"", whole[:200], whole[: len(whole) // 2] + b"\x00\xff" + whole[len(whole) // 2 + 2 :]):
        packed.write_bytes(damaged)
        with pytest.raises(BenchError, match=r"d-train\.sheets: not a readable set of sheets") as caught:
            sheets.unpack(packed, tmp_path)
        assert "\n" not in str(caught.value)


def test_loads_are_about_alike_and_hold_every_set_once(tmp_path: Path) -> None:
    counts = {"a-train": 90, "a-test": 50, "b-test": 40, "c-aux": 30}
    for name, count in counts.items():
        write_set(tmp_path / "in", name, count)
    (tmp_path / "in/classes.json").write_text("{}")
    keys = [name.replace("-", "/") for name in counts]
    luggage.take_images(tmp_path / "in", keys, tmp_path / "kit", 3)
    (tmp_path / "kit/images-of-mine").mkdir()
    folders = luggage.take_images(tmp_path / "in", keys, tmp_path / "kit", 2)
    assert [folder.name for folder in folders] == ["images-1", "images-2"]
    assert {path.name for path in (tmp_path / "kit").iterdir()} == {"images-1", "images-2", "images-of-mine"}
    held = [{path.stem for path in folder.glob("*.sheets")} for folder in folders]
    assert held == [{"a-train", "c-aux"}, {"a-test", "b-test"}]
    assert all((folder / "classes.json").exists() for folder in folders)


def test_what_is_taken_in_load_by_load_has_the_fingerprints_of_the_images_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, count in (("cifar10-train", 400), ("cifar10-test", 200), ("svhn-test", 100)):
        write_set(tmp_path / "in", name, count)
    Path("tiny.yaml").write_text("base: {eval: {ood: [svhn]}}\ngrid: {in_dist: [cifar10], variant: [dino]}\n")
    monkeypatch.setattr(luggage, "fetch_wheels", lambda *what: None)
    assert main(["bring", "in", "--sweep", "tiny.yaml", "--loads", "2", "--carry", "900"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "MiB" in line]
    mib = {" ".join(line[: line.index("MiB") - 1]): float(line[line.index("MiB") - 1]) for line in lines}
    for load in ("images-1", "images-2"):  # one of them at a time
        assert mib[f"with {load}"] == pytest.approx(mib["repository"] + mib[load], abs=0.11)
    assert main(["bring", "in", "--sweep", "tiny.yaml", "--loads", "0"]) == 2
    assert "--loads 0: must be at least 1" in capsys.readouterr().err
    for number, said in ((1, "still to bring: cifar10/test, svhn/test\n"), (2, "all images are there\n")):
        Path(f"load-{number}").mkdir()
        Path(f".kit/images-{number}").rename(f"load-{number}/images-{number}")
        assert main(["take", "--sweep", "tiny.yaml", "--brought", f"load-{number}", "--data", "got"]) == 0
        assert capsys.readouterr().out.endswith(said)
    monkeypatch.setattr("sys.argv", ["bench", "data", "import", "in", "--data", "straight"])
    with pytest.raises(SystemExit):
        bench()
    for key in (("cifar10", "train"), ("cifar10", "test"), ("svhn", "test")):
        found = fingerprint(Path("got"), *key)
        assert found is not None and found == fingerprint(Path("straight"), *key)
