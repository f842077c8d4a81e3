"""MFU: the networks' own FLOPs in a second, as a share of what the hardware gives at each one's own precision."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import tiny

from benchmark.perf import step

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_reference_is_measured_by_the_ceiling_of_float32(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It computes in float32 whatever the run does, so a higher ceiling would make it look idle."""
    ceilings = {"fp32": 2e9, "bf16": 7e9}
    monkeypatch.setattr(step, "ceiling", lambda device, precision: ceilings[precision])
    config = tiny(variant="rot-imgn", train={"precision": precision})
    found = step.perf_step(
        config, CPU, steps=1, rounds=1, warmup=0, against="reference", compile=False, tell=lambda line: None
    )
    assert found["precision"] == precision and found["ceiling_tflops"] == pytest.approx(ceilings[precision] / 1e12)
    for name, kind in (("ours", precision), ("reference", "fp32")):
        done = 1e9 * found["gflop_per_pair"] * found[name]["pairs_per_second"]["median"]
        assert found[name]["mfu"] == pytest.approx(done / ceilings[kind], rel=1e-9), name
