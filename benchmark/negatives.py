"""The negative-sampling variants (methods/PAPER.md, "Negatives"): where negatives come from, and what is done to them.

A variant is a tuple of kinds of negative; each kind is a source of images and a transform. Several kinds share the
weight of L_neg equally. A new variant of these transforms is one more row here; a transform of your own is one
function, `@negative`, in a package of your own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from benchmark import plugins
from benchmark.errors import BenchError, unknown

IN_DIST = "in-dist"  # the source that is the in-distribution training set itself


def patch_grid(patches: int, size: int) -> tuple[int, int]:
    """Rows and columns, as square as can be, that cut a size x size image into `patches` equal patches.

    Perm-16 at 32 pixels gives (4, 4). Raises BenchError when no such grid divides the image.
    """
    for rows in range(min(math.isqrt(patches), size), 0, -1):
        columns, rest = divmod(patches, rows)
        if rest == 0 and size % rows == 0 and size % columns == 0:
            return rows, columns
    raise BenchError(f"perm-{patches} does not divide an image of {size}x{size} into equal patches")


@dataclass(frozen=True)
class Transform:
    """What is done to an image to make a negative of it. `views.transforms` does it.

    before_colours: where each view draws its own (`negatives.draw: per-view`), whether it comes after the crop and
    before the colours, as rotations do in the authors' code, or after normalisation, as permutations do.
    numbered: whether its name is NAME-N, as in perm-16. check: raises BenchError where this N does not fit images of
    this side in pixels; called when a run is planned.
    label: what NAME-imgn, NAME-dti and NAME-in-dist are called in tables, before the source; "" where only rows of the
    tables below have it.
    whole: is of whole stored images, whatever `negatives.draw` says. joins: an image with one of the source `partner`.
    apply, uniforms: of another package's, the function and how many numbers an image it draws. package: whose it is.
    """

    before_colours: bool = False
    numbered: bool = False
    check: Callable[[int, int], object] | None = None
    label: str = ""
    whole: bool = False
    joins: bool = False
    apply: Callable[..., Any] | None = None
    uniforms: int = 1
    package: str = ""


TRANSFORMS: dict[str, Transform] = {
    "none": Transform(whole=True),
    "rot": Transform(before_colours=True),  # 90, 180 or 270 degrees
    "rot360": Transform(before_colours=True),  # 0, 90, 180 or 270; in the authors' code any angle
    "perm": Transform(numbered=True, check=patch_grid, label="Perm"),  # N equal patches shuffled
    "pixels": Transform(),  # all pixels shuffled
    "patch-rot": Transform(before_colours=True),  # a square of half the image's side turned where it is
    "blend": Transform(whole=True, joins=True),  # the weighted mean of an image and its partner
    "frequencies": Transform(whole=True, joins=True),  # the image's coarse structure, its partner's fine one
    "foreground": Transform(whole=True, joins=True),  # the image's foreground before its partner
    "background": Transform(whole=True),  # the image without its foreground, filled in from around
}
WHOLE_IMAGE = {name for name, transform in TRANSFORMS.items() if transform.whole}

Function = TypeVar("Function", bound=Callable[..., Any])


def negative(
    *,
    label: str,
    before_colours: bool,
    uniforms: int = 1,
    numbered: bool = False,
    check: Callable[[int, int], object] | None = None,
) -> Callable[[Function], Function]:
    """Makes a function a transform of negatives. A package adds it under a name in the group `ood_bench.negatives`;
    the variants NAME-imgn, NAME-dti and NAME-in-dist follow (with `numbered` NAME-N-imgn and so on).

    The function takes images (B, 3, S, S), uint8 or float32 on any device, and numbers (B, uniforms), float64 on the
    CPU, uniform in [0, 1) and drawn for each image; with `numbered` also N. It returns images of the same shape and
    dtype, and draws nothing by itself: the same numbers give the same negative. For the other arguments see
    `Transform`.
    """

    def mark(function: Function) -> Function:
        made = Transform(before_colours, numbered, check, label, apply=function, uniforms=uniforms)
        function.transform = made  # type: ignore[attr-defined]
        return function

    return mark


class UnknownTransform(BenchError):
    """No transform has this name."""


def transform(name: str) -> tuple[Transform, int | None]:
    """The transform called `name`, and N of NAME-N. Raises BenchError for a name of none."""
    stem, _, number = name.rpartition("-")
    for known, count in ((name, None), (stem, number)):
        found = _known(known)
        if found and not found.numbered and count is None:
            return found, None
        if found and found.numbered and count and re.fullmatch(r"[1-9]\d*", count):
            return found, int(count)
    raise UnknownTransform(unknown("transform of negatives", name, map(_form, _transform_names())))


def _known(name: str) -> Transform | None:
    ours = TRANSFORMS.get(name)
    made = plugins.load("negatives", name, built_in=ours is not None)
    if made is None:
        return ours
    package = plugins.package_of("negatives", name)
    if not isinstance(getattr(made, "transform", None), Transform):
        raise BenchError(f"package {package}: {name!r} of ood_bench.negatives is no function under @negative")
    return replace(made.transform, package=package)


def _transform_names() -> list[str]:
    return [*TRANSFORMS, *plugins.names("negatives")]


def _form(name: str) -> str:
    """The name as a user writes it: NAME, or NAME-N."""
    try:
        found = _known(name)
    except BenchError:  # a package's that is broken: it is told when it is asked for
        found = None
    return f"{name}-N" if found and found.numbered else name


@dataclass(frozen=True)
class Negative:
    """One kind of negative.

    source: "imagenet", "dti" or "in-dist"; a run's `data.sources` says which set stands behind the first two.
    transform: a name of TRANSFORMS or of another package's. partner: the source of the images that it is joined with.
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
        """What is part of a run's identity: of another package's transform, whose it is, too."""
        package = transform(self.transform)[0].package
        return [self.source, self.transform, *self.sources[1:], *([f"package {package}"] if package else [])]


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

_SOURCES = {"imgn": ("imagenet", "ImgN"), "dti": ("dti", "DTI"), "in-dist": (IN_DIST, "In-Dist.")}
AUXILIARY = [source for source, _ in _SOURCES.values() if source != IN_DIST]  # what a run's `data.sources` may name
_TRANSFORM_OF_SOURCE = re.compile(rf"(.+)-({'|'.join(_SOURCES)})")


def variant(name: str) -> Variant:
    """The variant called `name`: a row of VARIANTS or OURS, or TRANSFORM-SOURCE, as in perm-9-dti, for a transform that
    has a label. Raises BenchError if unknown."""
    known = VARIANTS | OURS
    match = _TRANSFORM_OF_SOURCE.fullmatch(name)
    if name in known:
        if match:
            plugins.load("negatives", match[1], built_in=True)  # refuses a package's transform of this name
        return known[name]
    if match:
        try:
            found, number = transform(match[1])
        except UnknownTransform:
            found = None
        if found and found.label:
            source, title = _SOURCES[match[2]]
            label = found.label if number is None else f"{found.label}-{number}"
            return Variant(f"{label} {title}", (Negative(source, match[1]),))
    forms = [_form(one) for one in _transform_names() if one not in TRANSFORMS or TRANSFORMS[one].label]
    raise BenchError(unknown("variant", name, [*known, *(f"{form}-{source}" for form in forms for source in _SOURCES)]))


def perm_count(transform: str) -> int | None:
    """N of "perm-N", None for every other transform."""
    return int(transform.removeprefix("perm-")) if re.fullmatch(r"perm-[1-9]\d*", transform) else None


def check_transform(negative: Negative, side: int) -> None:
    """Raise BenchError for a transform that does not exist, for a partner that it lacks or has no use for, and for an N
    that does not fit images of `side` pixels."""
    found, number = transform(negative.transform)
    if bool(negative.partner) != found.joins:
        wants = "joins an image with another: name its partner" if not negative.partner else "has no use for a partner"
        raise BenchError(f"the transform {negative.transform!r} {wants}")
    if found.check and number is not None:
        found.check(number, side)
