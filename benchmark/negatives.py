"""The negative-sampling variants (methods/PAPER.md, "Negatives"): where negatives come from, and what is done to them.

A variant is a tuple of kinds of negative; each kind is a source of images and a transform. Several kinds share the
weight of L_neg equally. A new variant of your own is one more row here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchmark.errors import BenchError, unknown

IN_DIST = "in-dist"  # the source that is the in-distribution training set itself
# Transforms that are of whole images, whatever `negatives.draw` says of the others.
WHOLE_IMAGE = {"none", "blend", "frequencies", "foreground", "background"}
JOINING = {"blend", "frequencies", "foreground"}  # an image with one of the source `partner`
TRANSFORMS = {"rot", "rot360", "pixels", "patch-rot"} | WHOLE_IMAGE  # and perm-N; `views` does them


@dataclass(frozen=True)
class Negative:
    """One kind of negative.

    source: "imagenet", "dti" or "in-dist"; a run's `data.sources` says which set stands behind the first two.
    transform: "none", "rot" (90, 180 or 270 degrees), "rot360" (0, 90, 180 or 270; in the authors' code any angle),
    "perm-N" (N equal patches shuffled), "pixels" (all pixels shuffled), "patch-rot" (a square of half the image's side
    turned where it is), or what joins it with an image of the source `partner`: "blend" (a weighted mean of the two),
    "frequencies" (its coarse structure, the partner's fine one) or "foreground" (its foreground before the partner).
    "background" is the image without its foreground, filled in from around.
    """

    source: str
    transform: str = "none"
    partner: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """Where its images come from."""
        return (self.source, self.partner) if self.partner else (self.source,)

    @property
    def masked(self) -> bool:
        """Whether it asks which part of an image is foreground."""
        return self.transform in ("background", "foreground")

    @property
    def identity(self) -> list[str]:
        """What is part of a run's identity."""
        return [self.source, self.transform, *self.sources[1:]]


@dataclass(frozen=True)
class Variant:
    """A row of the table below: `label` is the paper's name for the column."""

    label: str
    negatives: tuple[Negative, ...]


VARIANTS: dict[str, Variant] = {
    "dino": Variant("DINO", ()),
    "imgn": Variant("ImgN", (Negative("imagenet"),)),
    "rot-imgn": Variant("Rot. ImgN", (Negative("imagenet", "rot"),)),
    "rot360-imgn": Variant("Rot.360 ImgN", (Negative("imagenet", "rot360"),)),
    "dti": Variant("DTI", (Negative("dti"),)),
    "perm-16-imgn": Variant("Perm-16 ImgN", (Negative("imagenet", "perm-16"),)),
    "perm-4-imgn": Variant("Perm-4 ImgN", (Negative("imagenet", "perm-4"),)),
    "rot-dti": Variant("Rot. DTI", (Negative("dti", "rot"),)),
    "pixperm-imgn": Variant("Pix. Perm.", (Negative("imagenet", "pixels"),)),
    "rot-in-dist": Variant("Rot. In-Dist.", (Negative(IN_DIST, "rot"),)),
    "combined": Variant("Combined", (Negative("imagenet", "rot"), Negative(IN_DIST, "rot"))),
}

# Negatives that the paper does not have, tried here: results/reference/cpu/tried.md says how they did.
OURS: dict[str, Variant] = {
    "patch-rot-in-dist": Variant("Patch rot. In-Dist. (ours)", (Negative(IN_DIST, "patch-rot"),)),
    "blend-imgn": Variant("Blend ImgN (ours)", (Negative(IN_DIST, "blend", "imagenet"),)),
    "background-in-dist": Variant("Backgr. In-Dist. (ours)", (Negative(IN_DIST, "background"),)),
    "foreground-imgn": Variant("Foregr. on ImgN (ours)", (Negative(IN_DIST, "foreground", "imagenet"),)),
    "frequencies-imgn": Variant("Freq. ImgN (ours)", (Negative(IN_DIST, "frequencies", "imagenet"),)),
}

_PERM_VARIANT = re.compile(r"(perm-[1-9]\d*)-(imgn|dti|in-dist)")
_PERM_SOURCES = {"imgn": ("imagenet", "ImgN"), "dti": ("dti", "DTI"), "in-dist": (IN_DIST, "In-Dist.")}


def variant(name: str) -> Variant:
    """The variant called `name`: a row of VARIANTS or OURS, or `perm-N-SOURCE` for any N. Raises BenchError if
    unknown."""
    known = VARIANTS | OURS
    if name in known:
        return known[name]
    match = _PERM_VARIANT.fullmatch(name)
    if not match:
        raise BenchError(unknown("variant", name, [*known, "perm-N-imgn", "perm-N-dti", "perm-N-in-dist"]))
    transform, source = match.groups()
    image_source, label = _PERM_SOURCES[source]
    return Variant(f"{transform.capitalize()} {label}", (Negative(image_source, transform),))


def patch_grid(patches: int, size: int) -> tuple[int, int]:
    """Rows and columns, as square as can be, that cut a size x size image into `patches` equal patches.

    Perm-16 at 32 pixels gives (4, 4). Raises BenchError when no such grid divides the image.
    """
    for rows in range(int(patches**0.5), 0, -1):
        columns, rest = divmod(patches, rows)
        if rest == 0 and size % rows == 0 and size % columns == 0:
            return rows, columns
    raise BenchError(f"perm-{patches} does not divide an image of {size}x{size} into equal patches")


def perm_count(transform: str) -> int | None:
    """N of "perm-N", None for every other transform."""
    return int(transform.removeprefix("perm-")) if re.fullmatch(r"perm-[1-9]\d*", transform) else None


def check_transform(negative: Negative) -> None:
    """Raise BenchError for a transform that does not exist, and for a partner that it lacks or has no use for."""
    if negative.transform not in TRANSFORMS and perm_count(negative.transform) is None:
        raise BenchError(unknown("transform of negatives", negative.transform, [*TRANSFORMS, "perm-N"]))
    if bool(negative.partner) != (negative.transform in JOINING):
        wants = "joins an image with another: name its partner" if not negative.partner else "has no use for a partner"
        raise BenchError(f"the transform {negative.transform!r} {wants}")
