"""Things to draw: signed distances, and upright objects made of them. Shared by all built-in sets.

Everything is a NumPy array with a leading axis of images, elementwise arithmetic only, so that the pixels do not depend
on an FFT, a BLAS or the version of a drawing library. Object coordinates: x to the right, y up, the object inside
[-1, 1] x [-1, 1] and standing on y = -1. A signed distance is negative inside.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

Array = np.ndarray
Number = float | Array


class Pen:
    """Draws on `canvas` (n, H, W, 3) float32 in the object coordinates `x`, `y` (n, H, W).

    `unit` (n, 1, 1) is how many pixels 1 is. `colours` maps a role ("main", "second", "dark", "light") to (n, 1, 1, 3).
    `random` gives each image its own proportions. `cover` (n, H, W), where given, notes how far a pixel is painted
    over.
    """

    def __init__(
        self, canvas: Array, x: Array, y: Array, unit: Array, colours: dict[str, Array], random: np.random.Generator,
        cover: Array | None = None,
    ) -> None:  # fmt: skip
        self.canvas, self.x, self.y, self.unit, self.colours, self.random = canvas, x, y, unit, colours, random
        self.cover = cover

    def vary(self, low: float, high: float) -> Array:
        """One uniform number an image, (n, 1, 1)."""
        return self.random.uniform(low, high, (len(self.canvas), 1, 1)).astype(np.float32)

    def paint(self, distance: Array, role: str, opacity: Number = 1.0) -> None:
        """Fill where `distance` < 0, the edge antialiased over one pixel, lit from above."""
        cover = (np.clip(0.5 - distance * self.unit, 0, 1) * opacity)[..., None]
        if self.cover is not None:
            self.cover += cover[..., 0] * (1 - self.cover)
        lit = self.colours[role] * (1 + 0.22 * np.clip(self.y, -1, 1))[..., None]
        self.canvas += cover * (lit - self.canvas)

    def ellipse(self, cx: Number, cy: Number, rx: Number, ry: Number) -> Array:
        dx, dy = (self.x - cx) / rx, (self.y - cy) / ry
        return (np.sqrt(dx * dx + dy * dy) - 1) * np.minimum(rx, ry)

    def box(self, left: Number, bottom: Number, right: Number, top: Number) -> Array:
        return np.maximum(np.maximum(left - self.x, self.x - right), np.maximum(bottom - self.y, self.y - top))

    def line(self, ax: Number, ay: Number, bx: Number, by: Number, radius: Number) -> Array:
        """A stroke with round ends."""
        dx, dy = bx - ax, by - ay
        along = np.clip(((self.x - ax) * dx + (self.y - ay) * dy) / (dx * dx + dy * dy), 0, 1)
        ex, ey = self.x - ax - along * dx, self.y - ay - along * dy
        return np.sqrt(ex * ex + ey * ey) - radius

    def convex(self, *corners: tuple[Number, Number]) -> Array:
        """A convex polygon, corners counter-clockwise."""
        sides = []
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
            dx, dy = bx - ax, by - ay
            sides.append(((self.x - ax) * dy - (self.y - ay) * dx) / np.sqrt(dx * dx + dy * dy))
        return np.maximum.reduce(sides)

    def below(self, height: Number) -> Array:
        return self.y - height

    def above(self, height: Number) -> Array:
        return height - self.y


def mushroom(p: Pen) -> None:
    stem, rim = p.vary(0.16, 0.3), p.vary(-0.15, 0.15)
    p.paint(p.convex((-stem * 1.3, -1.0), (stem * 1.3, -1.0), (stem, 0.2), (-stem, 0.2)), "light")
    p.paint(np.maximum(p.ellipse(0, rim, p.vary(0.75, 1.0), p.vary(0.7, 0.95)), p.above(rim)), "main")
    p.paint(p.ellipse(p.vary(-0.4, -0.2), rim + 0.3, 0.13, 0.12), "second")
    p.paint(p.ellipse(p.vary(0.15, 0.4), rim + 0.4, 0.15, 0.13), "second")


def house(p: Pen) -> None:
    width, eaves = p.vary(0.6, 0.85), p.vary(-0.1, 0.2)
    chimney = p.vary(0.3, 0.45)
    p.paint(p.box(chimney, eaves, chimney + 0.2, p.vary(0.7, 0.95)), "dark")
    p.paint(p.box(-width, -1.0, width, eaves + 0.03), "main")
    p.paint(p.convex((-width - 0.15, eaves), (width + 0.15, eaves), (0.0, p.vary(0.75, 1.0))), "second")
    p.paint(p.box(-0.17, -1.0, 0.17, p.vary(-0.5, -0.35)), "dark")
    p.paint(
        np.minimum(
            p.box(-0.62 * width - 0.1, -0.3, -0.62 * width + 0.14, -0.06),
            p.box(0.62 * width - 0.14, -0.3, 0.62 * width + 0.1, -0.06),
        ),
        "light",
    )


def tree(p: Pen) -> None:
    trunk, low = p.vary(0.1, 0.2), p.vary(-0.45, -0.15)
    p.paint(p.convex((-trunk * 1.4, -1.0), (trunk * 1.4, -1.0), (trunk, 0.1), (-trunk, 0.1)), "second")
    for cx, cy, radius in ((-0.45, 0.3, 0.42), (0.45, 0.32, 0.42), (0.0, 0.5, 0.5), (0.0, 0.2, 0.45)):
        p.paint(p.ellipse(cx * p.vary(0.8, 1.2), cy + 0.3 * (low + 0.3), radius, radius * p.vary(0.85, 1.0)), "main")
    p.paint(p.ellipse(p.vary(-0.4, -0.1), 0.45, 0.2, 0.14), "light", 0.5)


def bottle(p: Pen) -> None:
    width, shoulder, neck = p.vary(0.33, 0.48), p.vary(-0.05, 0.2), p.vary(0.12, 0.17)
    p.paint(p.box(-width, -1.0, width, shoulder), "main")
    low, high = shoulder - 0.02, shoulder + 0.35
    p.paint(p.convex((-width, low), (width, low), (neck, high), (-neck, high)), "main")
    p.paint(p.box(-neck, shoulder + 0.3, neck, 0.95), "main")
    p.paint(p.box(-neck - 0.04, 0.8, neck + 0.04, 1.0), "dark")
    p.paint(p.box(-width, p.vary(-0.75, -0.6), width, shoulder - 0.15), "second")


def umbrella(p: Pen) -> None:
    rim, hook = p.vary(0.0, 0.15), p.vary(0.2, 0.3)
    p.paint(p.line(0, 0.9, 0, -0.75, 0.06), "dark")
    handle = np.abs(p.ellipse(hook / 2, -0.75, hook / 2 + 0.02, 0.22)) - 0.05
    p.paint(np.maximum(handle, p.below(-0.73)), "dark")
    canopy = np.maximum(p.ellipse(0, rim, p.vary(0.88, 1.0), p.vary(0.7, 0.85)), p.above(rim))
    scallops = np.minimum.reduce([p.ellipse(c, rim, 0.2, 0.13) for c in (-0.66, 0.0, 0.66)])
    p.paint(np.maximum(canopy, -scallops), "main")
    p.paint(np.maximum(p.ellipse(0, rim, 0.34, 0.78), p.above(rim + 0.12)), "second")


def car(p: Pen) -> None:
    roof, hood = p.vary(0.2, 0.4), p.vary(-0.35, -0.2)
    low = hood - 0.02
    p.paint(p.convex((-0.7, low), (0.6, low), (p.vary(0.2, 0.35), roof), (p.vary(-0.5, -0.4), roof)), "main")
    p.paint(p.convex((-0.52, hood), (0.42, hood), (0.2, roof - 0.12), (-0.38, roof - 0.12)), "light")
    p.paint(p.box(-1.0, -0.8, 1.0, hood), "main")
    p.paint(p.box(-0.08, hood - 0.03, 0.0, roof - 0.05), "main")
    wheel = p.vary(0.22, 0.3)
    for cx in (-0.55, 0.55):
        p.paint(p.ellipse(cx, -0.76, wheel, wheel), "dark")
        p.paint(p.ellipse(cx, -0.76, wheel * 0.45, wheel * 0.45), "second")


def boat(p: Pen) -> None:
    deck = p.vary(-0.55, -0.4)
    p.paint(p.line(0, -0.5, 0, 0.95, 0.05), "dark")
    p.paint(p.convex((0.1, deck + 0.15), (p.vary(0.65, 0.85), deck + 0.15), (0.1, p.vary(0.75, 0.95))), "second")
    p.paint(p.convex((-0.1, deck + 0.15), (-0.1, p.vary(0.5, 0.8)), (p.vary(-0.7, -0.5), deck + 0.15)), "light")
    p.paint(p.convex((p.vary(-0.7, -0.55), -1.0), (p.vary(0.55, 0.7), -1.0), (1.0, deck), (-1.0, deck)), "main")


def mug(p: Pen) -> None:
    width, top = p.vary(0.5, 0.62), p.vary(0.35, 0.6)
    ring = np.abs(p.ellipse(width, (top - 1) / 2, 0.36, 0.4)) - 0.09
    p.paint(ring, "main")
    p.paint(p.convex((-width * 0.9, -1.0), (width * 0.9, -1.0), (width, top), (-width, top)), "main")
    p.paint(p.ellipse(0, top, width, 0.15), "dark")
    p.paint(p.box(-width * 0.93, p.vary(-0.6, -0.4), width * 0.93, p.vary(-0.2, 0.0)), "second")


def fish(p: Pen) -> None:
    body = p.vary(0.42, 0.58)
    p.paint(p.convex((-1.0, -0.5), (-0.45, 0.0), (-1.0, 0.55)), "second")
    p.paint(p.convex((-0.3, 0.2), (0.35, 0.2), (-0.15, p.vary(0.75, 0.95))), "second")
    p.paint(p.ellipse(0.15, 0.0, 0.8, body), "main")
    p.paint(np.maximum(p.ellipse(0.15, 0.0, 0.76, body - 0.04), p.below(-0.12)), "light")
    p.paint(p.ellipse(0.58, 0.14, 0.13, 0.13), "light")
    p.paint(p.ellipse(0.6, 0.14, 0.07, 0.07), "dark")


def lamp(p: Pen) -> None:
    low = p.vary(0.0, 0.2)
    p.paint(p.line(0, -0.85, 0, 0.3, 0.07), "dark")
    p.paint(np.maximum(p.ellipse(0, -1.0, p.vary(0.4, 0.55), 0.28), p.above(-1.0)), "second")
    p.paint(p.convex((p.vary(-0.85, -0.65), low), (p.vary(0.65, 0.85), low), (0.3, 0.95), (-0.3, 0.95)), "main")
    p.paint(p.box(-0.7, low, 0.7, low + 0.1), "light", 0.7)


def snowman(p: Pen) -> None:
    p.paint(p.ellipse(0, -0.5, p.vary(0.5, 0.6), 0.5), "main")
    p.paint(p.ellipse(0, 0.15, p.vary(0.35, 0.42), 0.38), "main")
    p.paint(p.ellipse(0, 0.6, 0.26, 0.26), "light")
    p.paint(p.box(-0.34, 0.72, 0.34, 0.8), "dark")
    p.paint(p.box(-0.2, 0.75, 0.2, 1.0), "dark")
    p.paint(p.line(0.3, 0.2, 0.9, p.vary(0.3, 0.6), 0.05), "second")
    p.paint(p.line(-0.3, 0.2, -0.9, p.vary(0.3, 0.6), 0.05), "second")


def cactus(p: Pen) -> None:
    left, right = p.vary(-0.25, 0.05), p.vary(-0.15, 0.15)
    stem = np.minimum(p.line(0, -0.9, 0, 0.75, 0.2), p.line(-0.6, left, 0, left, 0.12))
    stem = np.minimum(stem, p.line(-0.6, left, -0.6, p.vary(0.3, 0.5), 0.13))
    stem = np.minimum(stem, np.minimum(p.line(0.58, right, 0, right, 0.12), p.line(0.58, right, 0.58, 0.5, 0.13)))
    p.paint(stem, "main")
    p.paint(p.line(0, -0.9, 0, 0.75, 0.05), "light", 0.7)
    p.paint(p.convex((-0.35, -1.0), (0.35, -1.0), (0.45, -0.65), (-0.45, -0.65)), "second")


def chair(p: Pen) -> None:
    seat = p.vary(-0.25, -0.05)
    for cx in (-0.5, 0.5):
        p.paint(p.box(cx - 0.08, -1.0, cx + 0.08, seat), "dark")
    p.paint(p.box(-0.6, seat, -0.42, 0.95), "main")
    p.paint(p.convex((-0.62, seat - 0.12), (0.62, seat - 0.12), (0.62, seat + 0.1), (-0.62, seat + 0.1)), "main")
    p.paint(p.convex((-0.5, seat + 0.1), (-0.1, seat + 0.1), (-0.25, p.vary(0.75, 0.95)), (-0.5, 0.95)), "second")
    p.paint(p.box(0.4, seat, 0.5, seat + 0.4), "dark")
    p.paint(p.box(-0.4, seat + 0.35, 0.52, seat + 0.46), "light")


def balloon(p: Pen) -> None:
    p.paint(np.minimum(p.line(-0.3, 0.0, -0.17, -0.7, 0.03), p.line(0.3, 0.0, 0.17, -0.7, 0.03)), "dark")
    p.paint(p.convex((-0.2, -0.45), (0.2, -0.45), (0.58, 0.15), (-0.58, 0.15)), "main")
    p.paint(p.ellipse(0, 0.33, p.vary(0.6, 0.75), p.vary(0.58, 0.66)), "main")
    p.paint(p.ellipse(0, 0.33, p.vary(0.2, 0.32), 0.62), "second")
    p.paint(p.box(-0.22, -1.0, 0.22, -0.68), "light")


def goblet(p: Pen) -> None:
    width, low = p.vary(0.5, 0.7), p.vary(-0.05, 0.1)
    p.paint(p.line(0, -0.9, 0, low, 0.08), "main")
    p.paint(p.convex((-0.5, -1.0), (0.5, -1.0), (0.12, -0.8), (-0.12, -0.8)), "main")
    p.paint(np.maximum(p.ellipse(0, 0.75, width, 0.75 - low + 0.1), p.below(0.75)), "main")
    p.paint(p.ellipse(0, 0.75, width, 0.16), "second")
    p.paint(p.line(-width * 0.6, 0.5, -width * 0.45, 0.2, 0.05), "light")


def rocket(p: Pen) -> None:
    width = p.vary(0.26, 0.36)
    p.paint(p.convex((-0.75, -0.9), (-width, -0.6), (-width, 0.0)), "second")
    p.paint(p.convex((0.75, -0.9), (width, 0.0), (width, -0.6)), "second")
    p.paint(p.box(-width, -0.75, width, 0.3), "main")
    p.paint(np.maximum(p.ellipse(0, 0.28, width, p.vary(0.6, 0.72)), p.above(0.27)), "second")
    p.paint(p.ellipse(0, p.vary(0.0, 0.2), 0.16, 0.16), "light")
    p.paint(p.convex((-0.2, -0.75), (0.0, -1.0), (0.2, -0.75)), "dark")


def duck(p: Pen) -> None:
    p.paint(p.convex((-1.0, p.vary(0.0, 0.15)), (-0.6, -0.55), (-0.2, -0.1)), "main")
    p.paint(p.ellipse(-0.1, -0.5, 0.75, p.vary(0.42, 0.5)), "main")
    p.paint(p.line(0.42, -0.4, 0.42, 0.35, 0.19), "main")
    p.paint(p.ellipse(0.45, p.vary(0.4, 0.5), 0.33, 0.32), "main")
    p.paint(p.convex((0.68, 0.3), (1.0, 0.34), (0.7, 0.54)), "second")
    p.paint(p.ellipse(-0.2, -0.42, 0.4, 0.22), "dark", 0.7)
    p.paint(p.ellipse(0.52, 0.52, 0.07, 0.07), "dark")


def windmill(p: Pen) -> None:
    hub, turn = p.vary(0.2, 0.3), p.vary(-0.5, 0.5)
    p.paint(p.convex((-0.42, -1.0), (0.42, -1.0), (0.24, hub), (-0.24, hub)), "main")
    p.paint(np.maximum(p.ellipse(0, hub, 0.3, 0.3), p.above(hub)), "dark")
    for dx, dy in ((1.0, 0.35), (-0.35, 1.0), (-1.0, -0.35), (0.35, -1.0)):
        tip_x, tip_y = 0.68 * (dx - 0.5 * turn * dy), 0.68 * (dy + 0.5 * turn * dx)
        p.paint(p.line(0, hub, tip_x, hub + tip_y, 0.09), "light")
    p.paint(p.ellipse(0, hub, 0.1, 0.1), "dark")
    p.paint(p.box(-0.12, -1.0, 0.12, -0.68), "second")


Drawing = Callable[[Pen], None]
ID_OBJECTS: tuple[Drawing, ...] = (mushroom, house, tree, bottle, umbrella, car, boat, mug, fish, lamp)
NEAR_OBJECTS: tuple[Drawing, ...] = (snowman, cactus, chair, balloon, goblet, rocket, duck, windmill)


def _solid(p: Pen, name: str, width: Array, middle: float, half: float) -> Array:
    """One of five solids between middle - half and middle + half."""
    low, high = middle - half, middle + half
    if name == "box":
        return p.box(-width, low, width, high)
    if name == "round":
        return p.ellipse(0, middle, width, half * 1.08)
    if name == "cone":
        return p.convex((-width, low), (width, low), (0.12 * width, high), (-0.12 * width, high))
    if name == "bowl":
        return np.maximum(p.ellipse(0, high, width, 2 * half), p.below(high))
    return np.maximum(p.ellipse(0, low, width, 2 * half), p.above(low))  # a dome


def invented(kind: int) -> Drawing:
    """The `kind`-th object that nobody designed: two to four solids stacked as gravity would have it, sometimes with
    a pair of arms and feet. One kind always has the same plan; each image varies its proportions."""
    plan = np.random.default_rng([2024, kind])
    solids = [str(plan.choice(["box", "round", "cone", "bowl", "dome"])) for _ in range(plan.integers(2, 5))]
    widths = np.sort(plan.uniform(0.2, 0.85, len(solids)))[::-1] if plan.random() < 0.6 else plan.uniform(0.2, 0.85, 4)
    edges = -1 + 2 * np.cumsum(shares := plan.uniform(0.5, 1.5, len(solids))) / shares.sum()
    roles = [str(plan.choice(["main", "second", "dark", "light"], p=[0.5, 0.25, 0.1, 0.15])) for _ in solids]
    arms, feet, spot = plan.random() < 0.4, plan.random() < 0.3, plan.random() < 0.4
    lift, reach = float(plan.uniform(-0.2, 0.6)), float(plan.uniform(0.5, 0.95))

    def draw(p: Pen) -> None:
        if arms:
            for side in (-1, 1):
                p.paint(p.line(0, lift - 0.2, side * reach, lift * p.vary(0.8, 1.2), 0.08), "dark")
        bottom = -1.0
        for solid, width, top, role in zip(solids, widths, edges, roles, strict=False):
            w, middle, half = float(width) * p.vary(0.85, 1.15), (bottom + float(top)) / 2, (float(top) - bottom) / 2
            p.paint(_solid(p, solid, w, middle, half), role)
            bottom = float(top)
        if feet:
            p.paint(np.minimum(p.ellipse(-0.45, -0.88, 0.3, 0.14), p.ellipse(0.45, -0.88, 0.3, 0.14)), "dark")
        if spot:
            p.paint(p.ellipse(p.vary(-0.2, 0.2), p.vary(-0.4, 0.4), 0.16, 0.16), "light")

    draw.__name__ = f"invented {kind}"
    return draw


# A digit is strokes on a 3 x 5 lattice, corners only: x in 0..2, y in 0..4 upwards.
DIGIT_STROKES: tuple[str, ...] = (
    "01 03 14 23 21 10 01",
    "03 14 10",
    "03 14 23 22 00 20",
    "03 14 23 12 21 10 01",
    "20 24 01 21",
    "24 04 02 12 21 10 01",
    "14 03 01 10 21 12 02",
    "04 24 23 00",
    "12 03 14 23 12 01 10 21 12",
    "01 10 21 23 14 03 12 22",
)


def digit(p: Pen, value: int, shift: Number = 0.0) -> None:
    """The digit `value`, moved sideways by `shift`."""
    points = [(int(x) - 1, int(y) / 2 - 1) for x, y in map(tuple, DIGIT_STROKES[value].split())]
    width, thickness = p.vary(0.35, 0.5), p.vary(0.1, 0.17)
    strokes = [
        p.line(shift + ax * width, 0.85 * ay, shift + bx * width, 0.85 * by, thickness)
        for (ax, ay), (bx, by) in itertools.pairwise(points)
    ]
    p.paint(np.minimum.reduce(strokes), "main")
