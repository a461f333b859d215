"""The merge by algebra, in small matrices: strategies, truncation, inner products, adapters that are nearly alike."""

import math

import pytest
import torch

from housebrain_core.adapters.algebra import Spectrum, Stack, choose_rank, combine, fit, gram, stack
from housebrain_core.merge.strategies import STRATEGIES, average_factors, coefficients_of, sum_updates, trim_elect_merge


def random_pairs(seed: int, ranks: tuple[int, ...] = (2, 3, 1), size: tuple[int, int] = (12, 9)) -> list:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(size[0], r, generator=generator), torch.randn(r, size[1], generator=generator)) for r in ranks]


def blocks_of(pairs, side: int, width: int = 7) -> tuple[torch.Tensor, ...]:
    """B_cat transposed (side 0) or A_cat (side 1), a few columns at a time, as they come from files."""
    return torch.cat([pair[side] if side else pair[side].T for pair in pairs]).split(width, dim=1)


def stack_of(pairs) -> Stack:
    ranks = [a.shape[0] for _, a in pairs]
    return stack(*(gram(blocks_of(pairs, side)) for side in (0, 1)), ranks, [1.0] * len(pairs))


def dense_of(pairs, combine, weights, density=1.0) -> torch.Tensor:
    """Through the cores, back as a matrix."""
    strategy = next(strategy for strategy in STRATEGIES.values() if strategy.combine is combine)
    stacked = stack_of(pairs)
    return product_of(fit(stacked, coefficients_of(strategy, stacked, weights, density)), pairs)


def product_of(found, pairs, rank: int | None = None) -> torch.Tensor:
    """The merged update in float64, truncated to a rank."""
    kept = len(found.spectrum.values) if rank is None else rank
    b, a = (torch.full((kept + 1, blocks_of(pairs, side, 99)[0].shape[1]), torch.nan) for side in (0, 1))
    combine(found.left[:, :kept].T, blocks_of(pairs, 0), b)
    combine(found.right[:kept], blocks_of(pairs, 1), a)
    assert not b[kept:].any() and not a[kept:].any(), "the rows beyond are zero"
    return b.T.double() @ a.double()


def test_sum_of_updates_by_hand():
    one = (torch.tensor([[1.0], [0.0]]), torch.tensor([[2.0, 0.0]]))
    two = (torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0, 4.0]]))
    assert sum_updates([one, two], [0.5, 0.5]).tolist() == [[1.0, 0.0], [0.0, 2.0]]
    apart = average_factors([one, two], [0.5, 0.5])
    assert apart.tolist() == [[0.5, 1.0], [0.5, 1.0]], "averaging A and B apart is another matrix"


def test_ties_by_hand():
    """Entries (4, -1) and (2, 3): with all kept, the signs elected are + and +; the mean is over those that agree."""
    pairs = [(torch.eye(1), torch.tensor([[4.0, -1.0]])), (torch.eye(1), torch.tensor([[2.0, 3.0]]))]
    assert trim_elect_merge(pairs, [0.5, 0.5], 1.0).tolist() == [[3.0, 3.0]]
    assert trim_elect_merge(pairs, [0.5, 0.5], 0.5).tolist() == [[4.0, 3.0]], "only the larger entry of each is kept"


@pytest.mark.parametrize("strategy", [sum_updates, average_factors])
def test_strategies_in_core_space_equal_their_dense_float64_computation(strategy):
    pairs = random_pairs(5, ranks=(2, 2, 2))
    dense = strategy([(b.double(), a.double()) for b, a in pairs], [0.2, 0.5, 0.3])
    assert (dense_of(pairs, strategy, [0.2, 0.5, 0.3]) - dense).norm() <= 1e-6 * dense.norm()


def test_ties_of_identical_adapters_with_everything_kept_is_the_adapter():
    (pair,) = random_pairs(2, ranks=(3,))
    dense = pair[0].double() @ pair[1].double()
    assert (dense_of([pair, pair], trim_elect_merge, [0.5, 0.5]) - dense).norm() <= 1e-6 * dense.norm()


def test_ties_of_adapters_of_other_ranks_equals_the_formula_on_dense_updates_at_once():
    """The formula of the paper on all updates in one array; the strategy holds one at a time."""
    pairs = [(b.double(), a.double()) for b, a in random_pairs(11, ranks=(1, 3, 2, 4), size=(9, 7))]
    weights, dense = torch.tensor([0.1, 0.4, 0.3, 0.2]).double(), torch.stack([b @ a for b, a in pairs])
    kept = math.ceil(0.3 * 63)
    smallest = dense.abs().flatten(1).sort(descending=True).values[:, kept - 1]
    trimmed = torch.where(dense.abs() >= smallest[:, None, None], dense, 0)
    shares = weights[:, None, None] * trimmed
    sign = torch.sign(shares.sum(0))
    agree = torch.sign(trimmed) == sign
    exact = (shares * agree).sum(0) / (weights[:, None, None] * agree).sum(0).clamp(min=1e-9)
    found = trim_elect_merge(iter(pairs), weights.tolist(), 0.3)
    assert torch.allclose(found, torch.where(sign == 0, 0, exact), rtol=1e-12)


def test_twins_of_opposite_sign_give_zero():
    (pair,) = random_pairs(3, ranks=(2,))
    assert dense_of([pair, pair], sum_updates, [1.0, -1.0]).abs().max() < 1e-6


def test_inner_products_are_those_of_the_dense_updates():
    pairs = random_pairs(4)
    dense = torch.stack([(b.double() @ a.double()).flatten() for b, a in pairs])
    assert torch.allclose(stack_of(pairs).inner, dense @ dense.T, rtol=1e-9)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_truncation_loses_exactly_what_the_dense_svd_says(rank):
    pairs = random_pairs(1, ranks=(2, 3, 4), size=(40, 30))
    weights = [0.5, 0.3, 0.2]
    exact = sum(w * b.double() @ a.double() for w, (b, a) in zip(weights, pairs, strict=True))
    dense = torch.linalg.svdvals(exact)
    stacked = stack_of(pairs)
    found = fit(stacked, sum_updates(stacked.selections(), weights))
    assert torch.allclose(found.spectrum.values, dense[: len(found.spectrum.values)], rtol=1e-6)
    error = (exact - product_of(found, pairs, rank)).square().sum()
    assert float(error) == pytest.approx(float(dense[rank:].square().sum()), rel=1e-4)
    assert found.spectrum.lost(rank) == pytest.approx(float(error), rel=1e-4)


def test_auto_rank_is_the_smallest_that_keeps_999_of_1000():
    flat, steep = Spectrum(torch.ones(20)), Spectrum(torch.tensor([1.0] * 8 + [1e-3] * 12))
    assert choose_rank("auto", [steep]) == 8
    assert choose_rank("auto", [flat]) == 20
    assert choose_rank("full", [steep]) == 20
    assert choose_rank(5, [flat]) == 5
    assert choose_rank(500, [flat, steep]) == 20, "beyond full there would be zeros only"


@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-7, 1e-3])
def test_adapters_that_are_nearly_alike_merge_to_their_mean(distance):
    """Their Gram matrices have no inverse; the merge needs none."""
    (pair,), others = random_pairs(6, ranks=(4,), size=(40, 30)), random_pairs(7, ranks=(4,) * 5, size=(40, 30))
    pairs = [tuple(same + distance * other for same, other in zip(pair, one, strict=True)) for one in others]
    exact = sum(b.double() @ a.double() for b, a in pairs) / 5
    stacked = stack_of(pairs)
    found = fit(stacked, sum_updates(stacked.selections(), [0.2] * 5))
    assert (product_of(found, pairs) - exact).norm() <= 1e-6 * exact.norm()
    assert found.spectrum.energy == pytest.approx(float(exact.square().sum()), rel=1e-9)


def test_scalings_are_part_of_the_update_and_of_its_factors():
    pairs, scalings = random_pairs(8), [2.0, 0.5, 16.0]
    exact = sum(s * b.double() @ a.double() for s, (b, a) in zip(scalings, pairs, strict=True))
    ranks = [a.shape[0] for _, a in pairs]
    stacked = stack(gram(blocks_of(pairs, 0)), gram(blocks_of(pairs, 1)), ranks, scalings)
    assert stacked.square_norm(sum_updates(stacked.selections(), [1.0] * 3)) == pytest.approx(
        float(exact.square().sum())
    )
    found = fit(stacked, sum_updates(stacked.selections(), [1.0] * 3))
    assert (product_of(found, pairs) - exact).norm() <= 1e-6 * exact.norm()


@pytest.mark.parametrize("width", [1, 7, 500])
def test_a_gram_matrix_is_the_same_from_rows_or_columns_in_memory_and_in_blocks_of_any_width(width):
    whole = torch.randn(6, 500, generator=torch.Generator().manual_seed(9))
    exact = whole.double() @ whole.double().T
    by_columns = whole.T.contiguous().T
    for matrix in (whole, by_columns):
        assert torch.allclose(gram(matrix.split(width, dim=1)), exact, rtol=1e-12)
