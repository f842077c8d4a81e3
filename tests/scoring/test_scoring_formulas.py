"""Each score against plain loops in float64, or scikit-learn where it does the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from benchmark.errors import BenchError
from benchmark.scoring.base import Outputs, summary
from benchmark.scoring.named import named

TRAIN, TEST, WIDTH, CLASSES = 40, 9, 6, 5


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


def outputs(count: int, seed: int) -> Outputs:
    g = torch.Generator().manual_seed(seed)
    features = torch.randn(count, WIDTH, generator=g) + torch.tensor([2.0, 0, 0, 0, 0, 0])
    return {
        "features": unit(features).half(),
        "norm": features.norm(dim=1),
        "class_logits": summary(3 * torch.randn(count, CLASSES, generator=g)),
        "rotated": unit(torch.randn(count, 3, WIDTH, generator=g)).half(),
        "rotated_class_logits": torch.stack([summary(torch.randn(count, CLASSES, generator=g)) for _ in range(3)], 1),
        "permuted": unit(torch.randn(count, 3, WIDTH, generator=g)).half(),
        "permuted_class_logits": torch.stack([summary(torch.randn(count, CLASSES, generator=g)) for _ in range(3)], 1),
    }


@pytest.fixture(scope="module")
def train() -> Outputs:
    return outputs(TRAIN, 0)


@pytest.fixture(scope="module")
def test() -> Outputs:
    return outputs(TEST, 1)


def scores(name: str, train: Outputs, rows: Outputs, itself: bool = False) -> np.ndarray:
    score = named(name, temperature=0.04)
    score.fit(train)
    made = score.score(rows, torch.arange(len(rows["features"])) if itself else None)
    assert made.dtype == torch.float64 and made.shape == (len(rows["features"]),)
    return made.numpy()


def eq6(query: Tensor, bank: Tensor, temperature: float, leave: int | None = None) -> float:
    """Eq. 6 of one feature as a log, by a loop over the bank."""
    terms = []
    for number, other in enumerate(bank.double().tolist()):
        if number != leave:
            length = math.hypot(*query.double().tolist()) * math.hypot(*other)
            dot = sum(a * b for a, b in zip(query.double().tolist(), other, strict=True))
            terms.append(math.exp(dot / length / temperature))
    return -math.log(sum(terms) / len(terms))


@pytest.mark.parametrize(("name", "temperature"), [("eq6", 0.04), ("eq6@0.5", 0.5), ("eq6@2", 2.0)])
def test_eq6_at_any_temperature(name: str, temperature: float, train: Outputs, test: Outputs) -> None:
    expected = [eq6(row, train["features"], temperature) for row in test["features"]]
    np.testing.assert_allclose(scores(name, train, test), expected, atol=1e-4)
    expected = [eq6(row, train["features"], temperature, n) for n, row in enumerate(train["features"])]
    np.testing.assert_allclose(scores(name, train, train, itself=True), expected, atol=1e-4)


@pytest.mark.parametrize(("name", "temperature"), [("eq6-from-negatives", 0.04), ("eq6-from-negatives@0.5", 0.5)])
def test_eq6_from_negatives_sees_all_features_from_their_mean(
    name: str, temperature: float, train: Outputs, test: Outputs
) -> None:
    negatives = torch.randn(7, WIDTH, generator=torch.Generator().manual_seed(2)) + 1
    origin = [sum(column) / 7 for column in zip(*negatives.double().tolist(), strict=True)]

    def moved(rows: Outputs) -> Tensor:
        lengths = zip(rows["features"].double().tolist(), rows["norm"].double().tolist(), strict=True)
        return torch.tensor([[x * length - o for x, o in zip(row, origin, strict=True)] for row, length in lengths])

    with_negatives = train | {"negatives": negatives}
    bank = moved(train)
    expected = [eq6(row, bank, temperature) for row in moved(test)]
    np.testing.assert_allclose(scores(name, with_negatives, test), expected, atol=1e-4)
    expected = [eq6(row, bank, temperature, n) for n, row in enumerate(bank)]
    np.testing.assert_allclose(scores(name, with_negatives, train, itself=True), expected, atol=1e-4)


@pytest.mark.parametrize("k", [1, 3, TRAIN])
def test_nearest_neighbour_distances_are_those_of_scikit_learn(k: int, train: Outputs, test: Outputs) -> None:
    bank = unit(train["features"].double()).numpy()
    finder = NearestNeighbors(n_neighbors=k).fit(bank)
    expected = finder.kneighbors(unit(test["features"].double()).numpy())[0][:, -1]
    np.testing.assert_allclose(scores(f"knn-{k}", train, test), expected, atol=1e-4)
    if k < TRAIN:
        expected = NearestNeighbors(n_neighbors=k).fit(bank).kneighbors()[0][:, -1]  # without each itself
        np.testing.assert_allclose(scores(f"knn-{k}", train, train, itself=True), expected, atol=1e-4)
    else:
        with pytest.raises(BenchError, match=f"score knn-{k}: {k} given, allowed with {TRAIN - 1} other training"):
            scores(f"knn-{k}", train, train, itself=True)


def test_among_copies_of_an_image_one_is_left_out() -> None:
    copies = {"features": torch.tensor([[1.0, 0.0]] * 4 + [[0.0, 1.0]]).half()}
    np.testing.assert_allclose(scores("knn-3", copies, copies, itself=True), [0, 0, 0, 0, 2**0.5], atol=1e-3)
    np.testing.assert_allclose(scores("cosine", copies, copies, itself=True), [-1, -1, -1, -1, 0], atol=1e-3)


def test_the_largest_cosine_is_negated(train: Outputs, test: Outputs) -> None:
    cosines = unit(test["features"].double()) @ unit(train["features"].double()).T
    np.testing.assert_allclose(scores("cosine", train, test), -cosines.amax(1), atol=1e-5)
    cosines = unit(train["features"].double()) @ unit(train["features"].double()).T
    cosines.fill_diagonal_(-2)
    np.testing.assert_allclose(scores("cosine", train, train, itself=True), -cosines.amax(1), atol=1e-5)


def standardised(rows: Tensor, by: Tensor) -> np.ndarray:
    values, base = rows.double().numpy(), by.double().numpy()
    return (values - base.mean(0)) / base.std(0)


def test_mahalanobis_is_that_of_scikit_learn(train: Outputs, test: Outputs) -> None:
    fitted = EmpiricalCovariance().fit(standardised(train["features"], train["features"]))
    expected = fitted.mahalanobis(standardised(test["features"], train["features"]))
    np.testing.assert_allclose(scores("mahalanobis", train, test), expected, rtol=1e-6)
    assert scores("mahalanobis", train, train).mean() == pytest.approx(WIDTH)  # its mean over those fitted is D


def test_mahalanobis_of_clusters_is_the_distance_to_the_nearest() -> None:
    """Two far groups of different shapes: which cluster is which is known without k-means."""
    g = torch.Generator().manual_seed(0)
    shapes = torch.tensor([[[0.10, 0.00, 0.0], [0.02, 0.05, 0]], [[0.03, 0.01, 0], [0.00, 0.20, 0]]]).mT
    groups = [
        torch.randn(60, 2, generator=g) @ shape.mT + torch.eye(3)[number] + 0.01 * torch.randn(60, 3, generator=g)
        for number, shape in enumerate(shapes)
    ]
    train = {"features": torch.cat(groups)}
    test = {"features": torch.randn(20, 3, generator=g)}
    expected = []
    for row in standardised(test["features"], train["features"]):
        distances = []
        for group in groups:
            mine = standardised(group, train["features"])
            centre, covariance = np.zeros(3), np.zeros((3, 3))
            for image in mine:
                centre += image / len(mine)
            for image in mine:
                covariance += np.outer(image - centre, image - centre) / len(mine)
            distances.append((row - centre) @ np.linalg.inv(covariance) @ (row - centre))
        expected.append(min(distances))
    np.testing.assert_allclose(scores("mahalanobis-2", train, test), expected, rtol=1e-4)


def test_clusters_are_of_standardised_features() -> None:
    """A wide feature of one heap and a narrow one of two: only standardised does the narrow one part the images."""
    g = torch.Generator().manual_seed(0)
    side = (torch.arange(200) % 2).float()
    rows = torch.stack([torch.randn(200, generator=g), 0.001 * (side + 0.05 * torch.randn(200, generator=g))], 1)
    train, test = {"features": rows}, {"features": torch.tensor([[0.3, 0.0005], [-1.0, 0.0011], [0.5, 0.0]])}
    fitted = [EmpiricalCovariance().fit(standardised(rows[side == one], rows)) for one in (0, 1)]
    expected = np.min([one.mahalanobis(standardised(test["features"], rows)) for one in fitted], 0)
    np.testing.assert_allclose(scores("mahalanobis-2", train, test), expected, rtol=1e-4)


def test_mahalanobis_of_more_clusters_than_features_that_differ_has_those_that_there_are() -> None:
    """Many copies among one's images, or a network that collapsed: k-means leaves clusters empty."""
    distinct = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    copies = {"features": distinct.repeat(50, 1)}
    assert np.isfinite(scores("mahalanobis-10", copies, {"features": distinct + 0.1})).all()


def test_mahalanobis_in_blocks_is_mahalanobis(train: Outputs, test: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scores("mahalanobis-2", train, test)
    monkeypatch.setattr("benchmark.scoring.mahalanobis.ROWS", 4)
    np.testing.assert_allclose(scores("mahalanobis-2", train, test), whole, rtol=1e-12)


def test_a_feature_that_never_varies_tells_nothing_of_training_images(train: Outputs, test: Outputs) -> None:
    def widened(rows: Outputs) -> Outputs:
        return {"features": torch.cat([rows["features"], torch.zeros(len(rows["features"]), 1).half()], 1)}

    np.testing.assert_allclose(scores("mahalanobis", widened(train), widened(test)), scores("mahalanobis", train, test))


def test_scores_of_logits(test: Outputs) -> None:
    logits = torch.randn(TEST, CLASSES, generator=torch.Generator().manual_seed(3)) * 4
    rows = {**test, "class_logits": summary(logits)}
    for number, row in enumerate(logits.double().tolist()):
        total = sum(math.exp(value) for value in row)
        assert scores("msp", test, rows)[number] == pytest.approx(-math.log(math.exp(max(row)) / total), abs=1e-5)
        assert scores("max-logit", test, rows)[number] == pytest.approx(-max(row), abs=1e-5)
        assert scores("energy", test, rows)[number] == pytest.approx(-math.log(total), abs=1e-5)
    sure = torch.tensor([[18.0 + step, 0.0, 0.0] for step in range(9)])  # float32 resolves 2e-6 at 18
    found = scores("msp", test, {"features": test["features"][:9], "class_logits": summary(sure)})
    np.testing.assert_allclose(found, [math.log1p(2 * math.exp(-row[0])) for row in sure.tolist()], rtol=1e-3)
    np.testing.assert_allclose(scores("negative-norm", test, test), -test["norm"].numpy(), atol=1e-6)


def test_eq6_of_the_confident_half_by_hand(train: Outputs, test: Outputs) -> None:
    sure = [max(row) for row in torch.exp(train["class_logits"][:, :1]).tolist()]  # the largest probability
    half = sorted(range(len(sure)), key=lambda i: sure[i])[(len(sure) - 1) // 2 :]
    bank = train["features"][sorted(half)]
    expected = [eq6(f, bank, 0.04, None) for f in test["features"]]
    np.testing.assert_allclose(scores("eq6-confident", train, test), expected, atol=1e-3)
    places = {image: place for place, image in enumerate(sorted(half))}
    expected = [eq6(f, bank, 0.04, places.get(i)) for i, f in enumerate(train["features"])]
    np.testing.assert_allclose(scores("eq6-confident", train, train, itself=True), expected, atol=1e-3)
    assert any(i not in places for i in range(len(sure))) and len(half) >= len(sure) / 2


@pytest.mark.parametrize(("name", "key"), [("eq6-rotations", "rotated"), ("eq6-permutations", "permuted")])
def test_eq6_over_copies_is_the_sum_over_equally_changed_images(
    train: Outputs, test: Outputs, name: str, key: str
) -> None:
    def total(features: Tensor, copies: Tensor, leave: int | None) -> float:
        found = eq6(features, train["features"], 0.04, leave)
        for number in range(3):
            found += eq6(copies[number], train[key][:, number], 0.04, leave)
        return found

    expected = [total(f, r, None) for f, r in zip(test["features"], test[key], strict=True)]
    np.testing.assert_allclose(scores(name, train, test), expected, atol=1e-3)
    expected = [total(f, r, n) for n, (f, r) in enumerate(zip(train["features"], train[key], strict=True))]
    np.testing.assert_allclose(scores(name, train, train, itself=True), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "key"),
    [("energy-gap", "rotated_class_logits"), ("energy-gap-permutations", "permuted_class_logits")],
)
def test_the_energy_gap_is_small_where_turning_changes_nothing(test: Outputs, name: str, key: str) -> None:
    """Loops over logits; and an image whose copies answer like itself scores above one that stands out upright."""
    upright = torch.tensor([[9.0, 0, 0], [0.0, 0, 0]])
    turned = torch.tensor([[[0.0, 0, 0]] * 3, [[1.0, 0, 0], [0, 2, 0], [0, 0, 3]]])
    rows = {
        "features": test["features"][:2],
        "class_logits": summary(upright),
        key: torch.stack([summary(turned[:, k]) for k in range(3)], 1),
    }
    expected = []
    for own, copies in zip(upright.double().tolist(), turned.double().tolist(), strict=True):
        energies = [-math.log(sum(map(math.exp, copy))) for copy in copies]
        expected.append(-(sum(energies) / 3 - -math.log(sum(map(math.exp, own)))))
    made = scores(name, rows, rows)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert made[0] < made[1]


def test_a_sum_is_of_scores_standardised_by_the_training_images_unseen_by_themselves(
    train: Outputs, test: Outputs
) -> None:
    expected = np.zeros(TEST)
    for name in ("knn-2", "energy", "eq6-rotations"):
        base = scores(name, train, train, itself=True)
        expected += (scores(name, train, test) - base.mean()) / base.std(ddof=1)
    np.testing.assert_allclose(scores("knn-2+energy+eq6-rotations", train, test), expected, rtol=1e-6)
    assert scores("knn-2+energy", train, train, itself=True).mean() == pytest.approx(0, abs=1e-9)


def test_larger_is_more_ood() -> None:
    """An image like the training images, with a sure answer, against one of another direction and an unsure answer."""
    g = torch.Generator().manual_seed(0)
    features = torch.tensor([3.0, 0, 0]) + 0.3 * torch.randn(30, 3, generator=g)
    train = {"features": unit(features), "norm": features.norm(dim=1)}
    pair = torch.tensor([[3.0, 0.1, 0], [-0.5, 0.5, 0.5]])
    rows = {"features": unit(pair), "norm": pair.norm(dim=1), "class_logits": summary(torch.tensor([[8.0, 0], [1, 1]]))}
    for name in ("eq6", "knn-5", "cosine", "mahalanobis", "negative-norm", "msp", "max-logit", "energy"):
        inside, outside = scores(name, train, rows)
        assert outside > inside, name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mahalanobis-50", "score mahalanobis-50: 50 clusters of 40 training images"),
        ("knn-41", "score knn-41: 41 given, allowed with 40 other training images: 1 to 40"),
    ],
)
def test_more_than_there_is(name: str, says: str, train: Outputs, test: Outputs) -> None:
    with pytest.raises(BenchError, match=says):
        scores(name, train, test)


def test_features_that_do_not_vary_have_no_covariance(test: Outputs) -> None:
    same = {**test, "features": test["features"][:1].repeat(TEST, 1), "norm": torch.ones(TEST)}
    with pytest.raises(BenchError, match=f"score mahalanobis: the features of {TEST} training images do not vary"):
        scores("mahalanobis", same, same)
    with pytest.raises(BenchError, match=r"score cosine\+negative-norm: \S+ does not vary over the training images"):
        scores("cosine+negative-norm", same, same)
