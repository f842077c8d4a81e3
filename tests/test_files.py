from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import BenchError
from benchmark.files import read_json, read_json_lines, read_npz
from benchmark.training.metrics import truncate


def test_read_npz_reads_what_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    np.savez(path, **{"a/test": np.arange(3), "b/test": np.ones(2)})
    assert {key: list(array) for key, array in read_npz(path).items()} == {"a/test": [0, 1, 2], "b/test": [1, 1]}
    assert list(read_npz(path, ["b/test", "c/test"])) == ["b/test"]


@pytest.mark.parametrize("content", [None, b"", b"no npz", b"PK\x03\x04 cut off"])
def test_a_missing_or_broken_npz_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "scores.npz").write_bytes(content)
    with pytest.raises(BenchError, match=r"scores\.npz: ") as caught:
        read_npz(tmp_path / "scores.npz")
    assert "\n" not in str(caught.value)


def test_a_pickle_in_an_npz_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "scores.npz", a=np.array([{}], dtype=object))
    with pytest.raises(BenchError, match="not a readable npz"):
        read_npz(tmp_path / "scores.npz")


def test_a_byte_order_mark_before_json_is_no_fault(tmp_path: Path) -> None:
    """Editors of Windows write one, as into a classes.json."""
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + '{"é": 1}'.encode())
    assert read_json(tmp_path / "a.json") == {"é": 1}


def test_of_json_lines_a_spoilt_one_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert read_json_lines(file) == []
    file.write_bytes(b'{"step": 1}\n{"step": \xa02}\n[1]\n7\n{"step": 3}\n{"st')
    assert read_json_lines(file) == [{"step": 1}, {"step": 3}]


def test_metrics_are_cut_after_the_step_that_a_checkpoint_has(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    truncate(file, 2)
    assert file.read_text() == '{"step": 1}\n{"step": 2}\n'
