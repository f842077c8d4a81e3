"""Use an exported detector from Python.

    from benchmark import Detector
    detector = Detector.load("my-detector")
    scores = detector.score(["a.png", "b.jpg"])      # larger = more OOD
    detector.is_ood(scores), detector.p_values(scores)

Shapes: N images, S stored side in pixels, D features, M rows of the bank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor, nn

from benchmark.data.identical import digests
from benchmark.data.pictures import read_picture, to_square, turned_by_exif
from benchmark.detection.knn import nearest
from benchmark.detection.scores import full_float32, kept_features
from benchmark.detection.threshold import p_values
from benchmark.detector.artifact import (
    BACKBONE,
    BANK,
    HEAD,
    NAMES,
    PATCHES,
    PatchInfo,
    Settings,
    read_settings,
    read_tensors,
)  # fmt: skip
from benchmark.detector.patches import Explanation, explanation
from benchmark.detector.sources import why
from benchmark.errors import BenchError, about
from benchmark.evaluation.features import EMBED_BATCH
from benchmark.files import read_names
from benchmark.models.backbones import at_once, build_backbone
from benchmark.models.heads import HEADS
from benchmark.plan import scores as plan
from benchmark.running.device import Runtime, find_device, image_tensor
from benchmark.scoring.base import LOGITS, Outputs, Score
from benchmark.scoring.named import Sum, named
from benchmark.scoring.outputs import COPIES, batch_outputs, output_names
from benchmark.store.folders import NEGATIVES
from benchmark.views.recipes import input_of
from benchmark.views.render import evaluation_view

Read = TypeVar("Read")
BANK_ROW = "own"  # of the outputs: the row of the bank that is the very image, -1 where none is
Images = Sequence[str | Path | Image.Image] | NDArray[np.uint8] | Tensor


class Detector:
    """An OOD detector as `bench export` writes it. Every score: larger = more OOD.

    settings: what detector.json says. threshold: above it an image is called OOD. id_scores: float32 (n,), the scores
    of the held-out ID images. index, label: int64 (M,), each bank row's place in the training split and its label (-1
    unknown). names: the file of each bank row, or None. backbone, head: networks in evaluation mode; fitted: the score.
    patches: (P, C) unit rows, places of training images, or None.
    """

    def __init__(
        self,
        settings: Settings,
        backbone: nn.Module,
        bank: dict[str, Tensor],
        names: list[str] | None = None,
        device: torch.device | None = None,
        head: nn.Module | None = None,
        patches: Tensor | None = None,
    ) -> None:
        self.settings = settings
        self.device = device or torch.device("cpu")
        self.threshold = settings.threshold.value
        self.id_scores: NDArray[np.float32] = bank["id_scores"].numpy()
        self.index: NDArray[np.int64] = bank["index"].numpy()
        self.label: NDArray[np.int64] = bank["label"].numpy()
        self.names = names
        self.backbone = backbone.to(self.device).eval().requires_grad_(False)
        self.head = None if head is None else head.to(self.device).eval().requires_grad_(False)
        self.fitted = _fitted(settings, bank, self.device)
        self._bank = bank["features"].to(self.device).float()
        self._row_of = {number: row for row, number in enumerate(bank.get("hash", torch.empty(0)).tolist())}
        self._needs = plan.needs([settings.score])
        self.patches = None if patches is None else patches.to(self.device).float()

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> Detector:
        """Read a detector folder. device: auto, cpu, cuda or cuda:N.

        No file is run as code: safetensors and JSON alone are read. Raises BenchError, one line that names the file,
        where one is missing, damaged, not what was exported, or of a newer schema.
        """
        folder = Path(folder)
        settings = read_settings(folder)
        place = find_device(Runtime(device=device))
        size = settings.view_size
        with about(f"{folder / 'detector.json'}: backbone"):
            backbone, width = build_backbone(settings.backbone, size, size, 0.0)
        _load_weights(backbone, folder / BACKBONE, settings.backbone.backbone)
        head = None
        if settings.head is not None:
            head = HEADS[settings.head.method.head](width, settings.head.method)
            _load_weights(head, folder / HEAD, "the head in detector.json")
        bank = read_tensors(folder / BANK)
        _check_bank(folder / BANK, bank, settings, width)
        names = None
        if NAMES in settings.files:
            names = read_names(folder / NAMES, settings.bank.count, "export the detector again")
        patches = None
        if settings.patches is not None:
            patches = _read_patches(folder / PATCHES, settings.patches)
        return cls(settings, backbone, bank, names, place, head, patches)

    def score(self, images: Images, batch: int = EMBED_BATCH) -> NDArray[np.float32]:
        """Scores (N,) of images, larger = more OOD: Eq. 6 of the paper as -log of the mean, or `settings.score`.

        An image of the bank itself is scored by the others, unless the bank is thinned.
        images: paths or PIL images of any size (or one of them), a uint8 array (N, H, W, 3), or a uint8 tensor
        (N, 3, H, W). Other sizes than the run's stored one are brought to it as an import does: turned by EXIF, RGB,
        central square, PIL's bicubic with antialias. batch: images a forward pass. Raises BenchError that names what
        cannot be read.
        """
        return self.score_outputs(self.outputs(images, batch))

    def is_ood(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Whether each score is above the threshold."""
        return np.asarray(scores) > self.threshold

    def p_values(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Conformal p-value of each score among the n held-out ID images: (1 + how many score as high) / (n + 1).

        Small = unlike the ID images: for a new ID image P(p <= a) is at most a.
        """
        return p_values(self.id_scores, np.asarray(scores, dtype=np.float32))

    def nearest(
        self, images: Images, k: int = 3, batch: int = EMBED_BATCH
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows of the bank nearest to each image, nearest first, and their cosines: (N, k) both.

        `self.index[row]` is the place in the training split, `self.label[row]` the label, `self.names[row]` the file.
        """
        return self.nearest_outputs(self._outputs(images, batch, frozenset()), k)

    def explain(self, image: str | Path | Image.Image) -> Explanation:
        """Where an image is unlike the training images. Raises BenchError where it cannot be read, and for a detector
        without patches."""
        if self.settings.patches is None:
            raise BenchError(f"{self.settings.run}: this detector has no patches of training images, so that it cannot "
                             "say where; export it again with the run's images at hand (--data)")  # fmt: skip
        picture = _picture(image)
        return explanation(self, square_of(picture, self.settings.image_size), picture.size)

    @torch.no_grad()
    def features(self, images: Images, batch: int = EMBED_BATCH) -> Tensor:
        """Features (N, D) as the run kept them: unit length, rounded to float16, here as float32 on the device."""
        return self._outputs(images, batch, frozenset())["features"]

    def outputs(self, images: Images, batch: int = EMBED_BATCH) -> Outputs:
        """ "features", as `features` gives them, what else the detector's score reads (`scoring.base.Outputs`), and
        `BANK_ROW` int64 (N,) on the CPU where the bank knows its images."""
        return self._outputs(images, batch, self._needs)

    @torch.no_grad()
    def _outputs(self, images: Images, batch: int, needs: frozenset[plan.Need]) -> Outputs:
        parts: list[Outputs] = []
        batch = min(batch, at_once(self.settings.view_size, self.device))
        for squares in _batches(images, batch, self.settings.image_size):
            pixels = image_tensor(squares).to(self.device)
            with full_float32():
                parts.append(self.answer(pixels, needs))
            if self._row_of:
                numbers = digests(squares).view(np.int64).tolist()  # as the bank has them
                parts[-1][BANK_ROW] = torch.tensor([self._row_of.get(number, -1) for number in numbers])
        if not parts:
            return {"features": torch.empty(0, self._bank.shape[1], device=self.device)}
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def answer(self, pixels: Tensor, needs: frozenset[plan.Need] | None = None) -> Outputs:
        """What the network says of one batch (B, 3, S, S) uint8 on the device. needs: by default the score's."""
        return batch_outputs(self, pixels, self._needs if needs is None else needs)[1]

    def embed(self, images: Tensor) -> Outputs:
        """ "features" (B, D) of images (B, 3, S, S) uint8 on the device, of their own length."""
        return {"features": self.backbone(self.view(images)).float()}

    def stored(self, outputs: Outputs) -> Outputs:
        """Features as a run keeps them, in float32."""
        return {"features": kept_features(outputs["features"]).float()}

    def view(self, pixels: Tensor) -> Tensor:
        """What the backbone sees of images (B, 3, S, S) uint8: resized and normalised, float32."""
        return evaluation_view(pixels, self.settings.view_size, *input_of(self.settings))

    def class_logits(self, outputs: Outputs) -> Tensor | None:
        """Logits (B, K) of what `embed` gives; None without a head."""
        if self.head is None or self.settings.head is None:
            return None
        logits: Tensor = self.head(outputs["features"])
        return logits.float() / self.settings.head.temperature

    def score_outputs(self, outputs: Outputs) -> NDArray[np.float32]:
        """Scores (N,) of what `outputs` gives."""
        if not len(outputs["features"]):
            return np.empty(0, np.float32)
        scores = self.fitted.score(outputs)
        own = outputs.get(BANK_ROW, torch.empty(0))
        if len(known := (own >= 0).nonzero()[:, 0]):  # its own copy would make any image look familiar
            some = {name: rows[known.to(rows.device)] for name, rows in outputs.items()}
            scores[known] = self.fitted.score(some, own[known])
        return scores.float().numpy()

    def nearest_outputs(self, outputs: Outputs, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """`nearest` of what `outputs` gives."""
        features = outputs["features"]
        if BANK_ROW not in outputs:
            cosines, rows = nearest(features, self._bank, k)
        else:  # one more, of which the image itself is left out
            cosines, rows = nearest(features, self._bank, k + (k < len(self._bank)))
            others = (rows == outputs[BANK_ROW].to(rows.device)[:, None]).int().argsort(dim=1, stable=True)[:, :k]
            cosines, rows = cosines.gather(1, others), rows.gather(1, others)
        return rows.cpu().numpy(), cosines.cpu().numpy()


def _fitted(settings: Settings, bank: dict[str, Tensor], device: torch.device) -> Score:
    """The detector's score, as fitted to the training images."""
    score = named(settings.score, settings.temperature)
    train = {name: rows.to(device) for name, rows in bank.items()}
    if isinstance(score, Sum) and settings.scales:
        score.fit_again(train, settings.scales)
    else:
        score.fit(train)
    return score


def square_of(image: str | Path | Image.Image, size: int) -> NDArray[np.uint8]:
    """One image as an import stores it: (size, size, 3) uint8. Raises BenchError with the reason."""
    return _read(image, lambda picture: to_square(picture, size))


def _picture(image: str | Path | Image.Image) -> Image.Image:
    return _read(image, lambda picture: picture)


def _read(image: str | Path | Image.Image, use: Callable[[Image.Image], Read]) -> Read:
    if not isinstance(image, (str, Path, Image.Image)):
        raise BenchError(f"images: a {type(image).__name__} among them; allowed are paths and PIL images")
    try:
        return use(turned_by_exif(image) if isinstance(image, Image.Image) else read_picture(str(image)))
    except Exception as error:  # PIL's readers raise whatever a broken file leads them to
        what = "a PIL image" if isinstance(image, Image.Image) else str(image)
        raise BenchError(f"{what}: not a readable image ({why(error)})") from error


def _batches(images: Any, batch: int, size: int) -> Iterator[NDArray[np.uint8]]:
    if isinstance(images, (str, Path, Image.Image)):
        images = [images]
    if isinstance(images, Tensor):
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
            raise BenchError(f"images: a tensor {images.dtype} {tuple(images.shape)}, allowed is uint8 (N, 3, H, W)")
        images = images.permute(0, 2, 3, 1).cpu().numpy()
    is_array = isinstance(images, np.ndarray)
    if is_array and (images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8):
        raise BenchError(f"images: an array {images.dtype} {images.shape}, allowed is uint8 (N, H, W, 3)")
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        if is_array and part.shape[1:3] == (size, size):
            yield np.array(part)  # a copy: torch wants memory that it may write to
        elif is_array:
            yield np.stack([to_square(Image.fromarray(np.ascontiguousarray(one)), size) for one in part])
        else:
            yield np.stack([square_of(one, size) for one in part])


def _load_weights(network: nn.Module, path: Path, what: str) -> None:
    try:
        network.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise BenchError(f"{path}: does not fit {what} ({reason})") from error


def _read_patches(path: Path, info: PatchInfo) -> Tensor:
    tensors = read_tensors(path)
    wanted = (info.count, info.dimension)
    if tensors.keys() != {"patches"} or tensors["patches"].shape != wanted or tensors["patches"].dtype != torch.float16:
        raise BenchError(f"{path}: holds something else than patches, float16 {wanted}")
    if not bool(torch.isfinite(tensors["patches"]).all()):
        raise BenchError(f"{path}: patches: holds NaN or infinity")
    return tensors["patches"]


def _check_bank(path: Path, bank: dict[str, Tensor], settings: Settings, width: int) -> None:
    """Raise BenchError unless the tensors are those that a bank has, in the sizes that detector.json says."""
    rows = settings.bank.count
    wanted: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
        "features": (torch.float16, (rows, width)),
        "index": (torch.int64, (rows,)),
        "label": (torch.int64, (rows,)),
        "id_scores": (torch.float32, (settings.threshold.n,)),
    }
    if settings.bank.hashed:
        wanted["hash"] = (torch.int64, (rows,))
    if settings.bank.thinned:
        wanted["weights"] = (torch.float32, (rows,))
    shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
        "norm": (torch.float32, (rows,)),
        "class_logits": (torch.float32, (rows, len(LOGITS))),
    }
    for copies in COPIES.values():
        shapes[copies] = (torch.float16, (rows, 3, width))
        shapes[f"{copies}_class_logits"] = (torch.float32, (rows, 3, len(LOGITS)))
    for name in output_names(plan.needs([settings.score])):
        wanted[name] = shapes[name]
    if "negatives" in plan.needs([settings.score]):
        wanted[NEGATIVES] = (torch.float32, (1, width))  # their mean
    if bank.keys() != wanted.keys():
        raise BenchError(f"{path}: holds {', '.join(sorted(bank))}; wanted are {', '.join(sorted(wanted))}")
    for name, (kind, shape) in wanted.items():
        if bank[name].dtype != kind or bank[name].shape != shape:
            given = f"{bank[name].dtype} {tuple(bank[name].shape)}"
            raise BenchError(f"{path}: {name}: is {given}, wanted is {kind} {shape}")
        if kind.is_floating_point and not bool(torch.isfinite(bank[name]).all()):
            raise BenchError(f"{path}: {name}: holds NaN or infinity")
    if settings.bank.thinned and not bool((bank["weights"] > 0).all()):
        raise BenchError(f"{path}: weights: must be above 0")
