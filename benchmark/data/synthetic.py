"""Built-in images, drawn here: a small in-distribution set, two auxiliary sets and four OOD sets, with no download.

synthetic          upright objects of ten classes on 1/f backgrounds, lit from above, partly hidden (in-distribution)
synthetic-near     eight other objects, drawn by the very same pipeline: near OOD, no low-level statistic gives it away
synthetic-digits, synthetic-textures, synthetic-scenes     far OOD
synthetic-aux      broad, as ImageNet is: forty invented objects, the ten in-distribution ones too, scenes, textures
synthetic-dti      the same without the in-distribution objects, as the debiased tiny images are

Size, position, light and the object's colours are drawn from the same distributions for every class; an object's
surroundings have their usual colours, which in-distribution and near-OOD objects share. The last step (`_camera`) gives
all images one wide distribution of brightness and contrast, which an untrained network does not see past.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from benchmark.data import shapes
from benchmark.data.shapes import Array, Drawing, Pen
from benchmark.errors import BenchError, unknown

VERSION = 3  # part of the recipe: raise it when a pixel changes, and stored sets are drawn anew
SIZE = 32
INVENTED = 40  # kinds of invented object in the auxiliary sets


def generate(name: str, split: str) -> tuple[Array, Array]:
    """Images (N, 32, 32, 3) uint8 and labels (N,) int64 of the built-in set `name`, always the same.

    Raises BenchError for an unknown set or split.
    """
    images, labels, _ = _generate(name, split)
    return images, labels


def masks(name: str, split: str) -> Array:
    """Where the objects are in the images of `generate`: (N, 32, 32) bool, less what stands in front of them.

    Raises BenchError as `generate`, and for a set whose images have no object.
    """
    _, _, found = _generate(name, split, masked=True)
    if found is None:
        raise BenchError(f"{name}: its images are not all of an object, so they have no masks")
    return found


def _generate(name: str, split: str, masked: bool = False) -> tuple[Array, Array, Array | None]:
    if name not in _SETS:
        raise BenchError(unknown("built-in set", name, _SETS))
    splits, kinds = _SETS[name]
    if split not in splits:
        raise BenchError(unknown(f"split of {name}", split, splits))
    masked = masked and all(hasattr(make, "draws_masks") for _, make in kinds)
    seed = hashlib.sha256(f"{name}/{split}/{VERSION}".encode()).digest()
    random = np.random.Generator(np.random.PCG64(int.from_bytes(seed[:16], "big")))
    labels = np.arange(splits[split], dtype=np.int64) % len(kinds)
    images = np.empty((len(labels), SIZE, SIZE, 3), dtype=np.uint8)
    found = np.zeros((len(labels), SIZE, SIZE), np.float32)
    for label, (_, make) in enumerate(kinds):
        where = np.flatnonzero(labels == label)
        for start in range(0, len(where), 50):  # few at a time stay in the processor's cache: twice as fast
            part = where[start : start + 50]
            cover = np.zeros((len(part), SIZE, SIZE), np.float32)
            made = make(len(part), random, cover) if masked else make(len(part), random)
            images[part], found[part] = _camera(made, random), cover
    order = random.permutation(len(labels))
    return images[order], labels[order], found[order] > 0.5 if masked else None


def classes(name: str) -> list[str]:
    """Names of the labels of the built-in set `name`."""
    return [kind for kind, _ in _SETS[name][1]]


# --- light, colour, background ---------------------------------------------------------------------------------------

_ROWS, _COLUMNS = np.meshgrid(*[np.arange(SIZE, dtype=np.float32) + 0.5] * 2, indexing="ij")


def _uniform(random: np.random.Generator, low: float, high: float, *shape: int) -> Array:
    return random.uniform(low, high, shape).astype(np.float32)


def _noise(random: np.random.Generator, n: int, cells: int) -> Array:
    """Smooth noise in about [-1, 1], (n, 3, 32, 32): random values on a grid of `cells` x `cells`, joined by smooth
    steps. Grey for the most part, as light is."""
    grid = _uniform(random, -1, 1, n, 1, cells + 2, cells + 2) * 0.8
    grid = grid + _uniform(random, -1, 1, n, 3, cells + 2, cells + 2) * 0.35
    at = (np.arange(SIZE, dtype=np.float32) + 0.5) * cells / SIZE
    left = at.astype(np.int64)
    step = at - left
    step = step * step * (3 - 2 * step)
    lines = grid[..., left] + (grid[..., left + 1] - grid[..., left]) * step
    above, under = lines[:, :, left], lines[:, :, left + 1]
    under -= above
    under *= step[:, None]
    under += above
    return under


def _natural(random: np.random.Generator, n: int, fall: tuple[float, float] = (0.85, 1.15)) -> Array:
    """Noise whose amplitude falls as 1/f^a, a uniform in `fall`: the spectrum of natural images (n, 32, 32, 3)."""
    decay = np.power(2.0, -random.uniform(*fall, (n, 1, 1, 1))).astype(np.float32)
    weight, total = np.ones_like(decay), np.zeros((n, 3, SIZE, SIZE), dtype=np.float32)
    for cells in (1, 2, 4, 8, 16, 32):
        total += weight * _noise(random, n, cells)
        weight = weight * decay
    return np.ascontiguousarray(np.moveaxis(total, 1, 3))


def _colour(random: np.random.Generator, n: int, low: float, high: float) -> Array:
    """A colour an image, from nearly grey to vivid, (n, 1, 1, 3)."""
    grey, vivid = _uniform(random, low, high, n, 1, 1, 1), _uniform(random, low, high, n, 1, 1, 3)
    return grey + (vivid - grey) * _uniform(random, 0.1, 0.9, n, 1, 1, 1)


def _colours(random: np.random.Generator, n: int) -> dict[str, Array]:
    """A palette an image; every class draws from the same, so that colour says nothing about the class."""
    main, second, light = _colour(random, n, 0.05, 0.7), _colour(random, n, 0.2, 0.95), _colour(random, n, 0.7, 0.95)
    return {"main": main, "second": second, "dark": main * 0.3, "light": light}


# Objects have their usual places, as in nature: (sky, ground) in RGB. In-distribution and near-OOD objects share them,
# so that a new object is not given away by a new place.
_PLACES = (
    ((0.55, 0.75, 0.95), (0.25, 0.6, 0.15)),  # meadow
    ((0.95, 0.65, 0.45), (0.75, 0.5, 0.2)),  # desert at dusk
    ((0.7, 0.95, 0.95), (0.05, 0.35, 0.65)),  # water
    ((0.95, 0.85, 0.6), (0.45, 0.18, 0.1)),  # wooden room
    ((0.6, 0.45, 0.8), (0.28, 0.28, 0.32)),  # street in the evening
    ((0.85, 0.88, 0.9), (0.7, 0.72, 0.75)),  # snow
    ((0.65, 0.9, 0.6), (0.1, 0.3, 0.12)),  # forest
    ((0.95, 0.6, 0.7), (0.55, 0.15, 0.3)),  # sunset
    ((0.9, 0.9, 0.5), (0.6, 0.6, 0.1)),  # wheat field
    ((0.5, 0.55, 0.7), (0.15, 0.5, 0.5)),  # shore under clouds
)
_USUAL = 0.5  # how far a place has its usual colours rather than any


def _background(random: np.random.Generator, n: int, place: int | None = None) -> Array:
    """A blurred outdoors or indoors: 1/f noise on one colour above a horizon and another below (n, 32, 32, 3)."""
    sky, ground = _colour(random, n, 0.5, 1.0), _colour(random, n, 0.15, 0.7)  # light comes from above
    if place is not None:
        usual_sky, usual_ground = np.array(_PLACES[place % len(_PLACES)], np.float32)
        sky, ground = sky + _USUAL * (usual_sky - sky), ground + _USUAL * (usual_ground - ground)
    horizon = _uniform(random, 12, 30, n, 1, 1)
    share = np.clip((_ROWS - horizon) / _uniform(random, 1, 8, n, 1, 1) + 0.5, 0, 1)[..., None]
    return sky + (ground - sky) * share + _natural(random, n) * _uniform(random, 0.06, 0.18, n, 1, 1, 1)


def _camera(images: Array, random: np.random.Generator) -> Array:
    """Exposure: each image gets a brightness and a contrast drawn from one distribution for all sets, some sensor
    noise, and 8 bits. (n, 32, 32, 3) float in about [0, 1] -> uint8."""
    n = len(images)
    images = images.astype(np.float64) + random.normal(0, 0.015, images.shape)
    mean, deviation = images.mean((1, 2, 3), keepdims=True), images.std((1, 2, 3), keepdims=True)
    contrast, brightness = random.uniform(0.05, 0.25, (n, 1, 1, 1)), random.uniform(0.15, 0.8, (n, 1, 1, 1))
    images = (images - mean) / np.maximum(deviation, 1e-3) * contrast + brightness
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


# --- kinds of image: a function of (how many, random) -> (n, 32, 32, 3) float ----------------------------------------

Maker = Callable[..., Array]  # objects take a third argument, the array that notes where they are


def _objects(drawing: Drawing, place: int) -> Maker:
    """Images of one object: it stands upright, of any size, nearly anywhere, with a shadow, sometimes half hidden."""

    def make(n: int, random: np.random.Generator, cover: Array | None = None) -> Array:
        canvas = _background(random, n, place)
        unit = _uniform(random, 9.5, 14, n, 1, 1)  # half the object's height in pixels
        centre_x, centre_y = 16 + _uniform(random, -3.5, 3.5, n, 1, 1), 16 + _uniform(random, -2.5, 2.5, n, 1, 1)
        lean = random.normal(0, 0.07, (n, 1, 1))
        cos, sin = np.cos(lean).astype(np.float32), np.sin(lean).astype(np.float32)
        mirror = random.choice(np.array([-1, 1], np.float32), (n, 1, 1))
        right, up = (_COLUMNS - centre_x) / unit, (centre_y - _ROWS) / unit
        x, y = mirror * (right * cos + up * sin), up * cos - right * sin
        pen = Pen(canvas, x, y, unit, _colours(random, n), random, cover)
        shadow = Pen(canvas, right, up, unit, {"dark": np.zeros((n, 1, 1, 3), np.float32)}, random)
        shadow.paint(shadow.ellipse(0.15, -1.0, 0.8, 0.16), "dark", shadow.vary(0.1, 0.5))
        drawing(pen)
        # Surfaces have grain too, or the object would be the one smooth place of the picture.
        canvas += _natural(random, n) * _uniform(random, 0.02, 0.08, n, 1, 1, 1)
        _occlude(canvas, random, cover)
        return canvas

    make.draws_masks = True  # type: ignore[attr-defined]
    return make


def _occlude(canvas: Array, random: np.random.Generator, cover: Array | None) -> None:
    """In two of ten images a blurred bar or bush stands in front, and is taken out of `cover`."""
    n = len(canvas)
    unit = np.full((n, 1, 1), 16, np.float32)
    hidden = None if cover is None else np.zeros_like(cover)
    pen = Pen(canvas, (_COLUMNS - 16) / unit, (16 - _ROWS) / unit, unit, _colours(random, n), random, hidden)
    shown = (random.random((n, 1, 1)) < 0.1).astype(np.float32)
    at = pen.vary(-0.8, 0.8)
    pen.paint(pen.line(at, -1.2, at + pen.vary(-0.4, 0.4), 1.2, pen.vary(0.06, 0.14)), "dark", shown)
    shown = (random.random((n, 1, 1)) < 0.1).astype(np.float32)
    pen.paint(pen.ellipse(pen.vary(-0.8, 0.8), -1.0, pen.vary(0.4, 0.8), pen.vary(0.3, 0.6)), "second", shown)
    if cover is not None and hidden is not None:
        cover *= 1 - hidden


def _digits(value: int) -> Maker:
    """A house number: the digit in the middle, parts of its neighbours beside it."""

    def make(n: int, random: np.random.Generator) -> Array:
        canvas = _background(random, n)
        unit = _uniform(random, 9, 14, n, 1, 1)
        x = (_COLUMNS - 16 - _uniform(random, -3, 3, n, 1, 1)) / unit
        y = (16 + _uniform(random, -2, 2, n, 1, 1) - _ROWS) / unit
        x = x + 0.15 * y * _uniform(random, -1, 1, n, 1, 1)
        colours = _colours(random, n)
        for i in range(0, n, 4):  # four images share their neighbours
            part = slice(i, i + 4)
            pen = Pen(canvas[part], x[part], y[part], unit[part], {k: c[part] for k, c in colours.items()}, random)
            for shift in (-1.3, 1.3):
                shapes.digit(pen, int(random.integers(10)), shift * pen.vary(0.9, 1.1))
            shapes.digit(pen, value)
        return canvas + _natural(random, n) * _uniform(random, 0.02, 0.1, n, 1, 1, 1)

    return make


def _between(pattern: Array, random: np.random.Generator) -> Array:
    """Two colours mixed by a pattern in [0, 1] (n, 32, 32), with grain."""
    n = len(pattern)
    bright, dim = _colour(random, n, 0.35, 0.95), _colour(random, n, 0.05, 0.65)
    swap = random.random((n, 1, 1, 1)) < 0.5
    mixed = bright + (dim - bright) * np.where(swap, 1 - pattern[..., None], pattern[..., None])
    return mixed + _natural(random, n) * _uniform(random, 0.1, 0.35, n, 1, 1, 1)


def _texture(name: str) -> Maker:
    """A surface that fills the frame and has no up."""

    def make(n: int, random: np.random.Generator) -> Array:
        angle, period = random.uniform(0, np.pi, (n, 1, 1)), random.uniform(8, 20, (n, 1, 1))
        warp = _natural(random, n)[..., 0] * _uniform(random, 0, 2.5, n, 1, 1)
        u = ((_COLUMNS * np.cos(angle) + _ROWS * np.sin(angle) + warp) / period).astype(np.float32)
        v = ((_ROWS * np.cos(angle) - _COLUMNS * np.sin(angle) + warp) / period).astype(np.float32)
        fu, fv = np.abs(u - np.floor(u) - 0.5) * 2, np.abs(v - np.floor(v) - 0.5) * 2  # triangle waves in [0, 1]
        cu, cv = np.clip(fu * 4 - 1.5, 0, 1), np.clip(fv * 4 - 1.5, 0, 1)
        if name == "banded":
            pattern = cu
        elif name == "chequered":
            pattern = cu + cv - 2 * cu * cv
        elif name == "dotted":
            pattern = np.clip((np.sqrt(fu * fu + fv * fv) - 0.6) * 4, 0, 1)
        elif name == "woven":
            pattern = np.where((np.floor(u) + np.floor(v)) % 2 == 0, fu, fv)
        elif name == "meshed":
            pattern = np.maximum(np.clip(fu * 6 - 4.5, 0, 1), np.clip(fv * 6 - 4.5, 0, 1))
        elif name == "blotchy":
            pattern = np.clip(_natural(random, n, (0.6, 0.9))[..., 1] * 2 + 0.5, 0, 1)
        elif name == "marbled":
            veins = np.abs(_natural(random, n, (0.7, 1.0))[..., 0])
            pattern = np.clip(veins * 4, 0, 1)
        else:  # "cracked": distance to the border between the two nearest of twelve seeds
            seeds = random.uniform(0, SIZE, (n, 14, 2, 1, 1)).astype(np.float32)
            far = np.sort((_COLUMNS - seeds[:, :, 0]) ** 2 + (_ROWS - seeds[:, :, 1]) ** 2, axis=1)
            pattern = np.clip((np.sqrt(far[:, 1]) - np.sqrt(far[:, 0])) / 2, 0, 1)
        return _between(pattern, random)

    return make


def _scene(name: str) -> Maker:
    """A place and no object: layers from far to near."""

    def make(n: int, random: np.random.Generator) -> Array:
        canvas, unit = _background(random, n), np.full((n, 1, 1), 16, np.float32)
        colours = _colours(random, n)
        pen = Pen(canvas, (_COLUMNS - 16) / unit, (16 - _ROWS) / unit, unit, colours, random)
        ridges = [_natural(random, n)[:, :1, :, i] for i in range(3)]  # skylines: noise along x, (n, 1, 32)
        if name == "mountains":
            for ridge, height, role in zip(ridges, (0.3, -0.1, -0.5), ("second", "main", "dark"), strict=True):
                pen.paint((pen.y - height - 0.45 * ridge) * 0.7, role)
        elif name == "coast":
            pen.paint(pen.ellipse(pen.vary(-0.7, 0.7), pen.vary(0.3, 0.7), 0.2, 0.2), "light")
            pen.paint(pen.below(pen.vary(-0.1, 0.2)), "main")
            pen.paint(pen.y + 0.7 + 0.4 * ridges[0] + 0.3 * pen.x, "second")
        elif name == "skyline":
            for _ in range(7):
                left = pen.vary(-1.1, 0.8)
                role = str(random.choice(["main", "second", "dark"]))
                pen.paint(pen.box(left, -1.2, left + pen.vary(0.2, 0.5), pen.vary(-0.3, 0.8)), role)
            pen.paint(pen.below(pen.vary(-0.85, -0.6)), "dark")
        elif name == "road":
            horizon, vanish = pen.vary(-0.1, 0.3), pen.vary(-0.4, 0.4)
            pen.paint(pen.below(horizon), "main")
            for half, far, role in ((0.9, 0.05, "dark"), (0.06, 0.01, "light")):
                edge = (-half, -1.3), (half, -1.3), (vanish + far, horizon), (vanish - far, horizon)
                pen.paint(pen.convex(*edge), role)
        elif name == "room":
            left, right, floor = pen.vary(-0.7, -0.3), pen.vary(0.3, 0.7), pen.vary(-0.5, -0.2)
            pen.paint(pen.convex((-1.3, -1.3), (left, floor), (left, 0.6), (-1.3, 1.3)), "second")
            pen.paint(pen.convex((1.3, 1.3), (right, 0.6), (right, floor), (1.3, -1.3)), "second")
            pen.paint(pen.convex((-1.3, -1.3), (1.3, -1.3), (right, floor), (left, floor)), "main")
            pen.paint(pen.box(left + 0.1, floor + 0.3, left + 0.45, 0.4), "light")
        else:  # "forest": trunks, then undergrowth
            for _ in range(8):
                at = pen.vary(-1, 1)
                pen.paint(pen.line(at, -1.2, at + pen.vary(-0.15, 0.15), 1.2, pen.vary(0.03, 0.11)), "dark")
            pen.paint(pen.y + 0.55 + 0.4 * ridges[1], "main")
            pen.paint(-pen.y + 0.6 + 0.4 * ridges[2], "second")
        return canvas + _natural(random, n) * _uniform(random, 0.1, 0.25, n, 1, 1, 1)

    return make


# No kind of texture or scene is in both an auxiliary and a test set.
TEXTURES, AUX_TEXTURES = ("chequered", "dotted", "woven", "cracked"), ("banded", "meshed", "blotchy", "marbled")
SCENES, AUX_SCENES = ("skyline", "room", "forest"), ("mountains", "coast", "road")


def _kinds(maker: Callable[..., Maker], values: Sequence[object]) -> list[tuple[str, Maker]]:
    return [(str(getattr(value, "__name__", value)), maker(value)) for value in values]


def _object_kinds(drawings: Sequence[Drawing]) -> list[tuple[str, Maker]]:
    """Object kinds, each in a usual place of its own as long as there are places."""
    return [(drawing.__name__, _objects(drawing, place)) for place, drawing in enumerate(drawings)]


_ID = _object_kinds(shapes.ID_OBJECTS)
_BROAD = (
    _object_kinds([shapes.invented(kind) for kind in range(INVENTED)])
    + _kinds(_scene, AUX_SCENES)
    + _kinds(_texture, AUX_TEXTURES)
)
# name -> ({split: count}, [(class, maker), ...])
_SETS: dict[str, tuple[dict[str, int], list[tuple[str, Maker]]]] = {
    "synthetic": ({"train": 2000, "test": 600}, _ID),
    "synthetic-near": ({"test": 400}, _object_kinds(shapes.NEAR_OBJECTS)),
    "synthetic-digits": ({"test": 400}, _kinds(_digits, range(10))),
    "synthetic-textures": ({"test": 400}, _kinds(_texture, TEXTURES)),
    "synthetic-scenes": ({"test": 400}, _kinds(_scene, SCENES)),
    "synthetic-aux": ({"aux": 2000}, _BROAD + _ID),
    "synthetic-dti": ({"aux": 1500}, _BROAD),
}
