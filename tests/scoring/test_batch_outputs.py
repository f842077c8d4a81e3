"""From images to what scores read of them, against a linear network computed by hand in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.scoring.base import Outputs
from benchmark.scoring.outputs import batch_outputs

RNG = np.random.default_rng(0)
WEIGHTS, CLASSES = RNG.normal(size=(48, 5)), RNG.normal(size=(5, 3))
IMAGES = RNG.integers(0, 256, (2, 3, 4, 4)).astype(np.uint8)
EVERYTHING = frozenset({"norm", "logits", "rotations", "permutations"})


class Linear:
    """Features and logits that are products with matrices; without a head where `headless`."""

    def __init__(self, headless: bool = False) -> None:
        self.headless = headless

    def embed(self, images: Tensor) -> Outputs:
        return {"features": images.double().flatten(1) @ torch.from_numpy(WEIGHTS)}

    def stored(self, outputs: Outputs) -> Outputs:
        return {"features": torch.nn.functional.normalize(outputs["features"], dim=1)}

    def class_logits(self, outputs: Outputs) -> Tensor | None:
        return None if self.headless else outputs["features"] @ torch.from_numpy(CLASSES)


def features(image: np.ndarray) -> np.ndarray:
    return image.astype(float).reshape(-1) @ WEIGHTS


def summary(row: np.ndarray) -> list[float]:
    logits = row @ CLASSES
    total = np.log(np.exp(logits - logits.max()).sum()) + logits.max()
    return [logits.max() - total, logits.max(), total]


def quarters_moved(image: np.ndarray, by: int) -> np.ndarray:
    """Each quarter of an image (3, 4, 4) replaced by the one `by` places further, row by row."""
    corners = [(0, 0), (0, 2), (2, 0), (2, 2)]
    made = np.empty_like(image)
    for place, (top, left) in enumerate(corners):
        y, x = corners[(place + by) % 4]
        made[:, top : top + 2, left : left + 2] = image[:, y : y + 2, x : x + 2]
    return made


def test_everything_that_scores_read() -> None:
    embedded, kept = batch_outputs(Linear(), torch.from_numpy(IMAGES), EVERYTHING)  # type: ignore[arg-type]
    copies = {
        "rotated": [[np.rot90(image, turn, axes=(1, 2)) for turn in (1, 2, 3)] for image in IMAGES],
        "permuted": [[quarters_moved(image, by) for by in (1, 2, 3)] for image in IMAGES],
    }
    rows = [features(image) for image in IMAGES]
    np.testing.assert_allclose(embedded["features"].numpy(), rows)
    np.testing.assert_allclose(kept["features"].numpy(), [row / np.linalg.norm(row) for row in rows])
    np.testing.assert_allclose(kept["norm"].numpy(), [np.linalg.norm(row) for row in rows], rtol=1e-6)
    np.testing.assert_allclose(kept["class_logits"].numpy(), [summary(row) for row in rows], rtol=1e-5, atol=1e-3)
    for name, shown in copies.items():
        raw = [[features(copy) for copy in some] for some in shown]
        unit = [[row / np.linalg.norm(row) for row in some] for some in raw]
        np.testing.assert_allclose(kept[name].numpy(), unit)
        wanted = [[summary(row) for row in some] for some in raw]
        np.testing.assert_allclose(kept[f"{name}_class_logits"].numpy(), wanted, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("wanted", "names"), [
    ((), {"features"}), (("norm",), {"features", "norm"}), (("rotations",), {"features", "rotated"}),
    (("logits", "permutations"), {"features", "class_logits", "permuted", "permuted_class_logits"}),
])  # fmt: skip
def test_nothing_is_made_that_nobody_reads(wanted: tuple[str, ...], names: set[str]) -> None:
    made = batch_outputs(Linear(), torch.from_numpy(IMAGES), frozenset(wanted))[1]  # type: ignore[arg-type]
    assert made.keys() == names


def test_without_a_head_there_are_no_logits() -> None:
    made = batch_outputs(Linear(headless=True), torch.from_numpy(IMAGES), EVERYTHING)[1]  # type: ignore[arg-type]
    assert made.keys() == {"features", "norm", "rotated", "permuted"}
