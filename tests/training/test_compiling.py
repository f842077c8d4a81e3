"""Compiled networks train as eager ones do, under the same name, and are eager again afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import tiny

from benchmark.commands.app import main
from benchmark.errors import BenchError
from benchmark.launch.foreground import run_file
from benchmark.perf import step
from benchmark.plan import yamlfile
from benchmark.plan.config import RunConfig
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.training.compiling import called_networks, compiled

CPU = torch.device("cpu")
TRACED = "aot_eager"  # traces forward and backward as for a compiler, and runs them without one: in seconds


def steps(config: RunConfig) -> step.OurSteps:
    made = step.OurSteps(step.build(config, CPU), step.noise_images(config))
    for group in made.optimiser.param_groups:
        group["eps"] = 1e-4  # Adam turns rounding into steps where the gradient is zero (the keys' bias)
    return made


ROTATION = RunConfig.model_validate(tiny().model_dump() | {"method": {"name": "rotation"}, "variant": "none"})


@pytest.mark.parametrize("config", [tiny(model={"drop_path": 0.5}), ROTATION], ids=["dino", "rotation"])
def test_compiled_steps_are_the_eager_ones(config: RunConfig) -> None:
    eager, other = steps(config), steps(config)
    torch.manual_seed(1)
    eager.run(2, lambda part: None)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch.manual_seed(1)
    with compiled(other.method, backend=TRACED):
        other.run(2, lambda part: None)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > before, "nothing was compiled"
    ours, theirs = other.method.modules().state_dict(), eager.method.modules().state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        torch.testing.assert_close(
            ours[name], tensor, atol=2e-5, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_what_is_compiled_is_what_is_called_and_only_within_the_block() -> None:
    method = step.build(tiny(), CPU)
    networks = called_networks(method)
    student, teacher = method.modules()["student"], method.modules()["teacher"]
    assert networks == [student["backbone"], student["head"], teacher["backbone"], teacher["head"]]
    with compiled(method, backend=TRACED):
        assert all(network._compiled_call_impl is not None for network in networks)
    assert all(network._compiled_call_impl is None for network in networks)
    with compiled(method, wanted=False):
        assert all(network._compiled_call_impl is None for network in networks)


def test_a_compiler_that_does_not_work_is_one_line() -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no compiler\nat all")

    eager = steps(tiny())
    line = r"^--compile: .*no compiler.*leave the option out$"
    with pytest.raises(BenchError, match=line), compiled(eager.method, backend=broken):  # type: ignore[arg-type]
        eager.run(1, lambda part: None)
    eager.run(1, lambda part: None)


def test_a_compiled_run_has_the_name_of_the_eager_one(
    mini_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def spy(method: Any, wanted: bool = True) -> Any:
        asked.append(wanted)
        return compiled(method, wanted, TRACED)

    monkeypatch.setattr("benchmark.training.trained.compiled", spy)
    config = tiny(variant="dino", model={"drop_path": 0.0})
    one = run(config, tmp_path / "eager", mini_data, Runtime("cpu"))
    two = run(config, tmp_path / "compiled", mini_data, Runtime("cpu", compile=True))
    assert one and two and asked == [False, True]
    assert one.run_id == two.run_id and one.name == two.name
    assert two.training["losses"]["loss"] == pytest.approx(one.training["losses"]["loss"], rel=1e-4)


def test_the_option_reaches_the_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Runtime] = []
    monkeypatch.setattr("benchmark.run.run", lambda config, results, data, runtime: seen.append(runtime))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    (tmp_path / "run.yaml").write_text(yamlfile.write(tiny().model_dump(mode="json")))
    monkeypatch.setattr("sys.argv", ["bench", "run", str(tmp_path / "run.yaml"), "--compile", "--device", "cpu"])
    with pytest.raises(SystemExit):
        main()
    run_file(tmp_path / "run.yaml", tmp_path, tmp_path)
    assert [runtime.compile for runtime in seen] == [True, False]
