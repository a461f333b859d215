"""Formulas between columns: what is read off the data, and what is not believed."""

import numpy as np
import pytest

from housebrain_core.data.columns import make_columns
from housebrain_core.data.formulas import _common_ratio, best_formula


def formula(samples):
    target, *sources = sorted(make_columns(samples), key=lambda column: column.in_brief)
    return best_formula(target, sources)


def test_a_ratio_is_common_only_where_the_quantiles_are_close():
    dice = np.random.default_rng(1)
    apart = 0
    for size in range(20, 400):
        width = dice.choice([0.0, 0.01, 0.07, 1.0])
        ratios = dice.choice([-3.0, 1.0]) + width * dice.uniform(-0.5, 0.5, size)
        low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9])
        found = _common_ratio(ratios, np.ones(size))
        if width <= 0.01:
            assert found == pytest.approx(middle, rel=0.005)
        if width == 1.0:
            assert found is None and high - low > 0.05 * abs(middle)
            apart += 1
    assert apart > 50
    assert _common_ratio(np.array([1.0, 2.0]), np.zeros(2)) is None, "nothing can be divided"


@pytest.mark.parametrize(
    ("give", "text"),
    [
        (lambda n: n, "equal to input.n"),
        (lambda n: int(0.25 * n), "int(0.25 x input.n)"),
        (lambda n: round(1.5 * n + 1e-6), "round(1.5 x input.n, 0)"),
        (lambda n: 0.125 * n, "0.125 x input.n"),
        (lambda n: ["even", "odd"][n % 2], None),
    ],
)
def test_the_formula_that_fits_is_named(give, text):
    best = formula({"input": {"n": n}, "output": {"x": give(n)}} for n in range(300, 1000))
    assert (best and best.text) == text


def test_products_and_ratios_of_two_numbers_are_tried():
    dice = np.random.default_rng(2)
    pairs = dice.integers(10, 99, (500, 2)).tolist()
    best = formula({"input": {"a": a, "b": b}, "output": {"x": a * b}} for a, b in pairs)
    assert best.text == "int(input.a x input.b)" and best.share == 1
    best = formula({"input": {"a": a, "b": b}, "output": {"x": round(3 * a / b, 2)}} for a, b in pairs)
    assert best.text == "round(3 x input.a / input.b, 2)" and best.share > 0.99


def test_a_lookup_is_a_template_where_the_value_is_in_the_text():
    rows = [{"input": {"place": place}, "output": {"code": f"IS {place}"}} for place in ("A", "B", "C") * 9]
    assert formula(rows).text == "'IS {}' with input.place"


def test_booleans_that_agree_mostly_are_no_copy():
    rows = [{"input": {"a": n % 5 != 0}, "output": {"b": n % 7 != 0}} for n in range(350)]
    assert formula(rows) is None
