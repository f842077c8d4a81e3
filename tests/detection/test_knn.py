"""DINO's weighted k-NN vote against a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from benchmark.detection.knn import knn_accuracy, nearest
from benchmark.errors import BenchError


def loop_accuracy(features, labels, bank, bank_labels, k: int, temperature: float) -> float:
    correct = 0
    for feature, label in zip(features.double().tolist(), labels.tolist(), strict=True):
        neighbours = []
        for other, vote in zip(bank.double().tolist(), bank_labels.tolist(), strict=True):
            dot = sum(a * b for a, b in zip(feature, other, strict=True))
            neighbours.append((dot / (math.hypot(*feature) * math.hypot(*other)), vote))
        votes: dict[int, float] = {}
        for cosine, vote in sorted(neighbours, reverse=True)[:k]:
            votes[vote] = votes.get(vote, 0) + math.exp(cosine / temperature)
        correct += max(votes, key=votes.__getitem__) == label
    return 100 * correct / len(features)


@pytest.fixture(scope="module")
def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Five overlapping classes; features of very different lengths."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(5, 8, generator=generator)
    labels, bank_labels = (torch.randint(5, (n,), generator=generator) for n in (60, 90))
    features, bank = (
        (means[y] + 1.2 * torch.randn(len(y), 8, generator=generator)) * torch.rand(len(y), 1, generator=generator)
        for y in (labels, bank_labels)
    )
    return features, labels, bank, bank_labels


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
@pytest.mark.parametrize("chunk_bytes", [1, 500, 10**6])
def test_equals_a_plain_loop(data: tuple[torch.Tensor, ...], temperature: float, chunk_bytes: int) -> None:
    accuracy = knn_accuracy(*data, ks=(20, 10, 1, 90), temperature=temperature, chunk_bytes=chunk_bytes)
    assert list(accuracy) == [20, 10, 1, 90]
    for k, value in accuracy.items():
        assert value == pytest.approx(loop_accuracy(*data, k, temperature)), k
    assert len(set(accuracy.values())) > 1  # the case tells the k apart


def test_equals_scikit_learn_with_the_same_weights(data: tuple[torch.Tensor, ...]) -> None:
    features, labels, bank, bank_labels = (x.numpy() for x in data)
    classifier = KNeighborsClassifier(10, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07))
    expected = 100 * classifier.fit(bank, bank_labels).score(features, labels)
    assert knn_accuracy(*data)[10] == pytest.approx(expected)


def test_a_bank_of_one_class_has_no_accuracy(data: tuple[torch.Tensor, ...]) -> None:
    features, labels, bank, bank_labels = data
    assert knn_accuracy(features, labels * 0, bank, bank_labels * 0 + 3) == {20: None, 10: None}
    assert knn_accuracy(features, labels * 0, bank, bank_labels)[20] is not None  # one class of queries is no such case


def test_a_near_neighbour_outvotes_many_far_ones() -> None:
    bank = torch.tensor([[1.0, 0.0], [0.5, 0.9], [0.5, 0.9]])
    query, votes = torch.tensor([[2.0, 0.0]]), torch.tensor([1, 0, 0])
    assert knn_accuracy(query, torch.tensor([1]), bank, votes, ks=(3,), temperature=0.07) == {3: 100.0}
    assert knn_accuracy(query, torch.tensor([1]), bank, votes, ks=(3,), temperature=10.0) == {3: 0.0}


def test_no_temperature_overflows() -> None:
    """exp(cos / 1e-4) is infinite for both neighbours; the nearer one still wins."""
    bank, query = torch.tensor([[1.0, 0.4], [1.0, 0.1]]), torch.tensor([[1.0, 0.0]])
    labels = torch.tensor([1])
    assert knn_accuracy(query, labels, bank, torch.tensor([0, 1]), ks=(2,), temperature=1e-4) == {2: 100.0}
    assert knn_accuracy(query, labels, bank, torch.tensor([1, 0]), ks=(2,), temperature=1e-4) == {2: 0.0}


def test_classes_seen_on_one_side_only(data: tuple[torch.Tensor, ...]) -> None:
    features, labels, bank, bank_labels = data
    assert knn_accuracy(features, labels + 50, bank, bank_labels) == {20: 0.0, 10: 0.0}
    assert knn_accuracy(features, labels, bank, bank_labels + 50) == {20: 0.0, 10: 0.0}


def test_without_labels_there_is_no_accuracy(data: tuple[torch.Tensor, ...]) -> None:
    features, labels, bank, bank_labels = data
    assert knn_accuracy(features, torch.full_like(labels, -1), bank, bank_labels) == {20: None, 10: None}
    assert knn_accuracy(features, labels, bank, torch.full_like(bank_labels, -1)) == {20: None, 10: None}


def test_bad_input_is_named(data: tuple[torch.Tensor, ...]) -> None:
    features, labels, bank, bank_labels = data
    for k in (91, 0):
        with pytest.raises(BenchError, match=f"k = {k} given, allowed with a bank of 90 images: 1 to 90"):
            knn_accuracy(features, labels, bank, bank_labels, ks=(10, k))
    with pytest.raises(BenchError, match="no features"):
        knn_accuracy(features[:0], labels[:0], bank, bank_labels)
    with pytest.raises(BenchError, match="not finite"):
        knn_accuracy(features * torch.inf, labels, bank, bank_labels)


@pytest.mark.parametrize("chunk_bytes", [4 * 30, 16 * 2**20])
def test_nearest_by_sorting_all_cosines(chunk_bytes: int) -> None:
    random = torch.Generator().manual_seed(5)
    queries, bank = torch.randn(9, 6, generator=random), torch.randn(31, 6, generator=random)
    plain = np.array([[float(q @ b / (q.norm() * b.norm())) for b in bank.double()] for q in queries.double()])
    cosines, rows = nearest(queries, bank, 4, chunk_bytes)
    assert rows.tolist() == np.argsort(-plain, axis=1)[:, :4].tolist()
    np.testing.assert_allclose(cosines.numpy(), -np.sort(-plain, axis=1)[:, :4], atol=1e-6)
    assert nearest(queries[:0], bank, 4)[1].shape == (0, 4)
    for k in (0, 32):
        with pytest.raises(BenchError, match=f"{k} asked for, allowed with a bank of 31: 1 to 31"):
            nearest(queries, bank, k)


def test_labels_may_be_ids_of_any_size() -> None:
    """Only which are equal counts, and of equal votes the lowest: no vote for each number below the largest."""
    generator = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(60, 4, generator=generator), torch.randn(30, 4, generator=generator)
    known, true = (torch.randint(0, 5, (count,), generator=generator) for count in (60, 30))
    ids = torch.tensor([7, 10**8, 10**8 + 1, 3 * 10**12, 2**62])
    assert knn_accuracy(queries, ids[true], bank, ids[known], [1, 5]) == knn_accuracy(
        queries, true, bank, known, [1, 5]
    )
    unseen = torch.where(true == 4, 9, true)
    assert knn_accuracy(queries, unseen, bank, known, [5]) != knn_accuracy(queries, true, bank, known, [5])
