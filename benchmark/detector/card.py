"""The model card that goes with a detector: what it is, where it comes from, what it was measured to do."""

from __future__ import annotations

from benchmark.detector.artifact import Settings
from benchmark.plan.scores import EQ6, passes
from benchmark.plan.training_data import meaning
from benchmark.views.recipes import input_of


def model_card(settings: Settings) -> str:
    """README.md of a detector."""
    bank, threshold, figures = settings.bank, settings.threshold, settings.figures
    interval = " to ".join(f"{100 * bound:.2f}%" for bound in threshold.rate_interval)
    environment = settings.environment
    quantile = " to ".join("beyond the held-out scores" if v is None else f"{v:.6g}" for v in threshold.value_interval)
    packages = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    thinned = (
        f" (k-means, one image per cluster, seed {bank.seed}), each\nweighted by the number of images it stands for"
        if bank.thinned
        else ""
    )
    table = ["| OOD set | AUROC | above the threshold | n |", "| --- | ---: | ---: | ---: |"]
    if bank.thinned:
        table = [
            "| OOD set | AUROC, whole bank | AUROC | above the threshold | n |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
    if not figures.ood:
        table = ["No OOD set was scored."]
    for name, ood in figures.ood.items():
        full = f" {ood.auroc_full_bank:.2f} |" if bank.thinned else ""
        table.append(f"| {name} |{full} {ood.auroc:.2f} | {ood.found:.1f} | {ood.n} |")
    data = [
        f"| {key} | {seen.count} | {'yes' if seen.official else 'no'} | `{seen.fingerprint[:16]}` |"
        for key, seen in settings.data.items()
    ]
    accuracy = ", ".join(f"{v:.1f}% (k = {k})" for k, v in figures.knn_accuracy.items() if v is not None)
    accuracy = accuracy or "not known without labels"
    newline = "\n"
    explain = (
        'detector.explain("a.png").peak  # where it is most unlike the training images: x, y\n'
        if settings.patches
        else ""
    )
    arguments = "".join(f", {key}={value!r}" for key, value in settings.timm_args.items())
    names = "\nIt holds the file names of its training images (names.json).\n" if "names.json" in settings.files else ""
    formula = f"""With f its feature (the class token of a vision transformer) and f_m those of the bank,

    score = -log( mean_m exp(cos(f, f_m) / {settings.temperature:g}) )        larger = more OOD"""
    if settings.score != EQ6:
        formula = f"""Its score is `{settings.score}` of the benchmark's scores, in {passes(settings.score)} passes of
the network; larger = more OOD."""
    limits = "".join(f"- {caveat}\n" for caveat in settings.caveats)
    return f"""# OOD detector from {settings.run}

It scores how unlike its training images ({settings.in_dist}) an image is. {_training(settings)}

```sh
bench score THIS-FOLDER IMAGES... > scores.csv
```

```python
from benchmark import Detector

detector = Detector.load("THIS-FOLDER")
scores = detector.score(["a.png", "b.jpg"])  # larger = more OOD
detector.is_ood(scores), detector.p_values(scores), detector.nearest(["a.png"], k=3)
{explain}```

The backbone alone, from this folder:

```python
timm.create_model({settings.backbone.backbone!r}, checkpoint_path="backbone.safetensors"{arguments})
```
{_onnx(settings)}
## What it computes

{_preprocessing(settings)}

{formula}

The bank holds the features of {bank.count} of {bank.of} training images{thinned}.
{names}
## Threshold

An image is called OOD above {threshold.value:.6g}. This was chosen for {100 * threshold.asked:g}% false alarms, from
the scores of {threshold.n} held-out ID images (the run's ID **test** set) and no OOD image. Expected false alarms
among new ID images: {100 * threshold.rate:.2f}%; 95% interval of the true rate {interval} (exact).
95% interval of the threshold with exactly {100 * threshold.asked:g}% false alarms: {quantile}.

## Measured

AUROC of the ID test set against each OOD set, and the share of the OOD set above the threshold, both in %.

{newline.join(table)}

Sensitivity (AUROC of ID train against ID test): {figures.sensitivity:.2f}. k-NN accuracy: {accuracy}.
The AUROC and the threshold both come from the ID test set. No OOD set was used to choose anything in this export.
Checked at export: {settings.checked}.

## Where it comes from

- run {settings.run}, id {settings.run_id}
- recipe {settings.recipe_id}
- source {environment.get("commit", "unknown")}; {packages or "packages unknown"}
- made on {environment.get("hardware", "unknown")} ({environment.get("device", "unknown")})

| images | count | official | sha256 |
| --- | ---: | --- | --- |
{newline.join(data)}

## Limits

- It says how unlike the training images an image is, not what is wrong with it. Scores of another run, or of another
  bank of this one, are not on one scale.
- The false-alarm rate and the p-values hold for new images drawn as the ID test images were. Another camera, another
  compression or another resize of the same things can raise every score: check with ID images of one's own.
- What it finds depends on the kind of OOD image. Where the table says 50, it tells nothing; sets that sharpness or
  colour alone can tell apart say little about content.
- Detail below {settings.image_size} pixels a side, and everything outside the central square, is not seen.
{limits}"""


def _training(settings: Settings) -> str:
    """Sentences on how its network was trained, and on what."""
    negatives = "" if settings.variant in ("none", "dino") else f" with the negatives {settings.variant}"
    told = f"Method: {settings.method}{negatives}."
    return f"{told}\n{meaning([settings.training_data])}" if settings.training_data else told


def _preprocessing(settings: Settings) -> str:
    """Sentences on how an image becomes the network's input."""
    stored, seen = settings.image_size, settings.view_size
    by, interpolation = input_of(settings)
    mean, std = (", ".join(f"{number:g}" for number in numbers) for numbers in (by.mean, by.std))
    again = f",\nand the {interpolation} one to {seen}x{seen}" if seen != stored else ""
    return f"""An image becomes RGB and is cut to its central square. PIL's antialiased bicubic filter brings it to
{stored}x{stored}{again}. Of each channel, in 0 to 1, the mean ({mean}) is subtracted, and the
rest divided by the standard deviation ({std})."""


def _onnx(settings: Settings) -> str:
    """The part on detector.onnx, "" without one."""
    if settings.onnx is None:
        return ""
    size = settings.image_size
    return f"""
## As one ONNX graph

detector.onnx (opset {settings.onnx.opset}) takes any number of images at once, RGB of {size}x{size} pixels, and holds
all that comes after that. Checked: {settings.onnx.checked}.

```python
import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def square(path: str) -> np.ndarray:
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    side = min(image.size)
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    image = image.crop((left, top, left + side, top + side))
    return np.asarray(image.resize(({size}, {size}), Image.Resampling.BICUBIC))


session = onnxruntime.InferenceSession("detector.onnx")
images = np.stack([square(path) for path in ["a.png", "b.jpg"]])  # uint8 (N, {size}, {size}, 3)
score, ood = session.run(["score", "ood"], {{"images": images}})
```
"""
