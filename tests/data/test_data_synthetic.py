"""The built-in images: the same every time, and neither colour, raw pixels nor sharpness give the answer away."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from benchmark.data import shapes, synthetic
from benchmark.errors import BenchError

FAR = ("synthetic-digits", "synthetic-textures", "synthetic-scenes")


@cache
def drawn(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    return synthetic.generate(name, split)


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    truth = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    return float(roc_auc_score(truth, np.r_[inside, outside]))


def low_level(images: np.ndarray) -> dict[str, np.ndarray]:
    grey = images.mean(-1)
    sharp = np.array([np.abs(ndimage.laplace(one)).mean() for one in grey])
    return {"sharpness": sharp, "brightness": grey.mean((1, 2)), "contrast": images.std((1, 2, 3))}


def test_sizes_types_and_classes_within_seconds() -> None:
    drawn.cache_clear()
    start = time.process_time()
    for name, (counts, _) in synthetic._SETS.items():
        for split, count in counts.items():
            images, labels = drawn(name, split)
            assert images.shape == (count, 32, 32, 3) and images.dtype == np.uint8
            assert labels.shape == (count,) and labels.dtype == np.int64
            assert set(labels.tolist()) == set(range(len(synthetic.classes(name))))
    assert time.process_time() - start < 30  # 7 s on one idle core
    assert len(synthetic.classes("synthetic")) == 10
    assert not set(synthetic.classes("synthetic")) & set(synthetic.classes("synthetic-near"))


def test_deterministic_whatever_numpy_was_doing_before() -> None:
    np.random.seed(5)
    again = synthetic.generate("synthetic", "test")
    assert np.array_equal(again[0], drawn("synthetic", "test")[0])
    assert np.array_equal(again[1], drawn("synthetic", "test")[1])


def test_no_image_twice_and_none_shared_between_splits() -> None:
    every = np.concatenate([drawn(name, split)[0] for name, (counts, _) in synthetic._SETS.items() for split in counts])
    assert len({image.tobytes() for image in every}) == len(every)


def test_the_auxiliary_keeps_clear_of_the_test_sets() -> None:
    broad, debiased = set(synthetic.classes("synthetic-aux")), set(synthetic.classes("synthetic-dti"))
    tests = {kind for name in ("synthetic-near", *FAR) for kind in synthetic.classes(name)}
    assert not (broad | debiased) & tests
    assert broad - debiased == set(synthetic.classes("synthetic"))


def test_colour_tells_the_class_only_in_part_and_pixels_do_not_settle_it() -> None:
    (train, labels), (test, truth) = drawn("synthetic", "train"), drawn("synthetic", "test")

    def accuracy(of_train: np.ndarray, of_test: np.ndarray) -> float:
        return float(KNeighborsClassifier(20).fit(of_train, labels).score(of_test, truth))

    assert 0.3 < accuracy(train.mean((1, 2)), test.mean((1, 2))) < 0.6  # chance is 0.10; places have usual colours
    pixels = accuracy(train.reshape(len(train), -1), test.reshape(len(test), -1))
    assert 0.5 < pixels < 0.85


def test_low_level_statistics_hardly_tell_the_sets_apart() -> None:
    inside = low_level(drawn("synthetic", "test")[0])
    for statistic, values in low_level(drawn("synthetic-near", "test")[0]).items():
        assert 0.4 < auroc(inside[statistic], values) < 0.6, statistic
    for name in FAR:
        for statistic, values in low_level(drawn(name, "test")[0]).items():
            assert 0.2 < auroc(inside[statistic], values) < 0.8, (name, statistic)


def test_raw_pixels_do_not_find_the_new_objects() -> None:
    """Eq. 6 with centred raw pixels for features: a network has something to learn."""

    def features(name: str, split: str) -> np.ndarray:
        flat = drawn(name, split)[0].reshape(-1, 3072).astype(np.float64)
        flat = flat - flat.mean(1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    bank = features("synthetic", "train")
    score = {n: -np.exp(features(n, "test") @ bank.T / 0.04).mean(1) for n in ("synthetic", "synthetic-near")}
    assert 0.4 < auroc(score["synthetic"], score["synthetic-near"]) < 0.6


def test_objects_have_an_up_and_down() -> None:
    """A linear classifier on shape alone (the drawing without background) tells upright from turned by 180 degrees;
    textures, which have no up, stay at chance under the same test."""
    from sklearn.linear_model import LogisticRegression

    def turned(name: str, split: str) -> float:
        grey = drawn(name, split)[0].mean(-1)
        grey = np.stack([ndimage.zoom(one, 0.25, order=1) for one in grey]).reshape(len(grey), -1)
        half = len(grey) // 2
        pairs = [np.r_[part, part[:, ::-1]] for part in (grey[:half], grey[half:])]
        truth = [np.r_[np.zeros(len(part) // 2), np.ones(len(part) // 2)] for part in pairs]
        scale = pairs[0].std()
        fitted = LogisticRegression(C=0.1, max_iter=500).fit(pairs[0] / scale, truth[0])
        return float(fitted.score(pairs[1] / scale, truth[1]))

    assert turned("synthetic", "train") > 0.62
    assert 0.4 < turned("synthetic-textures", "test") < 0.6


def test_backgrounds_have_a_natural_spectrum() -> None:
    """The amplitude of the background falls about as 1/f between 2 and 12 cycles an image."""
    noise = synthetic._natural(np.random.default_rng(0), 300)[..., 1]
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(32, 1 / 32), np.fft.fftfreq(32, 1 / 32)))
    rings = np.arange(2, 13)
    ring = [np.sqrt(power[(frequency >= r - 0.5) & (frequency < r + 0.5)].mean()) for r in rings]
    slope = np.polyfit(np.log(rings), np.log(ring), 1)[0]
    assert -2.0 < slope < -0.8


def test_light_comes_from_above() -> None:
    """What stands at the top is sky, and brighter than the ground at the bottom, in nearly every picture."""
    for place in (None, 0, 5):
        background = synthetic._background(np.random.default_rng(1), 300, place).mean(3)
        assert (background[:, :4].mean((1, 2)) > background[:, -4:].mean((1, 2))).mean() > 0.8, place


def test_every_set_has_the_same_exposures() -> None:
    """Brightness uniform from 0.15 to 0.8 and contrast from 0.05 to 0.25, where nothing is clipped."""
    ramp = np.tile(np.linspace(0, 1, 32), (2000, 3, 32, 1)).transpose(0, 2, 3, 1)
    shot = synthetic._camera(ramp, np.random.default_rng(0)).astype(float) / 255
    whole = ((shot > 0) & (shot < 1)).all((1, 2, 3))
    brightness, contrast = shot.mean((1, 2, 3)), shot.std((1, 2, 3))
    assert whole.mean() > 0.6
    assert brightness.min() == pytest.approx(0.15, abs=0.02) and brightness.max() == pytest.approx(0.8, abs=0.02)
    assert contrast.min() == pytest.approx(0.05, abs=0.005) and contrast.max() == pytest.approx(0.25, abs=0.005)
    assert brightness.mean() == pytest.approx(0.475, abs=0.02) and contrast.mean() == pytest.approx(0.15, abs=0.01)


def test_distances_match_a_brute_force_rasteriser() -> None:
    """Covered area of a disc, a stroke, a box and a polygon against counting 16 x 16 sub-pixels."""
    fine = (np.arange(512) + 0.5) / 16
    rows, columns = np.meshgrid(fine, fine, indexing="ij")
    fx, fy = (columns - 16) / 12, (16 - rows) / 12
    at = np.arange(32, dtype=np.float32) + 0.5
    rows, columns = np.meshgrid(at, at, indexing="ij")
    unit = np.full((1, 1, 1), 12, np.float32)
    white = {"main": np.ones((1, 1, 1, 3), np.float32)}
    along = np.clip((fx + 0.5) / 1.0 * 0.8 + (fy + 0.4) * 0.6 / 1.0, 0, 1)  # projection on the unit vector (0.8, 0.6)
    inside = {
        "disc": fx**2 + fy**2 < 0.6**2,
        "stroke": np.hypot(fx + 0.5 - 0.8 * along, fy + 0.4 - 0.6 * along) < 0.2,
        "box": (np.abs(fx) < 0.5) & (fy > -0.7) & (fy < 0.3),
        "triangle": (fy > -0.5) & (fy < 0.7 - 1.5 * np.abs(fx)),
    }
    for name, truth in inside.items():
        canvas = np.zeros((1, 32, 32, 3), np.float32)
        x, y = ((columns - 16) / 12)[None], ((16 - rows) / 12)[None]
        pen = shapes.Pen(canvas, x, y, unit, white, np.random.default_rng(0))
        distance = {
            "disc": lambda p: p.ellipse(0, 0, 0.6, 0.6), "stroke": lambda p: p.line(-0.5, -0.4, 0.3, 0.2, 0.2),
            "box": lambda p: p.box(-0.5, -0.7, 0.5, 0.3),
            "triangle": lambda p: p.convex((-0.8, -0.5), (0.8, -0.5), (0.0, 0.7)),
        }[name](pen)  # fmt: skip
        cover = np.clip(0.5 - distance * 12, 0, 1)[0]
        area = truth.reshape(32, 16, 32, 16).mean((1, 3))
        assert abs(cover.sum() - area.sum()) < 0.03 * area.sum() + 1, name
        assert np.abs(cover - area).max() < 0.35, name  # half a pixel at a corner at most


@pytest.mark.parametrize(("name", "split"), [("synthetic-nears", "test"), ("synthetic", "aux")])
def test_unknown_names_are_one_line(name: str, split: str) -> None:
    with pytest.raises(BenchError) as error:
        synthetic.generate(name, split)
    assert "\n" not in str(error.value) and "allowed" in str(error.value)
