"""The speed of Eq. 6, k-NN, Mahalanobis and NT-Xent, each against a plain version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.detection.knn import knn_accuracy
from benchmark.detection.scores import ood_scores
from benchmark.methods.contrastive import nt_xent
from benchmark.perf.measure import Spread, figures, ratio_text, timed
from benchmark.perf.step import Tell
from benchmark.scoring.mahalanobis import Mahalanobis

NT_XENT_ROWS = 8 * 512
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


def our_mahalanobis(features: Tensor, bank: Tensor) -> Tensor:
    score = Mahalanobis()
    score.fit({"features": bank})
    return score.score({"features": features})


def plain_mahalanobis(features: Tensor, bank: Tensor) -> Tensor:
    """Whole matrices in float64, image by image solved against the covariance."""
    rows, train = features.double().cpu(), bank.double().cpu()
    mean, deviation = train.mean(0), train.std(0, correction=0)
    rows, train = (rows - mean) / deviation, (train - mean) / deviation
    off = rows - train.mean(0)
    return (off * torch.linalg.solve(torch.cov(train.T, correction=0), off.T).T).sum(1)


def plain_nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """By masks that pick partners and others out of the matrix, as it is often written."""
    rows = F.normalize(torch.cat([first, second]), dim=1)
    count = len(rows)
    cosines = rows @ rows.T / temperature
    partners = torch.eye(count // 2, dtype=torch.bool, device=rows.device).repeat(2, 2)
    itself = torch.eye(count, dtype=torch.bool, device=rows.device)
    same = cosines[partners & ~itself].view(count, 1)
    others = cosines[~partners & ~itself].view(count, -1)
    return -torch.log_softmax(torch.cat([same, others], 1), 1)[:, 0].mean()


def perf_scoring(
    queries: int, bank: int, width: int, device: torch.device, *, rounds: int = 5, tell: Tell = print
) -> dict[str, Any]:
    """Seconds of Eq. 6, k-NN and Mahalanobis for `queries` x `bank` features, ours, the plain version and the bare
    product; and of NT-Xent with its gradient for 8 x 512 projections of 128 numbers."""
    rng = torch.Generator().manual_seed(0)
    features, stored = torch.randn(queries, width, generator=rng), torch.randn(bank, width, generator=rng)
    labels, bank_labels = (torch.randint(CLASSES, (n,), generator=rng) for n in (queries, bank))
    features, stored, labels, bank_labels = (x.to(device) for x in (features, stored, labels, bank_labels))
    first, second = (torch.randn(NT_XENT_ROWS // 2, 128, generator=rng).to(device).requires_grad_() for _ in range(2))
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
        "Mahalanobis, ours": lambda: our_mahalanobis(features, stored),
        "Mahalanobis, plain": lambda: plain_mahalanobis(features, stored),
        "NT-Xent, ours": lambda: torch.autograd.grad(nt_xent(first, second, 0.5), (first, second)),
        "NT-Xent, plain": lambda: torch.autograd.grad(plain_nt_xent(first, second, 0.5), (first, second)),
    }
    spreads = timed(tasks, device, rounds, lambda each: each, lambda line: tell(f"{line} s"))
    return {
        "size": f"{queries} x {bank} x {width}",
        "seconds": {name: spread.as_dict() for name, spread in spreads.items()},
        "eq6_over_product": spreads["Eq. 6, ours"].median / spreads["matrix product alone"].median,
        "ratio": spreads["Eq. 6, plain"].median / spreads["Eq. 6, ours"].median,
        "ratio_text": ratio_text(spreads["Eq. 6, plain"], spreads["Eq. 6, ours"]),
        "knn_ratio": spreads["k-NN, plain"].median / spreads["k-NN, ours"].median,
        "knn_ratio_text": ratio_text(spreads["k-NN, plain"], spreads["k-NN, ours"]),
        "mahalanobis_ratio_text": ratio_text(spreads["Mahalanobis, plain"], spreads["Mahalanobis, ours"]),
        "nt_xent_ratio_text": ratio_text(spreads["NT-Xent, plain"], spreads["NT-Xent, ours"]),
    }


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What `perf_scoring` found, as lines of a table."""
    return [
        ("queries x bank x features", result["size"]),
        *((f"{name}: seconds", str(Spread(**spread))) for name, spread in result["seconds"].items()),
        ("Eq. 6, ours / product alone", f"{figures(result['eq6_over_product'])} times"),
        ("Eq. 6, plain / ours", result["ratio_text"]),
        ("k-NN, plain / ours", result["knn_ratio_text"]),
        ("Mahalanobis, plain / ours", result["mahalanobis_ratio_text"]),
        (f"NT-Xent of {NT_XENT_ROWS} rows, plain / ours", result["nt_xent_ratio_text"]),
    ]
