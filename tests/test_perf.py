"""`bench perf`: that the plain recipe computes the same as ours, and that what is counted is what is there."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny_runs import TINY, tiny

from benchmark.commands.app import main
from benchmark.detection.knn import knn_accuracy
from benchmark.detection.scores import ood_scores
from benchmark.errors import BenchError
from benchmark.methods.base import Batch, Moment
from benchmark.methods.contrastive import nt_xent
from benchmark.perf import masks, measure, reference, scoring, step
from benchmark.plan import sweep as sweeps
from benchmark.plan.config import RunConfig
from benchmark.running.processes import ALONE
from benchmark.training import batches, compiling
from benchmark.training.batches import DeviceImages
from benchmark.training.optimiser import make_optimiser, schedule
from benchmark.training.step import optimise
from benchmark.views.recipes import IMAGENET, BatchRecipe, Block, ViewRecipe, ViewSpec, view_recipes
from benchmark.views.render import render
from benchmark.views.saliency import METHODS

CPU = torch.device("cpu")


@pytest.mark.parametrize("variant", ["combined", "dino"])
def test_the_plain_recipe_and_ours_give_the_same_weights_from_the_same_views(variant: str) -> None:
    config = tiny(variant=variant, model={"drop_path": 0.0}, negatives={"weight": 0.7}, train={"lr": 0.1})
    method = step.build(config, CPU)
    images = step.noise_images(config)
    ours, plain = step.OurSteps(method, images), reference.PlainStep(method)
    optimiser = make_optimiser(method, method.config.train)
    # Adam turns rounding into steps where the gradient is zero (the keys' bias); a larger eps does not.
    for group in (*optimiser.param_groups, *plain.optimiser.param_groups):
        group["eps"] = 1e-4
    start = [parameter.detach().clone() for parameter in method.student.parameters()]
    for number in range(3):
        moment, batch = Moment(1, 2, 10 + number, 20), ours.batches.batch(1, number)
        schedule(optimiser, config.train, 8, 10, moment)
        losses = optimise(method, optimiser, batch, config.train, ALONE, moment)
        assert plain(plain_batch(batch), moment, 10) == pytest.approx(losses["loss"].item(), rel=1e-4)
    moved = [float((a - b).detach().abs().max()) for a, b in zip(start, method.student.parameters(), strict=True)]
    assert max(moved) > 1e-3, "the steps must have changed something to compare"
    for name, b in plain_state(plain).items():
        a = method.modules().state_dict()[name]
        torch.testing.assert_close(a, b, rtol=2e-3, atol=3e-5, msg=lambda text, name=name: f"{name}: {text}")


def plain_batch(batch: Batch) -> reference.PlainBatch:
    def each(views: Any, globals_: int) -> list[torch.Tensor]:
        return [*views["globals"].chunk(globals_), *views["locals"].chunk(2)]

    return each(batch.positives, 2), [each(views, 1) for views in batch.negatives]


def plain_state(plain: reference.PlainStep) -> dict[str, torch.Tensor]:
    networks = torch.nn.ModuleDict({"student": plain.student, "teacher": plain.teacher})
    return {**networks.state_dict(), "centre": plain.centre}


def test_the_plain_pipeline_is_pillow_when_nothing_is_left_to_chance() -> None:
    first, _, _ = view_recipes(tiny().views)
    still = replace(first, size=48, scale=(1, 1), ratio=(1, 1), flip_p=1.0, jitter_p=0.0, grayscale_p=0.0, blur_p=0.0)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    picture = (
        Image.fromarray(image).resize((48, 48), Image.Resampling.BICUBIC).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    )
    wanted = (np.asarray(picture) / 255 - IMAGENET.mean) / IMAGENET.std
    got = reference.pipeline(still)(Image.fromarray(image)).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_plain_negatives_are_what_their_names_say() -> None:
    random.seed(0)
    np.random.seed(0)
    image = np.arange(32 * 32 * 3).reshape(32, 32, 3)
    turns = [np.rot90(image, quarters) for quarters in range(4)]

    def drawn(transform: str) -> set[int]:
        made = [reference.negative_image(image, transform) for _ in range(60)]
        return {next(k for k, turn in enumerate(turns) if (one == turn).all()) for one in made}

    assert drawn("rot") == {1, 2, 3} and drawn("rot360") == {0, 1, 2, 3} and drawn("none") == {0}
    shuffled = reference.negative_image(image, "pixels")
    assert (shuffled != image).any() and {tuple(p) for p in shuffled.reshape(-1, 3)} == {
        tuple(p) for p in image.reshape(-1, 3)
    }
    patches = {image[r : r + 8, c : c + 8].tobytes() for r in range(0, 32, 8) for c in range(0, 32, 8)}
    cut = reference.negative_image(image, "perm-16")
    assert (cut != image).any()
    assert {cut[r : r + 8, c : c + 8].tobytes() for r in range(0, 32, 8) for c in range(0, 32, 8)} == patches


def test_views_of_the_plain_recipe_have_the_shapes_of_ours() -> None:
    config = tiny()
    positives, negatives = reference.PlainViews(config, step.noise_images(config))[3]
    assert [view.shape[-1] for view in positives] == [32, 32, 16, 16]
    assert [[view.shape[-1] for view in views] for views in negatives] == [[32, 16, 16]] * 2


def test_flops_are_those_of_the_products_written_down_one_by_one() -> None:
    config = tiny(variant="combined")

    def network(size: int) -> tuple[int, int]:
        """FLOPs of one view forward: of the patch embedding, and of everything after it."""
        width, depth, patch = 24, 2, 8
        patches = (size // patch) ** 2
        tokens = patches + 1
        block = 2 * tokens * width * (3 * width + width + 2 * 4 * width) + 2 * 2 * tokens * tokens * width
        head = 2 * (width * 16 + 16 * 16 + 16 * 8 + 8 * 16)
        return 2 * patches * width * 3 * patch**2, depth * block + head

    total = 2 * sum(network(32))  # the teacher sees the two global views
    for size, views in ((32, 2 + 1 + 1), (16, 2 + 2 + 2)):
        embedding, rest = network(size)
        # Backward: gradients of weights and of inputs, but none of the pixels.
        total += views * (2 * embedding + 3 * rest)
    assert step.step_flops(config) == pytest.approx(total, rel=1e-6)


def test_live_bytes_count_a_known_computation() -> None:
    with step.LiveBytes() as counted:
        one = torch.zeros(1000)  # 4 kB
        two = one + 1  # 8 kB
        view = two[10:]  # no memory of its own
        three = two * 2  # 12 kB: the most
        del one, three
        four = view.sum()
    assert counted.peak == 12_000
    assert counted.live == 4_000 + four.element_size()
    del two, view
    assert counted.live == four.element_size()


def test_a_step_holds_the_activations_of_one_resolution_at_a_time() -> None:
    """What `losses` with a `backward` promises: less memory than the whole graph at once."""
    config = tiny(variant="dino", train={"batch": 64}, model={"drop_path": 0.0}, views={"local_views": 12})
    in_parts = step.step_memory(config)
    mode, method = step._pretended(config)
    backward = method.losses

    def whole(batch: Batch, moment: Moment, _: Callable[[torch.Tensor], None]) -> dict[str, torch.Tensor]:
        losses = backward(batch, moment)
        losses["loss"].backward()
        return losses

    method.losses = whole  # type: ignore[method-assign]
    with mode, step.LiveBytes() as at_once:
        step._pretended_step(config, method, 64)
    assert in_parts["step"] < 0.8 * at_once.peak
    assert in_parts["all"] == in_parts["weights"] + in_parts["optimiser"] + in_parts["step"]
    double = step.step_memory(tiny(variant="dino", train={"batch": 128}, views={"local_views": 12}))
    assert double["step"] == pytest.approx(2 * in_parts["step"], rel=0.1)


def test_plain_scores_and_plain_votes_agree_with_ours() -> None:
    rng = torch.Generator().manual_seed(1)
    features, bank = torch.randn(50, 16, generator=rng), torch.randn(300, 16, generator=rng)
    labels, bank_labels = torch.randint(10, (50,), generator=rng), torch.randint(10, (300,), generator=rng)
    torch.testing.assert_close(
        scoring.plain_scores(features, bank).double(), ood_scores(features, bank, scoring.TAU), rtol=1e-4, atol=1e-4
    )
    assert scoring.plain_knn(features, labels, bank, bank_labels) == pytest.approx(
        knn_accuracy(features, labels, bank, bank_labels, scoring.KS, scoring.KNN_TAU)
    )
    torch.testing.assert_close(scoring.plain_mahalanobis(features, bank), scoring.our_mahalanobis(features, bank))
    torch.testing.assert_close(
        scoring.plain_nt_xent(features[:25], features[25:], 0.3), nt_xent(features[:25], features[25:], 0.3)
    )


def test_laps_sum_the_parts_of_several_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 11.0, 13.0, 14.0, 17.0])
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    laps = measure.Laps(CPU)
    laps.start()
    for _ in range(2):
        laps("views")
        laps("backward")
    assert laps.seconds() == {"views": 2.0, "backward": 5.0}
    assert laps.seconds() == {}


def test_a_difference_within_the_spread_is_called_none() -> None:
    fast, near, slow = (measure.Spread.of(values) for values in ([10, 12, 11], [9, 10.5, 10], [5, 4, 6]))
    assert (fast.median, fast.low, fast.high, fast.n) == (11, 10, 12, 3)
    assert measure.ratio_text(fast, slow) == "2.2 times"
    assert measure.ratio_text(fast, near).startswith("no difference")
    assert str(slow) == "5 (4 to 6, n = 3)"


def test_tasks_take_turns() -> None:
    order: list[str] = []
    spreads = measure.alternate({name: lambda name=name: order.append(name) or len(order) for name in "ab"}, 3)
    assert order == list("ababab")
    assert spreads["a"].median == 3 and spreads["b"].median == 4


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


def test_perf_of_a_step_against_the_reference(
    sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "perf.json"
    few = ["--steps", "2", "--rounds", "2", "--warmup", "1", "--device", "cpu", "--threads", "2"]
    assert call(monkeypatch, str(sweep_file), "--against", "reference", "--memory", "--json", str(out), *few) == 0
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
    assert call(monkeypatch, str(sweep_file), "--against", "contiguous", *network, *few) == 0
    found = json.loads(out.read_text())
    assert forms == {"ours": {False}, "contiguous": {True}}
    assert found["ratio"] == pytest.approx(
        found["ours"]["pairs_per_second"]["median"] / found["contiguous"]["pairs_per_second"]["median"]
    )
    assert "ours / contiguous" in capsys.readouterr().out
    assert call(monkeypatch, str(sweep_file), "--against", "contiguous", *few) == 2
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
    assert call(monkeypatch, str(csi), "--against", "rendered", *few) == 0
    assert "ours / rendered" in capsys.readouterr().out
    csi.write_text(json.dumps({"base": {**raw, "method": {"name": "simclr"}}, "references": []}))
    assert call(monkeypatch, str(csi), "--against", "rendered", *few) == 2
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
    assert call(monkeypatch, str(sweep_file), "--compile", "--json", str(out), *few) == 0
    found = json.loads(out.read_text())
    speeds = [found[name]["pairs_per_second"] for name in ("compiled", "ours")]
    assert compiled == [False, True] * 2 and all(speed["n"] == 2 for speed in speeds)
    assert found["compiled_ratio"] == pytest.approx(speeds[0]["median"] / speeds[1]["median"])
    assert "compiled / ours" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["SWEEP", "--views", "--rounds", "1"], ["--scoring", "--size", "60x300x8"]])
def test_perf_of_the_views_and_of_the_scoring(
    sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    out = tmp_path / "perf.json"
    arguments = [str(sweep_file) if argument == "SWEEP" else argument for argument in arguments]
    assert call(monkeypatch, "--device", "cpu", "--json", str(out), *arguments) == 0
    assert json.loads(out.read_text())["ratio"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a sweep file, or else --scoring"),
        (["SWEEP", "--scoring"], "name a sweep file, or else --scoring"),
        (["SWEEP", "--views", "--memory"], "--memory"),
        (["SWEEP", "--views", "--compile"], "--compile"),
        (["--scoring", "--set", "train.batch=2"], "--set"),
        (["--scoring", "--size", "10x0x5"], "--size 10x0x5"),
        (["--scoring", "--size", "1²x200x3"], "--size 1²x200x3"),
        (["--scoring", "--size", "10x5x8"], "--size 10x5x8"),
        (["SWEEP", "--set", "model.backbone=nosuch"], "tiny.yaml: model.backbone"),
        (["SWEEP", "--only", "*nothing*"], "nothing"),
        (["SWEEP", "--device", "tpu"], "--device tpu"),
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
    assert call(monkeypatch, *arguments, "--rounds", "1", "--steps", "1", "--warmup", "0") == 2
    error = capsys.readouterr().err.strip()
    assert words in error and len(error.splitlines()) == 1


def test_what_trains_nothing_has_no_step() -> None:
    config = RunConfig.model_validate({"in_dist": "mini", "method": {"name": "untrained"}})
    with pytest.raises(BenchError, match="untrained"):
        step.build(config, CPU)


def test_ways_to_find_foregrounds_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = torch.zeros(2, 4, 4, dtype=torch.bool), torch.zeros(2, 4, 4, dtype=torch.bool)
    one[:, :2], other[0, :, :2] = True, True  # a quarter in common of three; nothing in common
    assert masks.overlap(one, other) == pytest.approx(100 * (1 / 3 + 0) / 2)
    out, sweep = tmp_path / "masks.json", tmp_path / "views.yaml"
    assert call(monkeypatch, "--masks", "--rounds", "1", "--device", "cpu", "--json", str(out)) == 0
    found = json.loads(out.read_text())
    assert set(found["iou"]) == {*METHODS, masks.DISC} and max(found["iou"], key=found["iou"].get) == "minimum-barrier"
    assert set(found["milliseconds"]) == set(METHODS) and "minimum-barrier: IoU" in capsys.readouterr().out
    monkeypatch.setattr(step, "IMAGES", 64)
    swaps = {"method": {"name": "simclr"}, "variant": "none", "views": {"background": "swaps"}}
    for changes in ({"variant": "background-in-dist"}, swaps):
        sweep.write_text(yaml.safe_dump({"base": {**TINY, **changes}, "references": []}))
        assert call(monkeypatch, str(sweep), "--views", "--rounds", "1") == 0
        assert "a batch without / with masks" in capsys.readouterr().out
    assert call(monkeypatch, "--masks", "--scoring") == 2
    assert "bench perf: name a sweep file, or else --scoring or --masks" in capsys.readouterr().err
