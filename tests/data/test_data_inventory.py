"""What is in the data folder, and whether it is whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from picture_files import npz, quiet

from benchmark.data.importing import import_dir
from benchmark.data.inventory import listing, verify


def rows(root: Path) -> dict[tuple[str, str], dict[str, object]]:
    return {(row["name"], row["split"]): row for row in listing(root)}


def test_listing_shows_ready_missing_builtin_and_counts_beside_the_official_ones(tmp_path: Path) -> None:
    npz(tmp_path / "svhn-test.npz")
    npz(tmp_path / "mine-aux.npz")
    before = rows(tmp_path / "data")
    assert before["svhn", "test"]["state"] == "missing" and before["svhn", "test"]["count"] is None
    assert before["synthetic", "train"]["state"] == "built-in" and before["synthetic", "train"]["count"] == 2000
    import_dir(tmp_path, tmp_path / "data", report=quiet)
    after = rows(tmp_path / "data")
    svhn = after["svhn", "test"]
    assert (svhn["state"], svhn["count"], svhn["official_count"], svhn["official"]) == ("ready", 6, 26032, False)
    assert svhn["role"] == "ood" and svhn["path"] == str(tmp_path / "data/svhn/test")
    assert after["mine", "aux"]["state"] == "ready" and after["mine", "aux"]["role"] == "aux"
    assert after["cifar10", "train"]["role"] == "id" and after["cifar10", "test"]["role"] == "id/ood"
    assert set(after) - set(before) == {("mine", "aux")}
    (tmp_path / "data/svhn/test/manifest.json").write_text("{")
    assert rows(tmp_path / "data")["svhn", "test"]["state"] == "damaged"


def test_verify_finds_one_flipped_bit_a_missing_manifest_and_leftovers(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        npz(tmp_path / f"{name}-test.npz")
    data = tmp_path / "data"
    assert verify(data) == []
    import_dir(tmp_path, data, report=quiet)
    assert verify(data) == []
    content = bytearray((data / "one/test/images.npy").read_bytes())
    content[-1] ^= 1
    (data / "one/test/images.npy").write_bytes(content)
    np.save(data / "two/test/labels.npy", np.arange(6)[::-1].copy())
    (data / "three/test/manifest.json").unlink()
    (data / "three/.test.abcd.tmp").mkdir()
    problems = verify(data)
    assert len(problems) == 4 and all("\n" not in line for line in problems)
    for part in ("one/test", "two/test", "three/test", "three/.test.abcd.tmp"):
        assert any(part in line for line in problems), part
