"""The merge by algebra, in small matrices: truncation, inner products, adapters that are nearly alike."""

import numpy as np
import pytest
from adapter_files import make_adapter
from factors import assert_close, dense, product_of, random_pairs, updates_of

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.adapters.updates import Spectrum, choose_rank, decompose, gram, rewrite_update


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


@pytest.mark.parametrize(("rank", "alpha"), [(2, 4), (3, 3), (8, 16)])
def test_an_update_is_the_same_at_another_rank_and_alpha_and_its_factors_are_balanced(rank, alpha, tmp_path):
    adapter = read_adapter(make_adapter(tmp_path / "a"), accept_plain=True)
    written = rewrite_update(adapter, rank, alpha)
    assert written.kept == pytest.approx(1) and set(written.factors) == set(adapter.shapes)
    for module, (b, a) in written.factors.items():
        assert (b.shape[1], a.shape[0]) == (rank, rank) and b.dtype == a.dtype == np.float32
        assert_close(alpha / rank * dense((b, a)), dense(adapter.factors(module)))
        values = np.linalg.svd(dense(adapter.factors(module)), compute_uv=False)[:2]
        for factor in (b, a):
            assert np.linalg.svd(factor, compute_uv=False)[:2] == pytest.approx(
                np.sqrt(values * rank / alpha), rel=1e-5
            )
        assert not b[:, 2:].any() and not a[2:].any(), "directions that it does not have"


def test_a_lower_rank_keeps_the_share_of_energy_that_the_dense_svd_says(tmp_path):
    adapter = read_adapter(make_adapter(tmp_path / "a"), accept_plain=True)
    written = rewrite_update(adapter, 1, 2)
    values = np.stack([np.linalg.svd(dense(adapter.factors(m)), compute_uv=False)[:2] for m in adapter.shapes])
    assert written.kept == pytest.approx(np.square(values[:, 0]).sum() / np.square(values).sum(), rel=1e-6)
