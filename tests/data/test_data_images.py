"""Storage: whole or not at all, memory-mapped, and honest about damage."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import images, synthetic
from benchmark.data.inventory import verify
from benchmark.errors import BenchError


def some(n: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), random.integers(0, 3, n)


def one_line(error: pytest.ExceptionInfo[BenchError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert images.data_root() == tmp_path / ".cache" / "ood-bench" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert images.data_root() == Path("/c/ood-bench/data")
    monkeypatch.setenv("BENCH_DATA", "~/d")
    assert images.data_root() == tmp_path / "d"
    assert images.data_root(Path("/option")) == Path("/option")


def test_round_trip_memory_mapped_with_an_independent_hash(tmp_path: Path) -> None:
    pixels, labels = some()
    labels[0] = -1
    written = images.write_set(tmp_path, "mine", "test", pixels, labels, "made up", ["a", "b", "c"])
    read = images.load(tmp_path, "mine", "test")
    assert isinstance(read.images, np.memmap) and not read.images.flags.writeable
    assert np.array_equal(read.images, pixels) and np.array_equal(read.labels, labels) and read.labels.dtype == np.int64
    assert read.count == 5 and read.images.dtype == np.uint8
    expected = hashlib.sha256(pixels.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
    assert read.fingerprint == written.fingerprint == images.fingerprint(tmp_path, "mine", "test") == expected
    manifest = json.loads((tmp_path / "mine/test/manifest.json").read_text())
    assert manifest["count"] == 5 and manifest["recipe"] == "made up" and manifest["classes"] == ["a", "b", "c"]
    assert manifest["official"] is False and set(manifest["versions"]) == {"numpy", "pillow", "python"}
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == ["test"]  # nothing temporary is left


def test_more_images_than_one_block(tmp_path: Path) -> None:
    pixels = np.arange(9000, dtype=np.uint16).astype(np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    kept = images.write_set(tmp_path, "mine@4", "aux", pixels, np.full(9000, -1), "r")
    assert np.array_equal(np.load(tmp_path / "mine@4/aux/images.npy"), pixels) and kept.count == 9000


def test_the_fingerprint_sees_labels_and_pixels(tmp_path: Path) -> None:
    pixels, labels = some()
    prints = {images.write_set(tmp_path, "a", "test", pixels, labels, "r").fingerprint}
    prints.add(images.write_set(tmp_path, "b", "test", pixels, labels + 1, "r").fingerprint)
    pixels[4, 31, 31, 2] ^= 1
    prints.add(images.write_set(tmp_path, "c", "test", pixels, labels, "other words").fingerprint)
    assert len(prints) == 3


def test_other_content_is_refused_unless_replace(tmp_path: Path) -> None:
    first, second = some(seed=0), some(4, seed=1)
    images.write_set(tmp_path, "mine", "test", *first, "r")
    images.write_set(tmp_path, "mine", "test", *first, "again")  # the same pixels: welcome
    with pytest.raises(BenchError) as error:
        images.write_set(tmp_path, "mine", "test", *second, "r")
    assert "--replace" in one_line(error) and "mine/test" in one_line(error)
    mapped = images.load(tmp_path, "mine", "test")
    assert np.array_equal(mapped.images, first[0])
    images.write_set(tmp_path, "mine", "test", *second, "r", replace=True)
    assert images.load(tmp_path, "mine", "test").count == 4
    assert np.array_equal(mapped.images, first[0])  # who had the old one open keeps it
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == ["test"]


def test_official_is_not_demoted_by_importing_the_same_pixels(tmp_path: Path) -> None:
    pixels, labels = some()
    assert not images.write_set(tmp_path, "x", "test", pixels, labels, "imported").manifest["official"]
    assert images.write_set(tmp_path, "x", "test", pixels, labels, "files", official=True).manifest["official"]
    again = images.write_set(tmp_path, "x", "test", pixels, labels, "imported")
    assert again.manifest["official"] and again.manifest["recipe"] == "files"


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    pixels, labels = some()
    with pytest.raises(KeyboardInterrupt), images.SetWriter(tmp_path, "mine", "test", 32) as writer:
        writer.add(pixels, labels)
        raise KeyboardInterrupt
    assert images.fingerprint(tmp_path, "mine", "test") is None and list((tmp_path / "mine").iterdir()) == []


def test_a_replacement_that_cannot_be_put_in_place_leaves_the_old_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, rename = some(seed=0), os.rename
    images.write_set(tmp_path, "mine", "test", *first, "r")

    def fails(source: Path, target: Path) -> None:
        if Path(target).name == "test" and not Path(source).name.endswith(".old.tmp"):
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(BenchError, match="Input/output error"):
        images.write_set(tmp_path, "mine", "test", *some(4, seed=1), "r", replace=True)
    assert np.array_equal(images.load(tmp_path, "mine", "test").images, first[0])
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["test"]


def test_what_a_kill_between_two_renames_left_is_not_to_be_deleted(tmp_path: Path) -> None:
    images.write_set(tmp_path, "mine", "test", *some(), "r")
    (tmp_path / "mine/.test.0a.tmp").mkdir()
    (tmp_path / "mine/test").rename(tmp_path / "mine/.test.0b.old.tmp")
    said = [line.partition("write; ")[2] for line in verify(tmp_path)]
    assert said == ["delete it", f"rename it to {tmp_path / 'mine/test'}"]


def test_a_folder_without_manifest_is_missing_and_can_be_written(tmp_path: Path) -> None:
    images.write_set(tmp_path, "mine", "test", *some(), "r")
    (tmp_path / "mine/test/manifest.json").unlink()
    assert images.fingerprint(tmp_path, "mine", "test") is None
    with pytest.raises(BenchError, match="is not in"):
        images.load(tmp_path, "mine", "test")
    assert images.write_set(tmp_path, "mine", "test", *some(3, 7), "r").count == 3


def test_missing_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(BenchError) as error:
        images.load(tmp_path, "cifar10", "test")
    assert "bench data prepare cifar10" in one_line(error) and str(tmp_path) in one_line(error)
    assert images.fingerprint(tmp_path, "cifar10", "test") is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full to stand for a full disk")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        open("/dev/full", "wb", buffering=0) as full,
        pytest.raises(BenchError) as error,
        images.SetWriter(tmp_path, "mine", "test", 32) as writer,
    ):
        writer._images = full
        writer.add(*some())
    assert "No space left" in one_line(error) and "mine/test" in one_line(error)
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize("how", ["cut", "pickle", "shape", "empty", "manifest", "newer", "no number", "not a manifest"])
def test_damage_is_named(tmp_path: Path, how: str) -> None:
    images.write_set(tmp_path, "mine", "test", *some(), "r")
    where = tmp_path / "mine/test"
    manifest = json.loads((where / "manifest.json").read_text())
    if how == "cut":
        (where / "images.npy").write_bytes((where / "images.npy").read_bytes()[:500])
    elif how == "pickle":
        np.save(where / "labels.npy", np.array([{}, 1, 2, 3, 4], dtype=object), allow_pickle=True)
    elif how == "shape":
        np.save(where / "images.npy", some(6)[0])
    elif how == "empty":
        (where / "images.npy").write_bytes(b"")
    elif how == "manifest":
        (where / "manifest.json").write_text('{"schema": 1')
    elif how == "newer":
        (where / "manifest.json").write_text(json.dumps(manifest | {"schema": 99}))
    elif how == "no number":
        (where / "manifest.json").write_text(json.dumps(manifest | {"schema": "1"}))
    else:
        (where / "manifest.json").write_text("[]")
    with pytest.raises(BenchError) as error:
        images.load(tmp_path, "mine", "test")
    assert str(where) in one_line(error)


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".x", "A B", "x@0"])
def test_names_that_are_no_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BenchError):
        images.write_set(tmp_path, name, "test", *some(), "r")


def test_bad_arrays_and_labels_are_refused(tmp_path: Path) -> None:
    pixels, labels = some()
    for bad in (pixels.astype(np.float32), pixels[..., :2], pixels[:, :, :30]):
        with pytest.raises(BenchError, match="mine/test"):
            images.write_set(tmp_path, "mine", "test", bad, labels, "r")
    for wrong in (labels - 5, labels + 9):
        with pytest.raises(BenchError, match="labels run from"):
            images.write_set(tmp_path, "mine", "test", pixels, wrong, "r", classes=["a", "b", "c"])
    with pytest.raises(BenchError, match="no images"):
        images.write_set(tmp_path, "mine", "test", pixels[:0], labels[:0], "r")
    with pytest.raises(BenchError, match="split 'validation'"):
        images.load(tmp_path, "mine", "validation")


def test_a_root_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError) as error:
        images.write_set(tmp_path / "file", "mine", "test", *some(), "r")
    assert "cannot write" in one_line(error)


def test_builtin_sets_are_drawn_on_demand_and_anew_when_the_drawing_changed(tmp_path: Path) -> None:
    fingerprint = images.fingerprint(tmp_path, "synthetic-near", "test")
    pixels, labels = synthetic.generate("synthetic-near", "test")
    kept = images.load(tmp_path, "synthetic-near", "test")
    assert kept.fingerprint == fingerprint
    assert np.array_equal(kept.images, pixels) and np.array_equal(kept.labels, labels)
    images.write_set(tmp_path, "synthetic-near", "test", *some(), "drawn by an older version", replace=True)
    assert images.load(tmp_path, "synthetic-near", "test").fingerprint == kept.fingerprint
    for name, split in (("synthetic-near", "train"), ("synthetic@64", "test")):
        with pytest.raises(BenchError, match="synthetic"):
            images.load(tmp_path, name, split)


def _draw(root: str, gate: object) -> None:
    gate.wait()  # type: ignore[attr-defined]
    images.load(Path(root), "synthetic-digits", "test")


def test_processes_may_draw_the_same_set_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(3)
    workers = [context.Process(target=_draw, args=(str(tmp_path), gate)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert sorted(p.name for p in (tmp_path / "synthetic-digits").iterdir()) == ["test"]
    assert images.load(tmp_path, "synthetic-digits", "test").count == 400
