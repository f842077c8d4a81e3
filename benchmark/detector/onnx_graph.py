"""A detector as one ONNX graph: pixels in, scores and flags out. Nothing of this project is needed to run it.

The graph holds all that comes after the central square: the resize to the backbone's size, mean and deviation, the
backbone, the head where there is one, the bank, the score, and the threshold.

Shapes: B images, S stored side in pixels, D features, M rows of the bank.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import math
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.detector.artifact import ONNX, OnnxInfo, Settings, checksum
from benchmark.detector.detector import BANK_ROW, Detector
from benchmark.errors import BenchError
from benchmark.models.backbones import create
from benchmark.scoring.banks import Eq6, Eq6FromNegatives, Eq6OfConfident, LargestCosine, NearestNeighbour
from benchmark.scoring.base import Outputs, Score
from benchmark.scoring.copies import Eq6OverRotations
from benchmark.scoring.mahalanobis import SMALLEST, Mahalanobis
from benchmark.scoring.named import Sum
from benchmark.views.crops import resize_matrix
from benchmark.views.recipes import input_of

OPSET = 18
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# How far onnxruntime's scores may lie from PyTorch's, absolute and relative: both add in float32, in another order, and
# a feature may thereby come to the other side of a rounding border of float16.
TOLERANCE = 1e-4
# And beyond that, of the scores' deviation: a distance to a copy is the root of nearly 0, in which rounding is large.
OF_DEVIATION = 0.01
ROUNDING = 1e-6  # how far they lie apart, as a rule, relative


def require_packages() -> None:
    """Raise BenchError where what writes and checks a graph is not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise BenchError(f"--onnx: needs {', '.join(missing)}; install them in the checkout: pip install -e '.[onnx]'")


class Graph(nn.Module):
    """A detector on the CPU as one network: images (B, S, S, 3) uint8 -> scores (B,) float32, OOD or not (B,) bool."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.backbone, self.head = detector.backbone, detector.head  # so that their tensors are the graph's by name
        self.limit = _limit(detector.threshold, detector.id_scores)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        score = _traced(self.detector.fitted, self.detector.answer(images.permute(0, 3, 1, 2))).float()
        return score, score > self.limit


def _limit(threshold: float, id_scores: NDArray[np.float32]) -> float:
    """What the graph compares with. The threshold is the score of a held-out image, which another order of adding would
    put on either side: here it is a little above, and below the next held-out score."""
    above = id_scores[id_scores > np.float32(threshold)]
    room = ROUNDING * max(1.0, abs(threshold))
    return threshold + min(room, (float(above.min()) - threshold) / 2 if len(above) else room)


def _traced(score: Score, outputs: Outputs) -> Tensor:
    """`score.score(outputs)` in operations that a graph can hold: without blocks, checks or numpy."""
    match score:
        case Sum():
            parts = zip(score.parts, score.scales_, strict=True)
            scaled = [(_traced(part, outputs).double() - mean) / deviation for part, (mean, deviation) in parts]
            return torch.stack(scaled).sum(0)
        case Eq6():
            return _eq6(outputs["features"], score.bank_, score.temperature, score.weights_)
        case Eq6OfConfident():
            return _eq6(outputs["features"], score.bank_, score.temperature)
        case Eq6FromNegatives():
            return _eq6(score.from_origin(outputs), score.bank_, score.temperature)
        case Eq6OverRotations():
            banks = zip(score.features(outputs), score.banks_, strict=True)
            return torch.stack([_eq6(one, bank, score.temperature) for one, bank in banks]).sum(0)
        case NearestNeighbour():
            kth = _cosines(outputs["features"], score.bank_).topk(score.k, dim=1).values[:, -1]
            return (2 - 2 * kth.double()).clamp(min=0).sqrt()
        case LargestCosine():
            return -_cosines(outputs["features"], score.bank_).amax(1)
        case Mahalanobis():
            rows = (outputs["features"].double() - _double(score.mean_)) / _double(score.deviation_ + SMALLEST)
            far = [
                ((rows - _double(centre)) @ _double(inverse) * (rows - _double(centre))).sum(1)
                for centre, inverse in zip(score.centres_, score.inverses_, strict=True)
            ]
            return torch.stack(far).amin(0)
    return score.score(outputs)  # of logits or lengths: a few operations, with nothing to leave out


def _eq6(features: Tensor, bank: Tensor, temperature: float, weights: Tensor | None = None) -> Tensor:
    """`detection.scores.ood_scores` in one block."""
    logits = _cosines(features, bank) / temperature
    log_total: float | Tensor = math.log(len(bank))
    if weights is not None:
        logits, log_total = logits + weights.log(), weights.double().sum().log()
    peak = logits.amax(1, keepdim=True)  # not every runtime takes it off before the exponential
    return log_total - peak[:, 0] - (logits - peak).exp().sum(1).log()


def _cosines(features: Tensor, bank: Tensor) -> Tensor:
    return F.normalize(features.float(), dim=1) @ F.normalize(bank.float(), dim=1).T


def _double(rows: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.asarray(rows, dtype=np.float64))


class _View(nn.Module):
    """`views.render.evaluation_view` in operations that a graph can hold."""

    matrix: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        (by, interpolation), source, size = input_of(settings), settings.image_size, settings.view_size
        start = torch.zeros(1)
        matrix = None if source == size else resize_matrix(start, start + source, source, size, interpolation)[0]
        self.register_buffer("matrix", matrix)
        self.register_buffer("mean", torch.tensor(by.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(by.std)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        if self.matrix is None:
            return (pixels / 255 - self.mean) / self.std
        wide = torch.matmul(pixels.float(), (self.matrix / 255).T).clamp(0, 1)
        return (torch.matmul(self.matrix, wide).clamp(0, 1) - self.mean) / self.std


def _for_a_graph(detector: Detector) -> Detector:
    """The same, its view in other operations, and a transformer without a way to interpolate its positions: at the size
    that they are for nothing is lost, and timm's way would stand in the graph with a filter that runtimes lack."""
    settings, made = detector.settings, copy.copy(detector)
    made.view = _View(settings)  # type: ignore[method-assign]
    if getattr(detector.backbone, "dynamic_img_size", False):
        args = {**settings.backbone.args, "dynamic_img_size": False}
        made.backbone, _ = create(settings.backbone.model_copy(update={"args": args}), settings.view_size)
        made.backbone.load_state_dict(detector.backbone.state_dict())
        made.backbone.eval().requires_grad_(False)
    return made


def add(detector: Detector, settings: Settings, folder: Path, images: NDArray[np.uint8] | None) -> Settings:
    """Write the graph of a detector on the CPU into its folder, check it, and return its settings with both said.

    images: what to check on, (N, S, S, 3); where there are none, noise.
    """
    write_graph(detector, folder / ONNX)
    if images is None:
        size = settings.image_size
        images = np.random.default_rng(0).integers(0, 256, (64, size, size, 3), dtype=np.uint8)
    info = OnnxInfo(opset=OPSET, checked=compare(detector, folder / ONNX, images))
    return settings.model_copy(update={"onnx": info, "files": {**settings.files, ONNX: checksum(folder / ONNX)}})


def write_graph(detector: Detector, path: Path) -> None:
    """Write a detector that is on the CPU as `path`, one file. Raises BenchError where PyTorch cannot translate it."""
    size = detector.settings.image_size
    graph = Graph(_for_a_graph(detector)).eval()
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    batch = {"images": {0: torch.export.Dim.DYNAMIC}}  # raises where something would fix it
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own parts
            program = torch.export.export(graph, (example,), dynamic_shapes=batch, strict=False)
            made = torch.onnx.export(
                program, (example,), dynamo=True, opset_version=OPSET, input_names=["images"],
                output_names=["score", "ood"], verbose=False,
            )  # fmt: skip
    except Exception as error:  # PyTorch's own, of many kinds and many lines
        raise BenchError(f"--onnx: {detector.settings.backbone.backbone}: PyTorch cannot write it as ONNX "
                         f"({' '.join(str(error).split())[:200]})") from error  # fmt: skip
    assert made is not None
    about = {"run": detector.settings.run, "score": detector.settings.score, "image_size": str(size)}
    made.model.metadata_props.update(about)
    made.save(path, external_data=False)


def compare(detector: Detector, path: Path, images: NDArray[np.uint8]) -> str:
    """Hold a graph against its detector on images (N, S, S, 3); what was found, in words.

    Raises BenchError where a score differs by more than is allowed above, or the flag of a score that is farther than
    that from the threshold.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    scores, flags = session.run(["score", "ood"], {"images": np.ascontiguousarray(images)})
    outputs = detector.outputs(images)
    outputs.pop(BANK_ROW, None)  # the graph knows no image again
    expected = detector.score_outputs(outputs)
    error = float(np.abs(scores - expected).max())
    allowed = TOLERANCE * np.maximum(1, np.abs(expected)) + OF_DEVIATION * expected.std()
    same = flags == detector.is_ood(expected)
    near = np.abs(expected - detector.threshold) <= allowed
    if (np.abs(scores - expected) > allowed).any() or not (same | near).all():
        raise BenchError(
            f"{path.name}: onnxruntime {onnxruntime.__version__} gives other scores than PyTorch (by up to {error:.2g})"
        )
    flagged = "all flags" if same.all() else f"{same.sum()} flags"
    return f"scores of {len(images)} images by onnxruntime as by PyTorch to within {error:.2g}, {flagged} the same"
