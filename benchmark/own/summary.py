"""What `bench init` prints of the sets: a table, and notes below it."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import numpy as np
from numpy.typing import NDArray

from benchmark.own.bring import SIZES, Loaded, Own, stored_name
from benchmark.own.examine import Findings
from benchmark.plan.training_data import TRAINABLE

COLUMNS = ["set", "role", "stored", "copies", "alike", "pixels", "statistics against ID"]


def rows(own: Own, found: Findings) -> list[list[str]]:
    """One line per set: what it is stored as, how many images, copies left out, near-duplicates, original sides in
    pixels, AUROC by image statistics."""
    made = []
    for one in own.loaded:
        name = stored_name(own, one.source)
        low = found.low_level.get(name)
        split = f"{own.train} train, {own.test} test" if one.source.role == "id" else str(len(one.names))
        made.append([
            name, one.source.role, split, str(len(one.copies)), str(len(one.repeated)), _sides(one),
            f"{low.auroc:.0f} ({low.strongest} {low.strongest_auroc:.0f})" if low else "",
        ])  # fmt: skip
    return made


def _sides(one: Loaded) -> str:
    low, high = int(one.original.min()), int(one.original.max())
    return str(low) if low == high else f"{low}-{high}"


def notes(own: Own, found: Findings) -> list[str]:
    """What stands below the table."""
    lines = [_loss(own)]
    lines += [
        "copies: the same pixels, left out. alike: near-duplicates within the set, kept on one side of the split. "
        "statistics: AUROC in % against ID by sharpness, brightness, contrast and colourfulness together (and by "
        "the strongest alone; above 50 it has more of it, below 50 less); 50 is none."
    ] if len(own.loaded) > 1 else []  # fmt: skip
    lines.append(f"rotations of the ID images told apart: {found.upright}; an up and down: {found.upright.verdict}")
    return lines + [f"warning: {line}" for line in found.warnings]


LARGE = 64  # pixels: of larger images most is lost at the size at which networks are trained here


def larger(own: Own, folder: Path) -> list[str]:
    """Of images that are larger than LARGE: what a frozen network would give, and how."""
    if float(np.median(_shorter_sides(own))) <= LARGE:
        return []
    again = f"bench init {quote(str(folder))} --name {own.layout.in_dist.name}-large"
    return [
        "a frozen network with weights trained elsewhere keeps that detail and needs no training; "
        f"{'with so few images, use it instead' if own.train < TRAINABLE else 'try it first'}: {again} --weights FILE "
        "--backbone NAME --pretraining HOW",
        "FILE: .safetensors or .pth of timm, DINO, DINOv2 or MAE; NAME: timm's name of its network; HOW: supervised or "
        "self-supervised. benchmark/own/README.md says where to get one. What it was trained on is not new to it.",
    ]


def _shorter_sides(own: Own) -> NDArray[np.int64]:
    return np.concatenate([one.original.min(1) for one in own.loaded])


def beside(own: Own, size: int) -> str:
    """At which size a network is trained beside a frozen one, and what that loses."""
    sides = _shorter_sides(own)
    finer = float(np.median(sides)) / size
    lost = f", where detail of the median image finer than {finer:.3g} pixels is lost" if finer > 1 else ""
    return f"beside it DINO, trained at {size} pixels so that it ends soon{lost}"


def _loss(own: Own) -> str:
    """At which size images are stored, beside their own, and what that loses."""
    sides = _shorter_sides(own)
    low, high = (int(side) for side in (sides.min(), sides.max()))
    have = f"your images have {low} pixels" if low == high else f"your images have {low} to {high} pixels"
    line = f"{have} (the shorter side); stored at {own.size}"
    finer = float(np.median(sides)) / own.size
    if finer > 1:
        line += f": of the median image, detail finer than {finer:.3g} pixels is lost"
    elif high > own.size:
        line += f": of the largest, detail finer than {high / own.size:.3g} pixels is lost"
    larger = [str(size) for size in SIZES if size > own.size]
    if larger and finer > 2:
        line += f"; --size {' to '.join(dict.fromkeys((larger[0], larger[-1])))} keeps more, and takes longer"
    return line + _outside(own)


def _outside(own: Own) -> str:
    """How much of the images their central squares leave out."""
    lost = float(np.median(np.concatenate([one.cut_off for one in own.loaded])))
    return f"; only the central square is seen, without {100 * lost:.0f}% of the median image" if lost > 0.05 else ""
