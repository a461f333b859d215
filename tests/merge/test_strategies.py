"""Strategies by hand and by their dense formulas; weights as the settings and the runs say."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from factors import assert_close, dense, merged_by, random_pairs, updates_of

from housebrain_core.config import MergeConfig
from housebrain_core.errors import AdapterError
from housebrain_core.merge.strategies import (
    average_factors,
    best_alone,
    elect_signs,
    relative_weights,
    sum_updates,
    trim_elect_merge,
)


def test_ties_by_hand():
    """Entries (4, -1) and (2, 3): with all kept, the signs elected are + and +; the mean is over those that agree."""
    updates = [np.array([[4.0, -1.0]]), np.array([[2.0, 3.0]])]
    assert trim_elect_merge(updates, [0.5, 0.5], 1.0).tolist() == [[3.0, 3.0]]
    assert trim_elect_merge(updates, [0.5, 0.5], 0.5).tolist() == [[4.0, 3.0]], "only the larger entry of each is kept"


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


def test_sum_of_updates_by_hand():
    one = (np.array([[1.0], [0.0]], np.float32), np.array([[2.0, 0.0]], np.float32))
    two = (np.array([[0.0], [1.0]], np.float32), np.array([[0.0, 4.0]], np.float32))
    assert merged_by(sum_updates, [one, two], [0.5, 0.5]) == pytest.approx(np.array([[1.0, 0.0], [0.0, 2.0]]))
    apart = merged_by(average_factors, [one, two], [0.5, 0.5])
    assert apart == pytest.approx(np.array([[0.5, 1.0], [0.5, 1.0]])), "averaging A and B apart is another matrix"


def test_the_sum_in_core_space_equals_its_dense_float64_computation():
    pairs, weights = random_pairs(5, ranks=(2, 3, 4)), [0.2, 0.5, 0.3]
    assert_close(merged_by(sum_updates, pairs, weights), sum(w * dense(p) for w, p in zip(weights, pairs, strict=True)))


def test_twins_of_opposite_sign_give_zero():
    (pair,) = random_pairs(3, ranks=(2,))
    assert np.abs(merged_by(sum_updates, [pair, pair], [1.0, -1.0])).max() < 1e-6


def test_a_module_that_no_adapter_changed_merges_to_zero():
    pairs = [(0 * b, a) for b, a in random_pairs(3)]
    assert not merged_by(sum_updates, pairs, [0.5, 0.3, 0.2]).any()


def test_factors_of_different_ranks_cannot_be_averaged_apart():
    with pytest.raises(AdapterError, match="adapters of one rank"):
        average_factors(updates_of(random_pairs(5)), [0.2, 0.5, 0.3], 1.0)


def with_run(name: str, **values) -> Any:
    return SimpleNamespace(name=name, run=SimpleNamespace(**values))


@pytest.mark.parametrize(
    ("weigh_by", "lie"), [("tokens", 10**30), ("tokens", 1), ("samples", 10**9), ("validation_loss", 1e-6)]
)
def test_what_weights_are_made_of_is_doubted_where_it_is_far_from_the_others(weigh_by, lie):
    config = MergeConfig(models=[Path("a"), Path("b"), Path("c")], strategy="weighted", weigh_by=weigh_by)
    honest = 0.5 if weigh_by == "validation_loss" else 10_000
    adapters = [
        with_run("a", **{weigh_by: honest}),
        with_run("b", **{weigh_by: lie}),
        with_run("c", **{weigh_by: honest}),
    ]
    with pytest.raises(AdapterError, match="(?s)hard to believe.*b says .*--accept-outliers"):
        relative_weights(adapters, config)
    weights = relative_weights(adapters, config.model_copy(update={"accept_outliers": True}))
    assert sum(weights) == pytest.approx(1) and weights[1] != pytest.approx(1 / 3)


def test_a_loss_too_good_to_be_true_is_not_the_best_unasked():
    config = MergeConfig(models=[Path("a"), Path("b")], strategy="best")
    adapters = [with_run("a", validation_loss=0.5), with_run("b", validation_loss=0.01)]
    with pytest.raises(AdapterError, match="hard to believe"):
        best_alone(adapters, config)
    assert best_alone(adapters, config.model_copy(update={"accept_outliers": True})) == [0.0, 1.0]
    assert best_alone([with_run("a", validation_loss=0.5), with_run("b", validation_loss=0.45)], config) == [0.0, 1.0]
