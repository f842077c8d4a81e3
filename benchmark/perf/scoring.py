"""The speed of Eq. 6 and of k-NN, against the plain version that holds the whole matrix of cosines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.detection.knn import knn_accuracy
from benchmark.detection.scores import ood_scores
from benchmark.perf.measure import Spread, alternate, figures, ratio_text, seconds
from benchmark.perf.step import Tell

TAU, KNN_TAU, KS, CLASSES = 0.04, 0.07, (20, 10), 10


def plain_scores(features: Tensor, bank: Tensor) -> Tensor:
    """Eq. 6 as log-sum-exp over one N x M matrix."""
    cosines = F.normalize(features, dim=1) @ F.normalize(bank, dim=1).T
    return -(torch.logsumexp(cosines / TAU, dim=1) - torch.log(torch.tensor(float(len(bank)))))


def plain_knn(features: Tensor, labels: Tensor, bank: Tensor, bank_labels: Tensor) -> dict[int, float]:
    """DINO's weighted vote over one N x M matrix."""
    cosines = F.normalize(features, dim=1) @ F.normalize(bank, dim=1).T
    accuracy = {}
    for k in KS:
        values, index = cosines.topk(k, dim=1)
        votes = torch.zeros(len(features), CLASSES, device=features.device)
        votes.scatter_add_(1, bank_labels[index], torch.exp(values / KNN_TAU))
        accuracy[k] = 100 * float((votes.argmax(dim=1) == labels).float().mean())
    return accuracy


def perf_scoring(
    queries: int, bank: int, width: int, device: torch.device, *, rounds: int = 5, tell: Tell = print
) -> dict[str, Any]:
    """Seconds of Eq. 6 and of k-NN for `queries` x `bank` features, ours, the plain version and the bare product."""
    rng = torch.Generator().manual_seed(0)
    features, stored = torch.randn(queries, width, generator=rng), torch.randn(bank, width, generator=rng)
    labels, bank_labels = (torch.randint(CLASSES, (n,), generator=rng) for n in (queries, bank))
    features, stored, labels, bank_labels = (x.to(device) for x in (features, stored, labels, bank_labels))
    # As in blocks of rows: the product alone, in memory that is there already.
    rows_ = min(queries, 1000)
    block = torch.empty(rows_, bank, device=device)

    def product() -> None:
        for start in range(0, queries, rows_):
            some = features[start : start + rows_]
            torch.mm(some, stored.T, out=block[: len(some)])

    tasks: dict[str, Callable[[], object]] = {
        "matrix product alone": product,
        "Eq. 6, ours": lambda: ood_scores(features, stored, TAU),
        "Eq. 6, plain": lambda: plain_scores(features, stored),
        "k-NN, ours": lambda: knn_accuracy(features, labels, stored, bank_labels, KS, KNN_TAU),
        "k-NN, plain": lambda: plain_knn(features, labels, stored, bank_labels),
    }
    for task in tasks.values():
        task()
    spreads = alternate(
        {name: (lambda task=task: seconds(task, device)) for name, task in tasks.items()},  # type: ignore[misc]
        rounds,
        lambda line: tell(f"{line} s"),
    )
    return {
        "size": f"{queries} x {bank} x {width}",
        "seconds": {name: spread.as_dict() for name, spread in spreads.items()},
        "eq6_over_product": spreads["Eq. 6, ours"].median / spreads["matrix product alone"].median,
        "ratio": spreads["Eq. 6, plain"].median / spreads["Eq. 6, ours"].median,
        "ratio_text": ratio_text(spreads["Eq. 6, plain"], spreads["Eq. 6, ours"]),
        "knn_ratio": spreads["k-NN, plain"].median / spreads["k-NN, ours"].median,
        "knn_ratio_text": ratio_text(spreads["k-NN, plain"], spreads["k-NN, ours"]),
    }


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What `perf_scoring` found, as lines of a table."""
    return [
        ("queries x bank x features", result["size"]),
        *((f"{name}: seconds", str(Spread(**spread))) for name, spread in result["seconds"].items()),
        ("Eq. 6, ours / product alone", f"{figures(result['eq6_over_product'])} times"),
        ("Eq. 6, plain / ours", result["ratio_text"]),
        ("k-NN, plain / ours", result["knn_ratio_text"]),
    ]
