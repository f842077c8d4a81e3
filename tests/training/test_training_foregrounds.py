"""Masks over runs: found once a set, kept beside it, taken by every later run, of a class too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import tiny

from benchmark.errors import BenchError
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.running.images import load_images
from benchmark.training import foregrounds
from benchmark.views.saliency import foreground

SWEPT: dict[str, Any] = {"variant": "dino", "views": {"background": "random"}, "train": {"epochs": 1}}


@pytest.fixture
def data(mini_data: Path, tmp_path: Path) -> Path:
    """A copy of one's own, for masks are written into it."""
    return Path(shutil.copytree(mini_data, tmp_path / "data"))


@pytest.fixture
def trained(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Trains the tiny run with some settings changed, and gives what it said."""

    def go(**changes: Any) -> str:
        capsys.readouterr()
        run(tiny(**{**SWEPT, **changes}), tmp_path / "results", data, Runtime(device="cpu"))
        return capsys.readouterr().out

    return go


def test_the_first_run_finds_the_masks_of_a_set_and_others_take_them(
    data: Path, trained: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = data / "mini" / "train"
    assert "finding the foregrounds of 40 images, once for all runs on mini" in trained()
    packed, said = (
        np.load(where / "masks-minimum-barrier.npy"),
        json.loads((where / "masks-minimum-barrier.json").read_text()),
    )
    images = torch.from_numpy(np.load(where / "images.npy")).permute(0, 3, 1, 2)
    expected = foreground(images)
    assert np.array_equal(packed, np.packbits(expected.flatten(1).numpy(), axis=1, bitorder="little"))
    assert said["whole"] == int(expected.flatten(1).all(1).sum())

    monkeypatch.setattr("benchmark.views.foregrounds.foreground", None)  # nobody looks again
    for changes in ({"seed": 1}, {"in_dist": "mini:1", "eval": {"ood": ["mini-ood"]}}, {"data": {"train_limit": 20}}):
        assert "finding the foregrounds" not in trained(**changes)
    (where / "masks-minimum-barrier.json").write_text(json.dumps({**said, "sha256": "1" * 64}))
    with pytest.raises(BenchError, match=r"masks-minimum-barrier\.json: its masks are of other images"):
        trained(seed=2)


def test_a_class_takes_its_own_rows_of_the_masks_of_its_set(data: Path, trained: Callable[..., str]) -> None:
    trained()
    packed = np.load(data / "mini" / "train" / "masks-minimum-barrier.npy")

    class Asked:
        def __init__(self, **changes: Any) -> None:
            self.config = tiny(**{**SWEPT, **changes})
            self.images = load_images(self.config, data)

    for changes, rows in (({"in_dist": "mini:1"}, np.arange(40)[np.arange(40) % 4 == 1]),
                          ({"data": {"train_limit": 12}}, None)):  # fmt: skip
        asked = Asked(**changes)
        if rows is None:
            rows = asked.images.positions("mini/train")
        found = foregrounds.foregrounds(asked)  # type: ignore[arg-type]
        assert found._masks is not None and np.array_equal(found._masks.numpy(), packed[rows])


def test_a_folder_that_cannot_be_written_to_loses_nothing(
    data: Path, trained: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(foregrounds.masks, "write", refused)
    said = trained()
    assert "the masks cannot be kept beside the images (Read-only file system)" in said and "done" in said
    assert not list((data / "mini" / "train").glob("masks-*"))
