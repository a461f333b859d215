"""The merge by algebra, in small matrices: strategies, truncation, inner products, adapters that are nearly alike."""

import math

import numpy as np
import pytest

from housebrain_core.adapters.updates import ModuleUpdates, Spectrum, choose_rank, decompose, gram
from housebrain_core.merge.strategies import average_factors, elect_signs, sum_updates, trim_elect_merge


def random_pairs(seed: int, ranks: tuple[int, ...] = (2, 3, 1), size: tuple[int, int] = (12, 9)) -> list:
    """(B, A) of each adapter in float32."""
    generator = np.random.default_rng(seed)

    def draw(*shape):
        return generator.standard_normal(shape).astype(np.float32)

    return [(draw(size[0], rank), draw(rank, size[1])) for rank in ranks]


def together(pairs) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([b for b, _ in pairs], axis=1), np.concatenate([a for _, a in pairs])


def updates_of(pairs) -> ModuleUpdates:
    b, a = together(pairs)
    return ModuleUpdates([len(one) for _, one in pairs], gram(b), gram(a.T))


def dense(pair) -> np.ndarray:
    return pair[0].astype(np.float64) @ pair[1].astype(np.float64)


def merged_by(combine, pairs, weights, density=1.0) -> np.ndarray:
    """Through the cores, back as a matrix."""
    updates = updates_of(pairs)
    return product_of(decompose(updates, combine(updates, weights, density)), pairs)


def product_of(found, pairs, rank: int | None = None) -> np.ndarray:
    """The merged update in float64, truncated to a rank; its factors are in float32, as they are written."""
    b, a = together(pairs)
    return dense((b @ found.left[:, :rank], found.right[:rank] @ a))


def assert_close(found: np.ndarray, exact: np.ndarray) -> None:
    assert np.linalg.norm(found - exact) <= 1e-6 * np.linalg.norm(exact)


def test_sum_of_updates_by_hand():
    one = (np.array([[1.0], [0.0]], np.float32), np.array([[2.0, 0.0]], np.float32))
    two = (np.array([[0.0], [1.0]], np.float32), np.array([[0.0, 4.0]], np.float32))
    assert merged_by(sum_updates, [one, two], [0.5, 0.5]) == pytest.approx(np.array([[1.0, 0.0], [0.0, 2.0]]))
    apart = merged_by(average_factors, [one, two], [0.5, 0.5])
    assert apart == pytest.approx(np.array([[0.5, 1.0], [0.5, 1.0]])), "averaging A and B apart is another matrix"


def test_ties_by_hand():
    """Entries (4, -1) and (2, 3): with all kept, the signs elected are + and +; the mean is over those that agree."""
    updates = [np.array([[4.0, -1.0]]), np.array([[2.0, 3.0]])]
    assert trim_elect_merge(updates, [0.5, 0.5], 1.0).tolist() == [[3.0, 3.0]]
    assert trim_elect_merge(updates, [0.5, 0.5], 0.5).tolist() == [[4.0, 3.0]], "only the larger entry of each is kept"


def test_the_sum_in_core_space_equals_its_dense_float64_computation():
    pairs, weights = random_pairs(5, ranks=(2, 3, 4)), [0.2, 0.5, 0.3]
    assert_close(merged_by(sum_updates, pairs, weights), sum(w * dense(p) for w, p in zip(weights, pairs, strict=True)))


def test_factors_averaged_apart_in_core_space_equal_their_dense_float64_computation():
    pairs, weights = random_pairs(5, ranks=(2, 2, 2)), [0.2, 0.5, 0.3]
    b, a = (sum(w * pair[side].astype(np.float64) for w, pair in zip(weights, pairs, strict=True)) for side in (0, 1))
    assert_close(merged_by(average_factors, pairs, weights), b @ a)


def test_ties_of_identical_adapters_with_everything_kept_is_the_adapter():
    (pair,) = random_pairs(2, ranks=(3,))
    assert_close(merged_by(elect_signs, [pair, pair], [0.5, 0.5]), dense(pair))


def test_ties_of_adapters_of_other_ranks_equals_the_formula_on_dense_updates_at_once():
    """The formula of the paper on all updates in one array; the strategy holds one at a time."""
    updates = np.stack([dense(pair) for pair in random_pairs(11, ranks=(1, 3, 2, 4), size=(9, 7))])
    weights = np.array([0.1, 0.4, 0.3, 0.2])
    kept = math.ceil(0.3 * 63)
    smallest = np.sort(np.abs(updates).reshape(4, -1), axis=1)[:, -kept]
    trimmed = np.where(np.abs(updates) >= smallest[:, None, None], updates, 0)
    shares = weights[:, None, None] * trimmed
    sign = np.sign(shares.sum(0))
    agree = np.sign(trimmed) == sign
    exact = (shares * agree).sum(0) / np.clip((weights[:, None, None] * agree).sum(0), 1e-9, None)
    found = trim_elect_merge(iter(updates), weights.tolist(), 0.3)
    assert np.allclose(found, np.where(sign == 0, 0, exact), rtol=1e-12)


def test_twins_of_opposite_sign_give_zero():
    (pair,) = random_pairs(3, ranks=(2,))
    assert np.abs(merged_by(sum_updates, [pair, pair], [1.0, -1.0])).max() < 1e-6


def test_a_module_that_no_adapter_changed_merges_to_zero():
    pairs = [(0 * b, a) for b, a in random_pairs(3)]
    assert not merged_by(sum_updates, pairs, [0.5, 0.3, 0.2]).any()


def test_inner_products_are_those_of_the_dense_updates():
    pairs = random_pairs(4)
    flat = np.stack([dense(pair).ravel() for pair in pairs])
    assert np.allclose(updates_of(pairs).inner, flat @ flat.T, rtol=1e-9)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_truncation_loses_exactly_what_the_dense_svd_says(rank):
    pairs, weights = random_pairs(1, ranks=(2, 3, 4), size=(40, 30)), [0.5, 0.3, 0.2]
    exact = sum(w * dense(pair) for w, pair in zip(weights, pairs, strict=True))
    values = np.linalg.svd(exact, compute_uv=False)
    updates = updates_of(pairs)
    found = decompose(updates, updates.weighted_sum(weights))
    assert np.allclose(found.spectrum.values, values[: len(found.spectrum.values)], rtol=1e-6)
    error = np.square(exact - product_of(found, pairs, rank)).sum()
    assert float(error) == pytest.approx(float(np.square(values[rank:]).sum()), rel=1e-4)
    assert found.spectrum.lost(rank) == pytest.approx(float(error), rel=1e-4)
    fewer = decompose(updates, updates.weighted_sum(weights), keep=rank)
    assert fewer.left.shape[1] == fewer.right.shape[0] == rank, "only those directions are kept"
    assert len(fewer.spectrum.values) == len(found.spectrum.values), "all singular values are"
    assert np.array_equal(fewer.left, found.left[:, :rank])


def test_auto_rank_is_the_smallest_that_keeps_999_of_1000():
    flat, steep = Spectrum(np.ones(20)), Spectrum(np.array([1.0] * 8 + [1e-3] * 12))
    assert choose_rank("auto", [steep]) == 8
    assert choose_rank("auto", [flat]) == 20
    assert choose_rank("full", [steep]) == 20
    assert choose_rank(5, [flat]) == 5
    assert choose_rank(500, [flat, steep]) == 20, "beyond full there would be zeros only"


@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-7, 1e-3])
def test_adapters_that_are_nearly_alike_merge_to_their_mean(distance):
    """Their Gram matrices have no inverse; the merge needs none."""
    (pair,), others = random_pairs(6, ranks=(4,), size=(40, 30)), random_pairs(7, ranks=(4,) * 5, size=(40, 30))
    pairs = [
        tuple(same + np.float32(distance) * other for same, other in zip(pair, one, strict=True)) for one in others
    ]
    exact = sum(map(dense, pairs)) / 5
    updates = updates_of(pairs)
    found = decompose(updates, updates.weighted_sum([0.2] * 5))
    assert_close(product_of(found, pairs), exact)
    assert found.spectrum.energy == pytest.approx(float(np.square(exact).sum()), rel=1e-9)
    assert updates.square_norm(updates.weighted_sum([0.2] * 5)) == pytest.approx(float(np.square(exact).sum()))


@pytest.mark.parametrize("length", [1, 7, 2048, 5000])
def test_a_gram_matrix_is_that_of_the_whole_however_long_and_however_it_lies_in_memory(length):
    whole = np.random.default_rng(9).standard_normal((length, 6)).astype(np.float32)
    exact = whole.T.astype(np.float64) @ whole.astype(np.float64)
    for matrix in (whole, np.asfortranarray(whole)):
        assert np.allclose(gram(matrix), exact, rtol=1e-12)
