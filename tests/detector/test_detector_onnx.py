"""`bench export --onnx`: a graph that scores as the detector does, by onnxruntime alone.

Needs the extra [onnx]; without it these tests are skipped.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Said
from detector_runs import Made
from PIL import Image

from benchmark.data.identical import digests
from benchmark.data.images import load
from benchmark.detector import artifact, onnx_graph
from benchmark.detector.detector import BANK_ROW, Detector
from benchmark.errors import BenchError
from benchmark.models.backbones import build_backbone
from benchmark.models.heads import HEADS
from benchmark.plan.methods import DinoConfig
from benchmark.plan.scores import EQ6, KINDS, needs
from benchmark.plan.sections import ModelConfig
from benchmark.scoring.base import Outputs, Score
from benchmark.scoring.named import Sum, named

EXPORTED = Path(__file__).parent / "exported_by_0_1"
HEAD = DinoConfig(classes=12, head_hidden=16, head_bottleneck=8)
# One of every kind that a name stands for.
ONE_OF_EACH = [f"{name}-3" if kind.required else name for name, kind in KINDS.items()] + ["eq6@0.005", "mahalanobis-4"]
FAMILIES: dict[str, tuple[str, dict[str, Any], int]] = {  # backbone, its arguments, the size that it sees
    "small_convnet": ("small_convnet", {"width": 8, "stem": "frequency"}, 32),
    "batch-normalisation": ("resnet10t", {"channels": [8, 16, 32, 64]}, 64),
    "vit": ("vit_tiny_patch16_224", {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}, 48),
}

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in onnx_graph.PACKAGES),
    reason="needs onnx, onnxscript and onnxruntime: pip install 'ood-bench[onnx]'",
)


def pictures(count: int, seed: int) -> np.ndarray:
    """(count, 32, 32, 3) uint8: blocks of random colours, of every size and contrast, so that scores differ."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        blocks = 2 ** rng.integers(0, 6)
        image = rng.normal(rng.uniform(40, 215, 3), rng.uniform(0, 90), (blocks, blocks, 3))
        made.append(image.repeat(32 // blocks, 0).repeat(32 // blocks, 1))
    return np.clip(made, 0, 255).astype(np.uint8)


def detector_of(family: str, score: str = EQ6, thinned: bool = False) -> Detector:
    """A detector of random weights that has a whole fit: bank, scales and threshold are of its own features."""
    name, args, view = FAMILIES[family]
    torch.manual_seed(0)
    model = ModelConfig(backbone=name, args=args, drop_path=0.0)
    network, width = build_backbone(model, view, view, 0.0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after training: not 0 and 1
            module.running_mean = 0.3 * torch.randn_like(module.running_mean)
            module.running_var = torch.rand_like(module.running_var) + 0.5
    head = HEADS[HEAD.head](width, HEAD)
    settings = artifact.read_settings(EXPORTED).model_copy(
        update={"backbone": model, "image_size": 32, "view_size": view, "score": score, "scales": []}
        | {"head": artifact.HeadInfo(method=HEAD, temperature=0.1) if "logits" in needs([score]) else None}
    )
    if family == "batch-normalisation":  # as weights from elsewhere are used to
        seen = {"mean": [0.4, 0.5, 0.6], "std": [0.5, 0.2, 0.3], "interpolation": "bilinear"}
        settings = settings.model_copy(update=seen)
    blank = torch.zeros(3, dtype=torch.int64)
    empty = {"id_scores": torch.zeros(3), "index": blank, "label": blank}
    first = settings.model_copy(update={"score": EQ6})
    start = Detector(first, network, {"features": torch.ones(3, width), **empty}, head=head)
    train = start._outputs(pictures(200, 1), 100, needs([score]))
    bank = {**train, **empty}
    if "negatives" in needs([score]):
        bank["negatives"] = 0.5 * torch.randn(4, width)
    if thinned:
        bank["weights"] = torch.arange(1.0, 201.0)
    fitted = Detector(settings, network, bank, head=head)
    bank["id_scores"] = torch.from_numpy(fitted.score(pictures(101, 2)))
    at = float(bank["id_scores"].sort().values[90])
    limits = settings.threshold.model_copy(update={"value": at, "n": 101})
    scales = {"scales": fitted.fitted.scales_} if isinstance(fitted.fitted, Sum) else {}
    return Detector(settings.model_copy(update={"threshold": limits, **scales}), network, bank, head=head)


@needs_onnx
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_flags_of_1000_images_are_pytorchs(family: str, tmp_path: Path) -> None:
    import onnxruntime

    detector = detector_of(family, thinned=family == "vit")
    onnx_graph.write_graph(detector, tmp_path / "d.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "d.onnx", providers=["CPUExecutionProvider"])
    images = np.concatenate([pictures(101, 2), pictures(899, 3)])  # the threshold's own image among them
    expected = detector.score(images)
    scores, flags = session.run(None, {"images": images})
    assert scores.dtype == np.float32 and scores.shape == flags.shape == (1000,) and flags.dtype == bool
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    assert np.median(np.abs(scores - expected)) < 1e-5 and expected.std() > 0.01
    assert (flags == (expected > detector.threshold)).all() and 0.05 < flags.mean() < 0.95
    for count in (1, 3):  # any number of images at once
        np.testing.assert_allclose(session.run(["score"], {"images": images[:count]})[0], expected[:count], 1e-4)
    assert session.get_inputs()[0].type == "tensor(uint8)" and session.get_inputs()[0].shape[1:] == [32, 32, 3]


@needs_onnx
def test_a_sum_of_every_kind_of_score_is_one_graph(tmp_path: Path) -> None:
    """Twelve kinds, over several views and of the head among them, in seven passes of the network."""
    detector = detector_of("small_convnet", "+".join(ONE_OF_EACH))
    onnx_graph.write_graph(detector, tmp_path / "d.onnx")
    said = onnx_graph.compare(detector, tmp_path / "d.onnx", pictures(200, 3))
    assert said.startswith("scores of 200 images by onnxruntime as by PyTorch to within ") and "flags the same" in said


@needs_onnx
def test_a_training_image_among_those_that_a_graph_is_checked_on_is_scored_as_the_graph_does(tmp_path: Path) -> None:
    detector = detector_of("small_convnet", "knn-2")
    images = np.concatenate([pictures(200, 1)[:1], pictures(39, 3)])
    detector._row_of = {int(digests(images[:1]).view(np.int64)[0]): 0}
    onnx_graph.write_graph(detector, tmp_path / "d.onnx")
    assert detector.outputs(images)[BANK_ROW].tolist() == [0] + 39 * [-1]
    assert "scores of 40 images" in onnx_graph.compare(detector, tmp_path / "d.onnx", images)


@pytest.mark.parametrize("score", ONE_OF_EACH)
def test_what_stands_in_the_graph_is_each_scores_own_formula(score: str) -> None:
    """The graph's operations, run by PyTorch, against the score's own, which is held to references elsewhere."""
    rng = torch.Generator().manual_seed(0)

    def outputs(count: int) -> Outputs:
        unit = torch.nn.functional.normalize(torch.randn(count, 7, 16, generator=rng), dim=2)
        logits = torch.randn(count, 7, 3, generator=rng)
        return {
            "features": unit[:, 0], "norm": torch.rand(count, generator=rng) + 1, "class_logits": logits[:, 0],
            "rotated": unit[:, 1:4], "rotated_class_logits": logits[:, 1:4],
            "permuted": unit[:, 4:], "permuted_class_logits": logits[:, 4:],
        }  # fmt: skip

    fitted: Score = named(score, 0.04)
    fitted.fit({**outputs(60), "negatives": torch.randn(5, 16, generator=rng)})
    new = outputs(30)
    expected = fitted.score(new)
    assert expected.std() > 0.01
    torch.testing.assert_close(onnx_graph._traced(fitted, new).double(), expected.double(), rtol=1e-5, atol=1e-5)


def test_the_threshold_in_the_graph_lies_just_above_the_image_that_set_it() -> None:
    scores = np.float32([1, 2, 3, 3.5])
    assert onnx_graph._limit(3.0, scores) == pytest.approx(3 + 3e-6, abs=1e-9)
    near = np.float32([1, 2, 3, np.nextafter(np.float32(3), np.float32(4))])
    assert 3.0 < onnx_graph._limit(3.0, near) < near[3]  # and below the next
    assert 3.5 < onnx_graph._limit(3.5, scores) < 3.5001


@needs_onnx
def test_a_graph_of_other_scores_is_not_taken(tmp_path: Path) -> None:
    detector = detector_of("small_convnet")
    onnx_graph.write_graph(detector, tmp_path / "d.onnx")
    detector.backbone.blocks[0].mix.weight.mul_(1.5)
    with pytest.raises(BenchError, match=r"d\.onnx: onnxruntime \S+ gives other scores than PyTorch \(by up to "):
        onnx_graph.compare(detector, tmp_path / "d.onnx", pictures(50, 3))


@needs_onnx
def test_export_as_a_user_sees_it_and_the_cards_own_lines(bench: Callable[..., Said], made: Made) -> None:
    """What the model card shows is run word for word, on a photo that is turned by its EXIF tag and not square."""
    export = ("export", made.record.name, "--results", made.results, "--data", made.data, "--to", "d")
    said = bench(*export, "--onnx")
    assert said.code == 0 and "ONNX: scores of 24 images by onnxruntime as by PyTorch to within" in said.out
    settings = json.loads(Path("d/detector.json").read_text())
    assert settings["onnx"]["opset"] == 18 and settings["schema_version"] == 2
    assert settings["files"]["detector.onnx"]["bytes"] == Path("d/detector.onnx").stat().st_size
    assert Detector.load("d").settings.onnx is not None

    pixels = load(made.data, "mini-ood", "test").images[0].repeat(3, 0).repeat(2, 1)  # 96 high, 64 wide
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save("d/a.png", exif=exif)
    Image.fromarray(pixels[:32, :32, 0]).save("d/b.jpg")  # grey
    code = next(block for block in re.findall(r"```python\n(.*?)```", Path("d/README.md").read_text(), re.S)
                if "onnxruntime" in block)  # fmt: skip
    here: dict[str, Any] = {}
    exec(code.replace('"a.png"', '"d/a.png"').replace('"b.jpg"', '"d/b.jpg"').replace('("det', '("d/det'), here)
    detector = Detector.load("d", "cpu")
    expected = detector.score(["d/a.png", "d/b.jpg"])
    np.testing.assert_allclose(here["score"], expected, rtol=1e-4)
    assert here["ood"].tolist() == detector.is_ood(expected).tolist()

    assert bench(*export, "--replace").code == 0  # without: the old graph is not of the new detector
    assert not Path("d/detector.onnx").exists() and "onnx" not in Path("d/README.md").read_text().lower()


def test_without_the_packages_it_is_one_line_and_nothing_is_written(
    bench: Callable[..., Said], made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    said = bench("export", made.record.name, "--results", made.results, "--to", "d", "--onnx")
    assert said.code == 2 and said.err.count("\n") == 1 and not Path("d").exists()
    assert re.search(r"--onnx: needs (onnx, )?onnxscript(, onnxruntime)?; install them in the checkout: pip", said.err)
