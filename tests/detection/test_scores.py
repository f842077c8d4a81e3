"""Eq. 6 against a direct float64 sum, at ordinary and extreme temperatures, in bounded memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from benchmark.detection.metrics import auroc
from benchmark.detection.scores import cosine_blocks, full_float32, kept_features, ood_scores
from benchmark.errors import BenchError


def cosines(features: torch.Tensor, bank: torch.Tensor) -> np.ndarray:
    f, b = features.double().numpy(), bank.double().numpy()
    return (f / np.linalg.norm(f, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    return torch.randn(37, 24, generator=torch.Generator().manual_seed(0)) * 7


@pytest.fixture(scope="module")
def bank() -> torch.Tensor:
    return torch.randn(53, 24, generator=torch.Generator().manual_seed(1)) + 0.5


def test_one_value_worked_by_hand() -> None:
    # cosines 1, 0 and -1; mean of e^2, 1, e^-2 = 2.841462...
    score = ood_scores(torch.tensor([[3.0, 0.0]]), torch.tensor([[2.0, 0], [0, 5], [-1, 0]]), temperature=0.5)
    assert -torch.exp(-score).item() == pytest.approx(-2.8414638, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.04, 0.07, 0.5, 10.0])
def test_equals_equation_6_summed_directly(features: torch.Tensor, bank: torch.Tensor, temperature: float) -> None:
    direct = -np.exp(cosines(features, bank) / temperature).mean(1)
    scores = ood_scores(features, bank, temperature)
    assert scores.dtype == torch.float64 and scores.shape == (37,)
    np.testing.assert_allclose(-torch.exp(-scores).numpy(), direct, rtol=2e-5)
    assert np.array_equal(np.argsort(scores.numpy()), np.argsort(direct))  # a strictly increasing form of it


@pytest.mark.parametrize("temperature", [1e-2, 1e-3, 1e-5])
def test_extreme_temperatures_neither_overflow_nor_underflow(
    features: torch.Tensor, bank: torch.Tensor, temperature: float
) -> None:
    logits = cosines(features, bank) / temperature
    if temperature < 1e-2:
        with np.errstate(over="ignore"):
            assert np.isinf(np.exp(logits.astype(np.float32)).mean(1)).all()  # the naive form is lost in float32
            # and so is a constant shift by the largest possible logit: everything underflows
            assert (np.exp((logits - 1 / temperature).astype(np.float32)).mean(1) == 0).all()
    expected = np.log(53) - logsumexp(logits, axis=1)
    # float32 cosines are good to 3e-7, hence logits to 3e-7 / temperature
    np.testing.assert_allclose(
        ood_scores(features, bank, temperature).numpy(), expected, rtol=0, atol=3e-7 / temperature
    )


def test_larger_means_more_ood() -> None:
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(32, generator=generator)
    bank = direction + 0.5 * torch.randn(200, 32, generator=generator)
    inside = direction + 0.5 * torch.randn(100, 32, generator=generator)
    outside = torch.randn(100, 32, generator=generator)
    assert auroc(ood_scores(inside, bank), ood_scores(outside, bank)) > 99


@pytest.mark.parametrize("chunk_bytes", [1, 40, 1000, 10**6])
def test_chunks_do_not_change_the_score(features: torch.Tensor, bank: torch.Tensor, chunk_bytes: int) -> None:
    index = torch.arange(37) + 9
    for self_index in (None, index):
        direct = cosines(features, bank) / 0.04
        if self_index is not None:
            direct[np.arange(37), index.numpy()] = -np.inf
        expected = np.log(53 - (self_index is not None)) - logsumexp(direct, axis=1)
        got = ood_scores(features, bank, 0.04, self_index=self_index, chunk_bytes=chunk_bytes)
        np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-5)


def test_leave_self_out_is_a_bank_without_the_image(bank: torch.Tensor) -> None:
    order = torch.randperm(53, generator=torch.Generator().manual_seed(2))
    scores = ood_scores(bank[order], bank, self_index=order)
    for row, position in enumerate(order.tolist()):
        rest = torch.cat([bank[:position], bank[position + 1 :]])
        assert scores[row].item() == pytest.approx(ood_scores(bank[position : position + 1], rest).item(), abs=1e-5)
    assert (scores > ood_scores(bank[order], bank) + 1).all()  # with itself in the bank it would look familiar


def test_norms_order_and_copies_of_the_bank_do_not_matter(features: torch.Tensor, bank: torch.Tensor) -> None:
    scores = ood_scores(features, bank)
    lengths = torch.logspace(-6, 6, 53)[:, None]
    for other in (bank * lengths, bank.flip(0), torch.cat([bank, bank]), bank.double(), bank.T.contiguous().T):
        np.testing.assert_allclose(ood_scores(features * 1e-5, other), scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [1e-25, 1e25])
def test_features_whose_squares_float32_cannot_hold_keep_their_direction(
    features: torch.Tensor, bank: torch.Tensor, length: float
) -> None:
    torch.testing.assert_close(ood_scores(features * length, bank), ood_scores(features, bank), rtol=0, atol=1e-4)
    torch.testing.assert_close(kept_features(features * length), kept_features(features), rtol=0, atol=1e-3)


def test_a_zero_feature_has_cosine_zero(bank: torch.Tensor) -> None:
    assert ood_scores(torch.zeros(1, 24), bank).item() == 0


def test_reduced_precision_settings_are_held_off_and_put_back(features: torch.Tensor, bank: torch.Tensor) -> None:
    def settings() -> tuple[str, str]:
        return torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision

    scores = ood_scores(features, bank)
    torch.set_float32_matmul_precision("medium")
    try:
        assert settings() == ("tf32", "bf16")
        with full_float32():
            assert settings() == ("ieee", "ieee")
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(ood_scores(features, bank), scores)
        assert settings() == ("tf32", "bf16")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_inputs_are_left_alone(features: torch.Tensor, bank: torch.Tensor) -> None:
    before = features.clone(), bank.clone()
    ood_scores(features, bank, self_index=torch.arange(37))
    assert torch.equal(features, before[0]) and torch.equal(bank, before[1])


def test_blocks_cover_the_matrix_once_and_keep_to_their_bytes(features: torch.Tensor, bank: torch.Tensor) -> None:
    covered = np.zeros((37, 53))
    for rows, blocks in cosine_blocks(features, bank, chunk_bytes=1024, scale=2.0):
        for columns, block in blocks:
            assert block.nbytes <= 1024
            covered[rows, columns] += block.numpy()
    np.testing.assert_allclose(covered, 2 * cosines(features, bank), atol=1e-6)


def test_no_queries_give_no_scores(bank: torch.Tensor) -> None:
    assert ood_scores(torch.empty(0, 24), bank).shape == (0,)


def test_bad_input_is_named(features: torch.Tensor, bank: torch.Tensor) -> None:
    broken = bank.clone()
    broken[40, 3] = torch.nan
    broken[45] = torch.inf
    with pytest.raises(BenchError, match=r"bank: 2 of the rows 0 to 52 are not finite \(the first is row 40\)"):
        ood_scores(features, broken)
    with pytest.raises(BenchError, match="features: 2 of"):
        ood_scores(broken, bank)
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BenchError, match="temperature"):
            ood_scores(features, bank, temperature)
    with pytest.raises(BenchError, match="bank of 0"):
        ood_scores(features, bank[:0])
    with pytest.raises(BenchError, match="bank of 1 "):
        ood_scores(bank[:1], bank[:1], self_index=torch.tensor([0]))
    for index in (torch.full((37,), 53), torch.full((37,), -1), torch.arange(36)):
        with pytest.raises(ValueError, match="self_index"):
            ood_scores(features, bank, self_index=index)


@pytest.mark.parametrize("chunk_bytes", [4 * 40, 16 * 2**20])
def test_a_weight_is_that_many_copies_of_the_row(features: torch.Tensor, bank: torch.Tensor, chunk_bytes: int) -> None:
    copies = torch.arange(len(bank)) % 4 + 1
    weighted = ood_scores(features, bank, 0.04, chunk_bytes=chunk_bytes, weights=copies.float())
    repeated = ood_scores(features, bank.repeat_interleave(copies, dim=0), 0.04)
    torch.testing.assert_close(weighted, repeated, rtol=0, atol=1e-5)
    assert not torch.allclose(weighted, ood_scores(features, bank, 0.04), atol=1e-3)
    for bad in (torch.zeros(len(bank)), torch.ones(3)):
        with pytest.raises(ValueError, match="weights"):
            ood_scores(features, bank, weights=bad)


MEMORY = """
import resource, torch
from benchmark.detection.scores import ood_scores
torch.set_num_threads(1)
chunk = 4 * 2**20
few, many = torch.randn(2_000, 16), torch.randn(30_000, 16)
ood_scores(few, few[:1], chunk_bytes=chunk)  # the libraries' own buffers come at their first use
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
ood_scores(few, many, chunk_bytes=chunk)
middle = peak()
ood_scores(many, few, chunk_bytes=chunk)
print(middle - before, peak() - middle)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_memory_is_bounded_whatever_the_number_of_images() -> None:
    # The whole matrix would be 240 MB; the allowance is for the block and its normalised rows.
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    grown = [int(kib) for kib in done.stdout.split()]
    assert len(grown) == 2 and max(grown) < 20 * 1024, f"{grown} KiB"


def test_scores_keep_no_graph_whatever_they_are_given() -> None:
    features = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    assert not ood_scores(features, features.detach()).requires_grad
