"""A thinned bank keeps the density."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detector_runs import auroc
from tiny_runs import tiny

from benchmark.data.images import load, write_set
from benchmark.data.importing import import_dir
from benchmark.data.subsets import limited
from benchmark.detector.bank import bank_size, parse_rate, thin
from benchmark.detector.run_images import training_images
from benchmark.errors import BenchError


def test_thinning_keeps_the_density_and_depends_on_the_seed_alone() -> None:
    """Three tight clusters of 60, 30 and 10 rows: one row of each, with the right weight."""
    random = torch.Generator().manual_seed(0)
    directions = torch.eye(8)[[0] * 60 + [1] * 30 + [2] * 10]
    bank = directions + 0.01 * torch.randn(100, 8, generator=random)
    rows, weights = thin(bank, 20, 0)
    sums = [float(weights[directions[rows].argmax(1) == cluster].sum()) for cluster in range(3)]
    assert sums == [60, 30, 10] and len(rows) <= 20 and len(rows.unique()) == len(rows)
    again = thin(bank, 20, 0)
    assert torch.equal(rows, again[0]) and torch.equal(weights, again[1])
    assert not torch.equal(rows, thin(bank, 20, 1)[0])
    assert len(thin(torch.ones(10, 4), 5, 0)[0]) == 1  # all alike: one row stands for all


def test_thinning_to_a_tenth_on_real_images_costs_little(real_images: Path, tmp_path: Path) -> None:
    """Random projections of 32x32 pixels stand for a backbone here: the point is the bank, not the features."""
    (tmp_path / "in").mkdir()
    for name in ("cifar10", "svhn", "texture"):
        for file in real_images.glob(f"{name}-*.npz"):
            (tmp_path / "in" / file.name).symlink_to(file)
    import_dir(tmp_path / "in", tmp_path, report=lambda line: None)
    random = np.random.default_rng(0).normal(size=(3072, 32)).astype(np.float32)

    def features(name: str, split: str) -> torch.Tensor:
        pixels = load(tmp_path, name, split).images.reshape(-1, 3072).astype(np.float32) / 255 - 0.5
        return torch.nn.functional.normalize(torch.from_numpy(pixels @ random), dim=1)

    from benchmark.detection.scores import ood_scores

    bank = features("cifar10", "train")
    rows, weights = thin(bank, len(bank) // 10, 0)
    for name in ("svhn", "texture"):
        pair = features("cifar10", "test"), features(name, "test")
        full = auroc(*(ood_scores(one, bank).numpy() for one in pair))
        less = auroc(*(ood_scores(one, bank[rows], weights=weights).numpy() for one in pair))
        assert abs(full - less) < 1.5, (name, full, less)


def test_shares_and_sizes() -> None:
    assert parse_rate("5%", "--x") == parse_rate("0.05", "--x") == 0.05
    assert [bank_size(text, 3400) for text in ("10%", "100%", "7", "0.5%")] == [340, 3400, 7, 17]
    for text in ("5", "0", "100%", "x", "-5%", "nan", ""):
        with pytest.raises(BenchError, match=r"must be a share above 0% and below 100%, as in 5% or 0.05"):
            parse_rate(text, "--x")
    for text in ("0", "3401", "1.5", "x", "0.001%"):
        with pytest.raises(BenchError, match="--bank"):
            bank_size(text, 3400)


@pytest.mark.parametrize(("in_dist", "limit"), [("own", None), ("own", 9), ("own:cat", None), ("own:cat", 5)])
def test_places_and_labels_of_a_banks_rows_are_those_of_the_stored_split(
    tmp_path: Path, in_dist: str, limit: int | None
) -> None:
    """Whatever part of a set a run was trained on, a row's place leads to its very image."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    write_set(tmp_path, "own", "train", pixels, np.arange(30) // 7 % 3, "random numbers", classes=["dog", "cat", "cow"])
    config = tiny(in_dist=in_dist, data={"train_limit": limit})
    images = load(tmp_path, in_dist, "train")
    record = SimpleNamespace(data={f"{in_dist}/train": SimpleNamespace(fingerprint=images.fingerprint)})
    found = training_images(record, config, tmp_path, limit or images.count)  # type: ignore[arg-type]
    used = limited(images, limit)
    assert len(found.index) == (limit or images.count) and found.counted == "stored split"
    assert np.array_equal(pixels[found.index], images.images[used])
    assert found.label.tolist() == [i // 7 % 3 for i in found.index]
    if ":" in in_dist:
        assert set(found.label) == {1}
