"""The paper's OOD score (Eq. 6), in a form that cannot overflow and in memory that does not grow with the data.

Shapes: N queries, M bank features, D features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from benchmark.errors import BenchError

# The block of cosines in flight, which stays in the last level of cache. Measured for 10,000 x 50,000 x 384 on two
# CPU cores: 1.2 times the matrix product alone; 1.2 to 1.3 for blocks from 4 to 64 MiB.
CHUNK_BYTES = 16 * 2**20
BANK_ROWS = 2048  # bank features a block, at most

# Logits up to this size need no log-sum-exp with a running peak: exp and its sums over a block, e^60 x 2048, stay far
# from float32's 3e38, and e^-60 far from its smallest number. The paper's, at a temperature of 0.04, are within 25.
PLAIN_LOGIT = 60.0

Block = tuple[slice, Tensor]


def kept_features(features: Tensor) -> Tensor:
    """Features (N, D) in the form that is kept on disk and scored: of unit length, in float16 (float32 would double the
    disk for changes of 1e-4 in a cosine)."""
    return torch.nn.functional.normalize(_in_range(features.float()), dim=1).half()


@torch.no_grad()
def ood_scores(
    features: Tensor,
    bank: Tensor,
    temperature: float = 0.04,
    self_index: Tensor | None = None,
    chunk_bytes: int = CHUNK_BYTES,
    weights: Tensor | None = None,
) -> Tensor:
    """Eq. 6 of the paper as a log: S = -( logsumexp_m(cos(f, f_m) / temperature) - ln M ), float64 (N,) on the CPU.

    S is a strictly increasing function of the paper's score, -(1/M) sum_m exp(cos(f, f_m) / temperature), so every
    ranking and AUROC is the same, but it neither overflows nor underflows at small temperatures. -exp(-S) is
    the paper's. A larger S means more OOD.

    features (N, D) and bank (M, D) are floats of any norm, on any device; a zero vector has cosine 0 to everything.
    The work is done where `features` lies; a bank elsewhere is brought over block by block.
    self_index (N,) names the one row of the bank which each query must not see (leave-self-out, the mean is then over
    M - 1), for scoring the bank's own images.
    weights (M,), above 0, say how many training images each row of a thinned bank stands for: the mean is weighted.
    They do not go with self_index.

    Raises BenchError for a temperature that is not above 0, an empty bank, or features that are not finite.
    """
    if not temperature > 0 or math.isinf(temperature):
        raise BenchError(f"temperature {temperature}: allowed is a finite number above 0")
    if weights is not None and (
        self_index is not None or weights.shape != bank.shape[:1] or not bool((weights > 0).all())
    ):
        raise ValueError(f"weights must be one number above 0 for each of {len(bank)} rows, without self_index")
    seen = len(bank) - (self_index is not None)
    if seen < 1:
        raise BenchError(f"a bank of {len(bank)} features leaves none to compare with")
    if self_index is not None:
        if self_index.shape != features.shape[:1]:
            raise ValueError(f"self_index has shape {tuple(self_index.shape)}, features {tuple(features.shape)}")
        if len(self_index) and not 0 <= int(self_index.min()) <= int(self_index.max()) < len(bank):
            raise ValueError(f"self_index must lie in 0..{len(bank) - 1}")
        self_index = self_index.to(features.device)

    log_weights = None if weights is None else weights.to(features.device).float().log()
    total_weight = seen if weights is None else float(weights.double().sum())
    largest = 1 / temperature + (0.0 if log_weights is None else max(0.0, float(log_weights.max())))
    plain = largest <= PLAIN_LOGIT
    scores = torch.empty(len(features), dtype=torch.float64)
    with full_float32():
        for rows, blocks in cosine_blocks(features, bank, chunk_bytes, scale=1 / temperature):
            # A running log-sum-exp: `peak` is the largest logit so far, `total` the sum of exp(logit - peak).
            # No logit is below -1 / temperature, so this first peak is harmless and, unlike -inf, finite.
            peak = torch.full((rows.stop - rows.start,), 0.0 if plain else -1 / temperature, device=features.device)
            total = torch.zeros_like(peak, dtype=torch.float64)
            for columns, logits in blocks:
                if self_index is not None:
                    own = self_index[rows] - columns.start
                    hit = ((own >= 0) & (own < logits.shape[1])).nonzero().squeeze(1)
                    logits[hit, own[hit]] = -math.inf
                if log_weights is not None:
                    logits += log_weights[columns]
                if plain:
                    total += logits.exp_().sum(1)
                    continue
                new_peak = torch.maximum(peak, logits.amax(1))
                block_total = logits.sub_(new_peak[:, None]).exp_().sum(1)
                total = total * (peak.double() - new_peak).exp() + block_total
                peak = new_peak
            scores[rows] = (math.log(total_weight) - total.log() - peak).cpu()
    return scores


def cosine_blocks(
    features: Tensor, bank: Tensor, chunk_bytes: int = CHUNK_BYTES, scale: float = 1.0
) -> Iterator[tuple[slice, Iterator[Block]]]:
    """All N x M values of scale * cos(f, f_m), in float32: for each slice of rows, block after block along the bank.

    A block is a view of one buffer of at most `chunk_bytes` (or one row): the caller may write on it, and it is gone
    when the next one comes. Beside the buffer only the block's own normalised rows are held.
    Raises BenchError, naming the row, if a feature is not finite.
    """
    width = min(BANK_ROWS, max(1, len(bank)), max(1, chunk_bytes // 4))
    height = min(max(1, len(features)), max(1, chunk_bytes // (4 * width)))
    buffer = torch.empty(height * width, device=features.device)

    def along_bank(queries: Tensor) -> Iterator[Block]:
        for start in range(0, len(bank), width):
            keys = _unit_rows(bank, start, width, "bank").to(queries.device)
            block = buffer[: len(queries) * len(keys)].view(len(queries), len(keys))
            torch.mm(queries, keys.T, out=block)  # `out` also keeps autocast from lowering the precision
            yield slice(start, start + len(keys)), block

    for start in range(0, len(features), height):
        # The scale goes into the queries: N x D multiplications in place of N x M.
        queries = _unit_rows(features, start, height, "features").mul_(scale)
        yield slice(start, start + len(queries)), along_bank(queries)


def _unit_rows(features: Tensor, start: int, count: int, name: str) -> Tensor:
    """Rows start .. start + count, L2-normalised, as new float32 memory."""
    rows = _in_range(features[start : start + count].float())
    norms = rows.norm(dim=1, keepdim=True)
    bad = (~norms.isfinite()).squeeze(1).nonzero().squeeze(1)
    if len(bad):
        raise BenchError(
            f"{name}: {len(bad)} of the rows {start} to {start + len(rows) - 1} are not finite "
            f"(the first is row {start + int(bad[0])})"
        )
    return rows / norms.clamp_min(torch.finfo(torch.float32).tiny)


def _in_range(rows: Tensor) -> Tensor:
    """The rows, those whose squares float32 cannot sum in the direction that they have, at another length."""
    peak = rows.abs().amax(1, keepdim=True)
    beyond = ((peak < 1e-12) & (peak > 0)) | ((peak > 1e12) & peak.isfinite())
    return torch.where(beyond, rows / peak, rows)  # no branch: a detector's graph holds this too


@contextmanager
def full_float32() -> Iterator[None]:
    """Products and convolutions in true float32: TF32 errs by 1e-3 in a cosine, by 2.5 % at a temperature of 0.04.

    PyTorch has TF32 in a GPU's convolutions by default, and patch embeddings are convolutions.
    """
    cuda, cudnn, mkldnn = torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn
    backends = (cuda.matmul, cudnn.conv, mkldnn.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
