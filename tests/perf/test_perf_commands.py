"""`bench perf` from the outside: its five commands, what they print and write, and what they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_runs import TINY

from benchmark.commands.app import main
from benchmark.perf import masks, scoring, step
from benchmark.plan import sweep as sweeps
from benchmark.training import batches, compiling
from benchmark.training.batches import DeviceImages
from benchmark.views.recipes import BatchRecipe, Block, ViewRecipe, ViewSpec
from benchmark.views.render import render


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    base = {key: value for key, value in TINY.items() if key != "variant"}
    file.write_text(yaml.safe_dump({"title": "Tiny", "base": base, "grid": {"variant": ["dino", "rot-imgn"]}}))
    return file


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["bench", "perf", *arguments])
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit) as ended:
        main()
    torch.set_num_threads(threads)
    return int(ended.value.code or 0)


def test_perf_of_the_extraction_against_the_bare_network(
    sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, few = tmp_path / "perf.json", ["--rounds", "2", "--device", "cpu", "--threads", "1"]
    assert call(monkeypatch, "extraction", str(sweep_file), "--only", "*dino*", "--json", str(out), *few) == 0
    found = json.loads(out.read_text())
    speeds = found["images_per_second"]
    assert found["network"] == "vit_tiny_patch16_224, 32 to 32 px" and speeds.keys() == {"extraction", "bare network"}
    assert found["share"] == pytest.approx(speeds["extraction"]["median"] / speeds["bare network"]["median"])
    # The extraction does all that the bare network does and more; tests beside it make the clock uneven.
    assert 0.05 < found["share"] < 2
    assert "extraction / bare network" in capsys.readouterr().out
    assert call(monkeypatch, "extraction", str(sweep_file), "--only", "*statistics*", *few) == 2
    assert "no run that has a network matches '*statistics*'" in capsys.readouterr().err


def test_perf_of_a_step_against_the_reference(
    sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "perf.json"
    few = ["--steps", "2", "--rounds", "2", "--warmup", "1", "--device", "cpu", "--threads", "2"]
    assert (
        call(monkeypatch, "step", str(sweep_file), "--against", "reference", "--memory", "--json", str(out), *few) == 0
    )
    found = json.loads(out.read_text())
    assert found["config"]["variant"] == "rot-imgn", "the first run with negatives"
    assert found["ratio"] == pytest.approx(
        found["ours"]["pairs_per_second"]["median"] / found["reference"]["pairs_per_second"]["median"]
    )
    assert set(found["ours"]["shares"]) == {"views", "teacher", "student forward", "backward", "update"}
    for name in ("ours", "reference"):
        assert sum(found[name]["shares"].values()) == pytest.approx(1) and found[name]["pairs_per_second"]["n"] == 2
        assert 0 < found[name]["mfu"] < 1
    assert found["environment"]["threads"] == 2 and "bench perf" in found["command"]
    assert found["counted_memory"]["all"] > 0
    table = capsys.readouterr().out
    assert "ours / reference" in table and "MFU" in table
    assert max(len(line) for line in table.splitlines() if not line.startswith("written")) <= 80


def test_convolutions_take_turns_with_their_other_form_in_memory(
    sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forms: dict[str, set[bool]] = {"ours": set(), "contiguous": set()}
    honest = step.OurSteps.run

    def watched(self: Any, steps: int, lap: Any) -> None:
        weights = [weight for weight in self.method.modules().parameters() if weight.ndim == 4 and weight.shape[1] > 1]
        plain = {weight.is_contiguous() for weight in weights if weight.shape[2] > 1}
        forms["contiguous" if plain == {True} else "ours"] |= plain
        honest(self, steps, lap)

    monkeypatch.setattr(step.OurSteps, "run", watched)
    out = tmp_path / "perf.json"
    few = ["--steps", "1", "--rounds", "1", "--warmup", "0", "--device", "cpu", "--json", str(out)]
    network = [
        "--set",
        "model.backbone=small_convnet",
        "--set",
        "model.args={width: 8}",
        "--set",
        "model.drop_path=0.0",
    ]
    assert call(monkeypatch, "step", str(sweep_file), "--against", "contiguous", *network, *few) == 0
    found = json.loads(out.read_text())
    assert forms == {"ours": {False}, "contiguous": {True}}
    assert found["ratio"] == pytest.approx(
        found["ours"]["pairs_per_second"]["median"] / found["contiguous"]["pairs_per_second"]["median"]
    )
    assert "ours / contiguous" in capsys.readouterr().out
    assert call(monkeypatch, "step", str(sweep_file), "--against", "contiguous", *few) == 2
    assert "--against contiguous: is for networks of convolutions, given vit_tiny" in capsys.readouterr().err


def test_rotated_copies_are_the_same_images_rendered_four_times_as_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without crops and colours the two batches are equal; what differs is how many views are rendered."""
    csi = tmp_path / "csi.yaml"
    raw = {"in_dist": "mine", "eval": {"ood": []}, "method": {"name": "csi"}, "data": {"image_size": 16},
           "model": {"backbone": "small_convnet", "args": {"width": 8}, "drop_path": 0.0},
           "train": {"batch": 4, "optimiser": "sgd", "warmup_epochs": 0, "epochs": 1}}  # fmt: skip
    csi.write_text(json.dumps({"base": raw, "grid": {"seed": [0]}, "references": []}))
    config = sweeps.load(csi).runs[0].config
    whole = ViewRecipe(16, (1, 1), blur_p=0, solarize_p=0, jitter_p=0, grayscale_p=0, flip_p=0, padding=0)
    recipe = BatchRecipe({"images": Block((ViewSpec((whole,), 2),), four_rotations=True)})
    images = DeviceImages(step.noise_images(config), torch.device("cpu"))
    rendered: list[int] = []
    monkeypatch.setattr(
        batches, "render", lambda images, *a, **k: rendered.append(len(images)) or render(images, *a, **k)
    )
    ours, copies = (
        kind(config, images, {}, recipe=recipe).batch(0, 0) for kind in (batches.Batches, step.RenderedCopies)
    )
    assert torch.allclose(ours.positives["images"], copies.positives["images"], atol=1e-5)
    assert rendered == [8, 8, 8, 8, 8]  # once, and then four times

    few = ["--steps", "1", "--rounds", "1", "--warmup", "0", "--device", "cpu"]
    assert call(monkeypatch, "step", str(csi), "--against", "rendered", *few) == 0
    assert "ours / rendered" in capsys.readouterr().out
    csi.write_text(json.dumps({"base": {**raw, "method": {"name": "simclr"}}, "references": []}))
    assert call(monkeypatch, "step", str(csi), "--against", "rendered", *few) == 2
    assert "--against rendered: is for methods with rotated copies, given simclr" in capsys.readouterr().err


def test_compiled_networks_take_turns_with_eager_ones(
    sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled: list[bool] = []

    def traced(method: Any, wanted: bool) -> Any:
        compiled.append(wanted)
        return compiling.compiled(method, wanted, "aot_eager")

    monkeypatch.setattr(step, "compiled", traced)
    out = tmp_path / "perf.json"
    few = ["--steps", "1", "--rounds", "2", "--warmup", "0", "--device", "cpu"]
    assert call(monkeypatch, "step", str(sweep_file), "--compile", "--json", str(out), *few) == 0
    found = json.loads(out.read_text())
    speeds = [found[name]["pairs_per_second"] for name in ("compiled", "ours")]
    assert compiled == [False, True] * 2 and all(speed["n"] == 2 for speed in speeds)
    assert found["compiled_ratio"] == pytest.approx(speeds[0]["median"] / speeds[1]["median"])
    assert "compiled / ours" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["views", "SWEEP", "--rounds", "1"], ["scoring", "--size", "60x300x8", "--device", "cpu", "--threads", "1"]],
)
def test_perf_of_the_views_and_of_the_scoring(
    sweep_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    out = tmp_path / "perf.json"
    arguments = [str(sweep_file) if argument == "SWEEP" else argument for argument in arguments]
    assert call(monkeypatch, *arguments, "--json", str(out)) == 0
    found = json.loads(out.read_text())
    assert found["ratio"] > 0 and found["environment"]["threads"] == 1
    assert ("config" in found) == (arguments[0] == "views")
    title = "Views, one CPU thread (" if arguments[0] == "views" else "Scoring ("
    assert title in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["step"], "SWEEP.yaml"),
        (["scoring", "SWEEP"], "tiny.yaml"),
        (["views", "SWEEP", "--memory"], "--memory"),
        (["views", "SWEEP", "--compile"], "--compile"),
        (["scoring", "--set", "train.batch=2"], "--set"),
        (["scoring", "--size", "10x0x5"], "--size 10x0x5"),
        (["scoring", "--size", "1²x200x3"], "--size 1²x200x3"),
        (["scoring", "--size", "10x5x8"], "--size 10x5x8"),
        (["step", "SWEEP", "--set", "model.backbone=nosuch"], "tiny.yaml: model.backbone"),
        (["step", "SWEEP", "--only", "*nothing*"], "nothing"),
        (["views", "SWEEP", "--only", "*nothing*"], "nothing"),
        (["step", "SWEEP", "--device", "tpu"], "--device tpu"),
        (["scoring", "--device", "tpu"], "--device tpu"),
        (["masks", "--device", "tpu"], "--device tpu"),
        # As it was written in version 0.1.
        (["SWEEP", "--rounds", "1"], "as in: bench perf step SWEEP --rounds 1"),
        (["SWEEP", "--views", "--rounds", "1"], "as in: bench perf views SWEEP --rounds 1"),
        (["--scoring", "--size", "60x300x8"], "as in: bench perf scoring --size 60x300x8"),
        (["--rounds", "3", "--masks"], "as in: bench perf masks --rounds 3"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    words: str,
    sweep_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(sweep_file) if argument == "SWEEP" else argument for argument in arguments]
    assert call(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert words.replace("SWEEP ", f"{sweep_file} ") in error and len(error.splitlines()) == 1


def test_too_little_memory_is_one_line_that_says_what_asks_for_less(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")

    monkeypatch.setattr(scoring, "perf_scoring", full)
    assert call(monkeypatch, "scoring", "--device", "cpu") == 2
    assert re.fullmatch(r"error: cpu: not enough memory for this .*; smaller: --size\n", capsys.readouterr().err)


def test_ways_to_find_foregrounds_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = torch.zeros(2, 4, 4, dtype=torch.bool), torch.zeros(2, 4, 4, dtype=torch.bool)
    one[:, :2], other[0, :, :2] = True, True  # a quarter in common of three; nothing in common
    assert masks.overlap(one, other) == pytest.approx(100 * (1 / 3 + 0) / 2)
    out, sweep = tmp_path / "masks.json", tmp_path / "views.yaml"
    assert call(monkeypatch, "masks", "--rounds", "1", "--device", "cpu", "--json", str(out)) == 0
    found = json.loads(out.read_text())
    assert set(found["iou"]) == {masks.WAY, masks.DISC} and max(found["iou"], key=found["iou"].get) == "minimum-barrier"
    assert set(found["milliseconds"]) == {masks.WAY} and "minimum-barrier: IoU" in capsys.readouterr().out
    monkeypatch.setattr(step, "IMAGES", 64)
    swaps = {"method": {"name": "simclr"}, "variant": "none", "views": {"background": "swaps"}}
    for changes in ({"variant": "background-in-dist"}, swaps):
        sweep.write_text(yaml.safe_dump({"base": {**TINY, **changes}, "references": []}))
        assert call(monkeypatch, "views", str(sweep), "--rounds", "1") == 0
        assert "a batch without / with masks" in capsys.readouterr().out
