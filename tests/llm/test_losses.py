"""Losses and their 95 % intervals, against figures worked out by hand and against simulated data."""

import itertools
import math
import random
import statistics
from types import SimpleNamespace

import pytest

from housebrain_core.llm.losses import Losses, compare_losses, ratio_interval, tokens_in_fields, wilson_interval


def test_the_mean_loss_counts_tokens_not_samples():
    assert Losses([6.0, 1.0], [3, 1]).mean == 7 / 4
    assert Losses([6.0, 1.0], [3, 1], [True, False]).exact_share == 0.5 and Losses([], []).exact_share == 0.0


def test_a_difference_is_that_of_the_means_and_changes_its_sign_with_the_order():
    one, other = Losses([6.0, 1.0, 2.0], [3, 1, 2]), Losses([3.0, 1.5, 1.0], [3, 1, 2])
    difference, turned = compare_losses(one, other), compare_losses(other, one)
    assert difference.mean == pytest.approx(one.mean - other.mean)
    assert turned == pytest.approx((-difference.mean, -difference.high, -difference.low))
    assert difference.low < difference.mean < difference.high


def test_tokens_that_touch_a_fields_value_are_found_and_its_name_elsewhere_is_not(tokenizer):
    text = '{"wall":"Wood","features":["gas"],"levels":[{"soil":7}],"soil":"Clay"}'
    pieces = ['{"wall":"', "Wood", '","features":["g', 'as"],"levels"', ':[{"soil":7}],"soil":"Cl', "ay", '"}']
    found = tokens_in_fields(tokenizer(pieces), text, ("soil", "features"))
    assert found == [False, False, True, True, True, True, True, False]  # the last piece begins with the closing quote
    assert tokens_in_fields(tokenizer(pieces), text, ()) == [False] * 8


@pytest.fixture
def tokenizer():
    """Makes a tokenizer whose tokens are given pieces of a text."""

    def make(pieces):
        ends = list(itertools.accumulate(map(len, pieces)))
        places = list(zip([0, *ends], ends, strict=False))
        return lambda text, **options: SimpleNamespace(offset_mapping=places)

    return make


def test_equal_losses_have_no_width():
    one = Losses([2.0, 4.0], [1, 2])
    assert compare_losses(one, one) == (0, 0, 0)
    assert ratio_interval([2.0, 4.0], [1, 2]) == (2, 2)
    assert ratio_interval([3.0], [2]) == (1.5, 1.5)


def test_with_equal_weights_it_is_the_interval_of_a_mean():
    values = [1.0, 2.0, 4.0, 9.0]
    low, high = ratio_interval(values, [1] * 4)
    half = 1.96 * statistics.stdev(values) / math.sqrt(4)
    assert (low, high) == pytest.approx((4 - half, 4 + half))


def test_the_interval_holds_the_truth_about_95_times_in_100():
    dice, inside = random.Random(3), 0
    for _ in range(400):
        weights = [dice.randint(5, 50) for _ in range(60)]
        values = [weight * 0.7 + dice.gauss(0, 3) for weight in weights]
        low, high = ratio_interval(values, weights)
        inside += low <= 0.7 <= high
    assert 0.90 <= inside / 400 <= 0.99


@pytest.mark.parametrize(
    ("count", "total", "interval"), [(0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0)), (50, 100, (0.4038, 0.5962))]
)
def test_shares_have_wilsons_interval(count, total, interval):
    assert wilson_interval(count, total) == pytest.approx(interval, abs=1e-4)
