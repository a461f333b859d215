"""Entropies whose values are worked out by hand."""

import math

import numpy as np
import pytest

from housebrain_core.data.entropies import differential_entropy, entropy_of, entropy_of_codes, mutual_information


def test_mutual_information_of_equal_columns_is_their_entropy_and_of_independent_ones_chance():
    codes = np.arange(6000) % 4
    assert mutual_information(codes, codes)[0] == pytest.approx(math.log(4), abs=0.002)
    dice = np.random.default_rng(0)
    information, sigmas = mutual_information(codes, dice.integers(0, 5, 6000))
    assert information < 0.003 and abs(sigmas) < 5


def test_a_fair_choice_of_n_has_ln_n_and_a_constant_none():
    assert entropy_of(np.array([5, 5, 0, 5])) == pytest.approx(math.log(3))
    assert entropy_of_codes(np.array([True, False])) == pytest.approx(math.log(2))
    assert entropy_of(np.array([7])) == 0


def test_the_entropy_of_an_even_spread_is_the_logarithm_of_its_width():
    assert differential_entropy(np.linspace(0, 20, 64_000)) == pytest.approx(math.log(20), abs=0.01)
