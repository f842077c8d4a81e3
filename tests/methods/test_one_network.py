"""What methods that are one network share: many views of an image go through it a part at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmark import methods
from benchmark.methods import base
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate


@pytest.mark.parametrize(
    "method",
    [
        {"name": "rotation", "shift": 8},
        {"name": "simclr", "test_crops": 3},
        {"name": "csi", "test_crops": 3},
        {"name": "classifier", "rotation_weight": 1.0, "classes": 3},
    ],
    ids=lambda method: method["name"],
)
def test_answers_do_not_depend_on_how_many_views_pass_together(
    method: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = {
        "in_dist": "mini",
        "method": method,
        "model": {"backbone": "small_convnet", "args": {"width": 4}, "drop_path": 0.0},
        "eval": {"ood": ["mini-ood"], "knn": [5]},
    }
    torch.manual_seed(0)
    made = methods.build(validate(RunConfig, raw, "test"), torch.device("cpu"))
    assert isinstance(made, base.OneNetwork)
    images = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    passed: list[int] = []
    made.network["backbone"].register_forward_pre_hook(lambda _, given: passed.append(len(given[0])))
    found = []
    for most in (10_000, 5):
        monkeypatch.setattr(base, "PASS", most)
        passed.clear()
        with torch.no_grad():
            found.append(made.embed(images))
        assert max(passed) == 5 if most == 5 else max(passed) >= 7, passed
    assert found[0].keys() == found[1].keys()
    for key, values in found[0].items():
        torch.testing.assert_close(found[1][key], values, atol=1e-5, rtol=1e-4)
