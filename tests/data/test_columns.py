"""Columns of samples: every value of every field is there, with its kind."""

import math

import numpy as np
import pytest

from housebrain_core.data.columns import (
    ABSENT,
    ECHO,
    differential_entropy,
    entropy_of,
    entropy_of_codes,
    make_columns,
    mutual_information,
)


def columns_of(*pairs) -> dict:
    samples = [{"input": brief, "output": design} for brief, design in pairs]
    return {column.name: column for column in make_columns(samples)}


def read(column) -> list:
    return [column.values[code] for code in column.codes]


def test_leaves_become_columns_by_their_paths():
    columns = columns_of(({"a": {"b": 1}}, {"c": "x"}), ({"a": {"b": 2}}, {"c": "y"}), ({"a": {"b": 1}}, {"c": "x"}))
    assert list(columns) == ["input.a.b", "output.c"]
    assert read(columns["input.a.b"]) == [1, 2, 1] and read(columns["output.c"]) == ["x", "y", "x"]
    assert columns["input.a.b"].values == [1, 2] and columns["input.a.b"].codes.tolist() == [0, 1, 0]
    assert columns["input.a.b"].in_brief and not columns["output.c"].in_brief
    assert columns["input.a.b"].numbers.tolist() == [1.0, 2.0, 1.0] and not columns["output.c"].numeric


def test_a_field_that_a_sample_lacks_is_absent_wherever_it_lacks():
    columns = columns_of(({"a": 1}, {"x": "p"}), ({"b": 2}, {"x": "p"}), ({"a": 3}, {"x": "p"}), ({"b": 4}, {"x": "p"}))
    assert read(columns["input.a"]) == ["1", ABSENT, "3", ABSENT]
    assert read(columns["input.b"]) == [ABSENT, "2", ABSENT, "4"]


def test_lists_are_values_with_their_length_beside_them():
    columns = columns_of(({"n": 1}, {"rooms": [1, 2]}), ({"n": 1}, {"rooms": []}), ({"n": 1}, {"rooms": [{"a": 1}]}))
    assert read(columns["output.rooms"]) == ["[1,2]", "[]", '[{"a":1}]']
    assert read(columns["output.rooms (count)"]) == ["2", ABSENT, "1"]


def test_a_part_of_the_design_that_is_the_brief_is_one_value():
    brief = {"a": 1, "b": [2]}
    columns = columns_of((brief, {"brief": dict(brief), "x": 1}))
    assert read(columns["output.brief"]) == [ECHO] and "output.brief.a" not in columns


def test_values_that_python_calls_equal_stay_apart():
    columns = columns_of(({"a": 1}, {"x": 1}), ({"a": True}, {"x": 1.0}), ({"a": "1"}, {"x": 2}))
    assert read(columns["input.a"]) == ["1", "true", "1"] and not columns["input.a"].numeric
    assert read(columns["output.x"]) == [1.0, 1.0, 2.0] and not columns["output.x"].whole
    assert columns["output.x"].values == [1.0, 2.0]


def test_what_no_number_can_hold_is_text():
    columns = columns_of(({"a": 10**400}, {"x": None}), ({"a": 1}, {"x": {}}))
    assert read(columns["input.a"]) == [str(10**400), "1"] and read(columns["output.x"]) == ["null", "{}"]


def test_many_numbers_are_binned_by_equal_count_and_open_text_is_one_bin():
    columns = columns_of(*(({"n": n * n, "s": f"{n}", "few": n % 3}, {"x": 1}) for n in range(1600)))
    counts = np.bincount(columns["input.n"].bins)
    assert len(counts) == 16 and counts.min() == counts.max() == 100
    assert set(columns["input.s"].bins) == {0}
    assert columns["input.few"].bins.tolist() == columns["input.few"].codes.tolist()


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
