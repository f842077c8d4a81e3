"""The sweep file that someone's own images start from, with the reasons for its settings."""

from __future__ import annotations

import json
import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np

from benchmark.errors import BenchError
from benchmark.files import atomic_write
from benchmark.negatives import IN_DIST, VARIANTS, Variant, variant
from benchmark.own.bring import Own, stored_name
from benchmark.own.examine import Findings
from benchmark.plan import sweep, yamlfile
from benchmark.plan.sections import ModelConfig
from benchmark.plan.validation import validate

TRAINED_SIZE, FROZEN_SIZE = 32, 224  # pixels that images are stored at, by default
FROZEN_ALONE = "'*frozen*'"  # --only of such a sweep: what trains nothing
SEEDS = 3  # of each variant, for an interval
_OF_WEIGHTS = ("backbone", "weights", "weights_sha256", "weights_by", "pretraining", "mean", "std", "interpolation")


def variants(has_auxiliary: bool) -> list[str]:
    """The variants that can be made: those whose sources are there. The auxiliary set stands behind "imagenet" alone:
    "dti" is for one that was cleaned of ID classes by labels."""
    names = [*VARIANTS, *([] if has_auxiliary else ["perm-16-in-dist", "perm-4-in-dist"])]
    there = {IN_DIST, "imagenet"} if has_auxiliary else {IN_DIST}
    return [name for name in names if all(there.issuperset(negative.sources) for negative in variant(name).negatives)]


def rotates_id(chosen: Variant) -> bool:
    """Whether one of its negatives is a rotated ID image."""
    return any(negative.source == IN_DIST and negative.transform.startswith("rot") for negative in chosen.negatives)


def frozen_model(weights: Path | None, backbone: str | None, pretraining: str | None, by: str) -> ModelConfig | None:
    """The `model` section of a frozen network with these weights, None without weights. Raises BenchError, one line,
    for weights that cannot be meant, before any image is read."""
    if weights is None:
        if backbone or pretraining or by != "name":
            raise BenchError("--backbone, --pretraining and --weights-by are about --weights FILE, which is not given")
        return None
    if backbone is None or pretraining is None:
        raise BenchError(
            f"--weights {weights}: --backbone NAME (timm's name of their network) and --pretraining supervised or "
            "self-supervised must be given with it; no file tells"
        )
    raw = {"backbone": backbone, "weights": str(weights), "weights_by": by, "pretraining": pretraining}
    made: ModelConfig = validate(ModelConfig, raw, "--weights")
    return made


def tried(model: ModelConfig, size: int) -> str:
    """Build the network with its weights, before any image is stored. Returns a warning, "" for none: of weights
    matched by order, where another network takes them too. Raises BenchError, one line, where they do not fit."""
    import timm

    from benchmark.models.backbones import build_backbone

    build_backbone(model, size, size, 0.0)
    twin = f"tf_{model.backbone}"
    if model.weights_by == "order" and timm.is_model(twin):
        return (
            f"the same tensors fit {twin} too, which pads images otherwise: the wrong one detects much less. "
            f"Weights that come from TensorFlow need --backbone {twin}"
        )
    return ""


def write_sweep(
    path: Path,
    own: Own,
    found: Findings,
    gpu: bool,
    data: Path | None,
    force: bool = False,
    frozen: ModelConfig | None = None,
) -> None:
    """Write the sweep file, with the reasons for its settings. Raises BenchError where a file is there, unless `force`.

    gpu: settings for one GPU, else for one CPU core per run. data: the data folder, where it is not the usual one.
    frozen: a network with weights, scored without training, first; of the trained ones a few are then left.
    """
    refuse_to_overwrite(path, force)
    if frozen is None:
        text = sweep_text(path, own, found, gpu, data)
    else:
        text = frozen_text(path, own, found, frozen, gpu, data)
    with atomic_write(path) as stream:  # names of files need not be UTF-8
        stream.write(text.encode("utf-8", "backslashreplace"))
    sweep.load(path)


def refuse_to_overwrite(path: Path, force: bool) -> None:
    """Raise BenchError where `path` exists, unless `force`."""
    if path.exists() and not force:
        raise BenchError(
            f"{path}: is there already; call this folder's sets and file otherwise with --name NAME, write another "
            "file with --to FILE, or over it with --force"
        )


def sweep_text(path: Path, own: Own, found: Findings, gpu: bool, data: Path | None) -> str:
    """The sweep file: a comment that says what is in it and why, then the settings."""
    kept, left_out = _kept_variants(own, found)
    settings = _settings(own.train, own.size, own.size, gpu)
    where = f" --data {quote(str(data))}" if data else ""
    oods = [_quoted(stored_name(own, one.source)) for one in own.with_role("ood")]
    head = [
        f"Which negatives suit {own.name}? {len(kept)} variants x {SEEDS} seeds, written by `bench init`.",
        "",
        f"Images: {own.train} to train on, {own.test} to test on, {own.size}x{own.size}; no labels, no k-NN accuracy.",
        f"Rotations of the ID images are told apart with {found.upright}: an up and down, {found.upright.verdict}.",
        f"Settings for {'one GPU' if gpu else 'CPU cores, one per run'}: {settings.why}",
        f"Cost: {settings.cost(SEEDS * len(kept))}",
        f"Command: bench sweep {quote(str(path))}{where} && bench recommend {quote(str(path))}",
    ]
    sources, auxiliary = _sources(own)
    data_section = ", ".join(filter(None, [sources, f"image_size: {own.size}"]))
    out = ""
    if left_out:
        out = f"  # left out, for the ID images have no up and down: {', '.join(left_out)}\n"
    note = "" if oods else "  # none given: `bench recommend` needs none"
    return f"""{_comment(head, found)}
title: Negatives for {own.name}

base:
  in_dist: {_quoted(own.name)}
  data: {{{data_section}}}{auxiliary}
{settings.text}
  # Scores beside Eq. 6, each of one pass per image: reports/README.md says what they are worth.
  eval: {{scores: [eq6-from-negatives, eq6-confident, msp], ood: [{", ".join(oods)}]}}{note}

grid:
{out}  variant: [{", ".join(kept)}]
  seed: {list(range(SEEDS))}  # three, for an interval; the ranking means little with one

{settings.resources}

{_images(own)}
"""


def cost(own: Own, found: Findings, gpu: bool) -> str:
    """How long the runs of `sweep_text` take, in words."""
    return _settings(own.train, own.size, own.size, gpu).cost(SEEDS * len(_kept_variants(own, found)[0]))


def _kept_variants(own: Own, found: Findings) -> tuple[list[str], list[str]]:
    """The variants that suit these images, and those that are left out."""
    chosen = variants(bool(own.with_role("aux")))
    left_out = [name for name in chosen if found.upright.verdict == "no" and rotates_id(variant(name))]
    return [name for name in chosen if name not in left_out], left_out


def beside_size(own: Own, gpu: bool) -> int:
    """Pixels a side at which DINO is trained beside a frozen network, so that it ends soon."""
    return min(own.size, 64 if gpu else 32)


def frozen_text(path: Path, own: Own, found: Findings, model: ModelConfig, gpu: bool, data: Path | None) -> str:
    """The sweep file of a network with weights, which trains nothing and sees images at the size that it is used to,
    and of DINO with negatives and without beside it, at a size that is trained soon."""
    where = f" --data {quote(str(data))}" if data else ""
    oods = f"ood: [{', '.join(_quoted(stored_name(own, one.source)) for one in own.with_role('ood'))}]"
    variants = ["dino", "perm-16-in-dist" if found.upright.verdict == "no" else "rot-in-dist"]
    sources, auxiliary = _sources(own)
    if sources:
        variants.append("imgn")
        sources = f"\n      data: {{{sources}}}{auxiliary}"
    side = beside_size(own, gpu)
    settings = _settings(own.train, own.size, side, gpu)
    head = [
        f"How does a frozen {model.backbone} tell {own.name} from other images, and how does DINO trained on them?",
        "Written by `bench init`.",
        "",
        f"Images: {own.train} to train on, {own.test} to test on, {own.size}x{own.size}; no labels, no k-NN accuracy.",
        f"Weights: {model.pretraining} pretraining. Whatever they were trained on is not new to them.",
        f"DINO, at {side}x{side}: {settings.why}",
        f"Cost: one pass per image of the frozen network; of the others {settings.cost(len(variants) * SEEDS)}",
        f"Command: bench sweep {quote(str(path))} --only {FROZEN_ALONE}{where}",
    ]
    given = {key: value for key, value in model.model_dump(mode="json").items() if key in _OF_WEIGHTS and value}
    weights = "\n".join(f"        {key}: {json.dumps(value)}" for key, value in given.items())
    return f"""{_comment(head, found)}
title: A frozen network for {own.name}, and DINO beside it

base:
  in_dist: {_quoted(own.name)}
  data: {{image_size: {own.size}}}

grids:
  - base:
      method: {{name: frozen}}
      model:
{weights}
      eval: {{scores: [knn-5, mahalanobis], {oods}}}

  - base:{sources}
{textwrap.indent(settings.text, "    ")}
      eval: {{scores: [knn-5, mahalanobis], {oods}}}
    grid:
      variant: [{", ".join(variants)}]
      seed: {list(range(SEEDS))}  # three, for an interval

references: [image-statistics]

{settings.resources}

{_images(own)}
"""


def _sources(own: Own) -> tuple[str, str]:
    """The auxiliary set in `data` of a sweep file, and a comment that goes with it; both "" where there is none."""
    for one in own.with_role("aux"):
        named = f"sources: {{imagenet: {_quoted(stored_name(own, one.source))}}}"
        return named, "  # `imagenet` is the name of the auxiliary source, whatever its images"
    return "", ""


def _comment(head: list[str], found: Findings) -> str:
    """The file's first lines: what is in it, and what was found wrong with the images."""
    if found.warnings:
        head = [*head, "", "What `bench init` warned of:", *(f"- {line}" for line in found.warnings)]
    return "\n".join(_commented(line) for line in head)


def _images(own: Own) -> str:
    """The file's last lines: of which images it is."""
    why = "# What this file was written for; `bench` says so where other images have come to stand under these names."
    stored = [f"  {_quoted(key)}: {json.dumps(sha[: sweep.DIGITS])}" for key, sha in own.stored.items()]
    return "\n".join([why, "images:", *stored])


def _quoted(name: str) -> str:
    """A set's name in YAML, to which 2024 is a number."""
    return name if yamlfile.parse(name, name) == name else json.dumps(name)


def _commented(line: str) -> str:
    """One or more lines of comment; a command stays in one piece, to be copied."""
    width = 10**6 if line.startswith("Command:") else 117
    return textwrap.fill(f"# {line}", width, subsequent_indent="#   ", break_on_hyphens=False).rstrip()


@dataclass(frozen=True)
class _Settings:
    text: str
    resources: str
    why: str
    hours: float  # a run, roughly
    gpu: bool

    def cost(self, runs: int) -> str:
        each, sure = ("a GPU", "a guess: ") if self.gpu else ("a core", "roughly ")
        less = "less with --only '*-s0' (one seed) or --set train.epochs=N"
        one, total = duration_in_words(self.hours), duration_in_words(runs * self.hours)
        return f"{sure}{one} a run, {total} in all on {each}; {less}."


def duration_in_words(hours: float) -> str:
    """As one says it of a rough estimate."""
    if hours < 1.5 / 60:
        return "a minute"
    return f"{60 * hours:.0f} minutes" if hours < 2 else f"{hours:.0f} hours"


# Images a second and run, with their negatives: measured with the network below at 32 pixels on a core of an EPYC;
# guessed for a GPU and, by pixels, for other sizes.
_CPU_RATE, _GPU_RATE = 160.0, 1500.0
_CPU_SHRUNK = 150.0  # images of 224 pixels a second and core whose views are made as small as that


def _settings(train: int, stored: int, size: int, gpu: bool) -> _Settings:
    """Model, views and training by hardware, number of images, and the side in pixels at which they are stored and
    trained on, after sweeps/small.yaml and cpu.yaml."""
    patch = min(16, size // 8)
    batch = max(8, 1 << int(math.log2(max(8, min(256 if gpu else 64, train // 8)))))
    seen = 2_000_000 if gpu else 85_000  # images over the whole training
    epochs = int(np.clip(round(seen / train), 5, 400 if gpu else 100))
    warmup = max(epochs / 10, 0.5)
    tokens = (size // patch) ** 2
    each = tokens / 64 / _GPU_RATE if gpu else (size / 32) ** 2 / _CPU_RATE
    if stored > size and not gpu:
        each += (stored / 224) ** 2 / _CPU_SHRUNK
    hours = epochs * train * each / 3600
    if gpu:
        model = f"{{backbone: vit_tiny_patch16_224, args: {{patch_size: {patch}}}}}"
        method = "{name: dino, classes: 4096, teacher_momentum: 0.99}"
        seen_by = f"ViT-Ti with patches of {patch} pixels ({tokens} a global view)"
    else:
        model = "{backbone: resnet10t, args: {channels: [32, 64, 128, 256]}, drop_path: 0.0}"
        method = (
            "{name: dino, classes: 256, head_hidden: 256, head_bottleneck: 64, teacher_momentum: 0.996,\n"
            "           teacher_temperature_start: 0.03, teacher_temperature_end: 0.02}"
        )
        seen_by = "a small residual network (1.3 M parameters)"
    precision = "bf16" if gpu else "fp32"
    rate_text = "0.002" if gpu else "0.004"
    text = f"""\
  model: {model}
  views: {{global_size: {size}, local_size: {size // 2}, local_views: {8 if gpu else 2}}}
  method: {method}
  train: {{epochs: {epochs}, batch: {batch}, lr: {rate_text}, warmup_epochs: {warmup}, precision: {precision}}}"""
    if gpu:
        resources = f"resources: {{gpus: 1, cpus: 4, memory_gb: 16, hours: {max(1, math.ceil(3 * hours))}}}"
    else:
        resources = f"resources: {{gpus: 0, cpus: 1, memory_gb: 4, hours: {max(1, math.ceil(3 * hours))}}}"
    why = f"{seen_by}, {epochs} epochs, so that it sees about {epochs * train:,} images."
    if not gpu:
        why += " On a GPU: `bench init` there, or longer training, gives a ranking to trust more."
    return _Settings(text, resources, why, hours, gpu)
