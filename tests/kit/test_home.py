"""What goes home and comes back: within the limits, whole, and never over what is further."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import BenchError
from benchmark.kit import home
from benchmark.kit.home import MIB, Limits, clear, pack, pack_runs, unpack_runs


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def a_run(results: Path, name: str, **files: bytes) -> None:
    """A run's folder with config.yaml and these files; `checkpoint_pt` is checkpoint.pt."""
    folder = results / name
    folder.mkdir(parents=True)
    for file, content in {"config_yaml": b"in_dist: mine\n", **files}.items():
        (folder / file.replace("_", ".")).write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_archive_over_a_files_limit_is_in_pieces_that_make_it_whole(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(noise(5 * MIB // 2))
    pieces = pack(tmp_path / "it.tar", [(file, "run/large")], Limits(file_mib=1))
    assert [piece.name for piece in pieces] == [f"it.tar.{number:02d}-of-03" for number in (1, 2, 3)]
    assert all(piece.stat().st_size <= MIB for piece in pieces) and not (tmp_path / "it.tar").exists()
    whole = tmp_path / "whole.tar"
    whole.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    with tarfile.open(whole) as archive:
        assert archive.getnames() == ["run/large"] and archive.extractfile("run/large").read() == file.read_bytes()  # type: ignore[union-attr]


def test_runs_come_back_as_they_went_without_what_is_large_or_says_who_holds_them(tmp_path: Path) -> None:
    here, out, there = tmp_path / "here", tmp_path / "out", tmp_path / "there"
    out.mkdir()
    a_run(here, "done", record_json=b"{}", scores_npz=b"s", weights_safetensors=b"w", features_npz=b"f", lease_json=b"")
    a_run(here, "begun", checkpoint_pt=noise(2 * MIB), metrics_jsonl=b"m", status_json=b"{}")
    (here / ".logs").mkdir()
    assert pack_runs(here, out, Limits(file_mib=1)) == []
    assert sorted(path.name for path in out.iterdir()) == [
        "checkpoints.tar.01-of-03", "checkpoints.tar.02-of-03", "checkpoints.tar.03-of-03", "runs.tar.gz",
    ]  # fmt: skip
    assert unpack_runs(out, there) == 2
    assert set(contents(there)) == {
        *(f"done/{name}" for name in ("config.yaml", "record.json", "scores.npz")),
        *(f"begun/{name}" for name in ("config.yaml", "checkpoint.pt", "metrics.jsonl", "status.json")),
    }
    assert contents(there).items() <= contents(here).items()


@pytest.mark.parametrize(
    ("limits", "taken"),
    [
        (Limits(files=8, file_mib=4, all_mib=60), ["a", "b", "c"]),
        (Limits(files=8, file_mib=4, all_mib=2.5), ["b"]),
        (Limits(files=2, file_mib=1.5, all_mib=60), ["b"]),  # one file is left for all of them
        (Limits(files=1, file_mib=9, all_mib=60), []),
    ],
)
def test_checkpoints_go_home_as_far_as_there_is_room_the_smallest_first(
    tmp_path: Path, limits: Limits, taken: list[str]
) -> None:
    here, out = tmp_path / "here", tmp_path / "out"
    out.mkdir()
    for name, size in (("a", 2), ("b", 1), ("c", 3)):
        a_run(here, name, checkpoint_pt=noise(size * MIB))
    a_run(here, "done", record_json=b"{}", checkpoint_pt=b"left over")
    (out / "not-ours.bin").write_bytes(noise(3 * MIB))
    stays = pack_runs(here, out, limits)
    assert {line.partition(":")[0] for line in stays} == {"a", "b", "c"} - set(taken)
    assert all(f"stays in {here}" in line for line in stays)
    ours = [path for path in out.iterdir() if path.name != "not-ours.bin"]
    assert len(ours) <= limits.files and sum(path.stat().st_size for path in ours) <= limits.all_mib * MIB
    assert all(path.stat().st_size <= limits.file_mib * MIB for path in ours)
    there = tmp_path / "there"
    unpack_runs(out, there)
    assert sorted(path.parent.name for path in there.glob("*/checkpoint.pt")) == taken


@pytest.mark.parametrize("kept", ["record_json", "checkpoint_pt"])
def test_a_run_that_is_here_and_as_far_is_left_alone(tmp_path: Path, kept: str) -> None:
    back, here = tmp_path / "back", tmp_path / "here"
    back.mkdir()
    a_run(tmp_path / "old", "run", checkpoint_pt=b"old", status_json=b"old")
    pack_runs(tmp_path / "old", back, Limits())
    a_run(here, "run", **{kept: b"new"})
    before = contents(here)
    assert unpack_runs(back, here) == 0 and contents(here) == before
    (here / "run" / kept.replace("_", ".")).unlink()
    assert unpack_runs(back, here) == 1 and (here / "run/checkpoint.pt").read_bytes() == b"old"


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs.tar.gz").write_bytes(b"no archive")
    with pytest.raises(BenchError, match=r"runs\.tar\.gz: not a readable archive"):
        unpack_runs(tmp_path, tmp_path / "results")
    assert unpack_runs(tmp_path / "nothing", tmp_path / "results") == 0


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_piece_that_did_not_come_back_is_named_and_the_others_left_alone(tmp_path: Path, lost: int) -> None:
    here, out = tmp_path / "here", tmp_path / "out"
    out.mkdir()
    a_run(here, "begun", checkpoint_pt=noise(2 * MIB))
    pack_runs(here, out, Limits(file_mib=1))
    (out / f"checkpoints.tar.{lost:02d}-of-03").unlink()
    with pytest.raises(BenchError, match=rf"checkpoints\.tar\.{lost:02d}-of-03 did not come back"):
        unpack_runs(out, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_what_an_earlier_command_left_goes_and_nothing_else(tmp_path: Path) -> None:
    names = [*home.OURS, "checkpoints.tar.03-of-03", "runs.tar.gz.01-of-02", "doctor.json"]
    for name in names:
        (tmp_path / name).touch()
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["doctor.json"]
