"""Norms, angles and verdicts by hand: untrained, twins, outliers."""

import numpy as np
import pytest

from housebrain_core.adapters.comparison import Geometry, judge_updates, moves_from_last


def test_norms_and_angles_by_hand():
    """Updates (3, 0), (0, 4) and (3, 4) as vectors."""
    vectors = np.array([[3.0, 0.0], [0.0, 4.0], [3.0, 4.0]])
    geometry = Geometry(vectors @ vectors.T)
    assert geometry.norms == [3, 4, 5]
    assert geometry.cosines[0].tolist() == pytest.approx([1, 0, 0.6])
    assert geometry.cosines_to_others[2] == pytest.approx(1.0), "(3, 4) is the sum of the others"
    assert Geometry(np.array([[9.0]])).cosines_to_others == [None]


def test_untrained_twins_and_outliers_are_told_apart():
    vectors = np.array([[1.0, 0], [1, 0], [0, 0], [-1, 0.1], [0.9, 9]])
    verdicts = judge_updates(list("abcde"), Geometry(vectors @ vectors.T), list("abcde"))
    assert verdicts[1].refused == ("the same update as a: one split submitted twice",)
    assert verdicts[2].refused == ("untrained: every B is zero, or as it was when training began",)
    assert "points away" in verdicts[3].odd[0] and "times the median" in verdicts[4].odd[0]
    assert not verdicts[0].refused and not verdicts[0].odd


def test_an_adapter_that_points_elsewhere_than_the_others_is_an_outlier():
    """Four updates with cosines of 0.9 to each other, and one that is nearly at right angles to them."""
    inner = np.full((5, 5), 0.9)
    np.fill_diagonal(inner, 1)
    inner[4, :4] = inner[:4, 4] = 0.1
    *others, last = judge_updates(list("abcde"), Geometry(inner), ())
    assert last.odd == ("outlier: it points elsewhere (cosine 0.10, the median is 0.89)",)
    assert not any(verdict.odd for verdict in others)


def test_of_two_adapters_each_is_measured_by_the_other():
    verdicts = judge_updates(["a", "b"], Geometry(np.diag([1.0, 400.0])), ())
    assert [verdict.odd for verdict in verdicts] == [("outlier: its norm is 0.05 times that of b",), ()]


def test_moves_are_the_differences_from_the_start_and_rounding_is_none():
    """Updates (10, 1), (10, -2) and (10, 1e-9), all from (10, 0)."""
    vectors = np.array([[10.0, 1.0], [10.0, -2.0], [10.0, 1e-9], [10.0, 0.0]])
    moves = Geometry(moves_from_last(vectors @ vectors.T))
    assert moves.norms == pytest.approx([1, 2, 0])
    assert moves.cosines[0, 1] == pytest.approx(-1), "though the updates themselves are nearly alike"
    assert judge_updates(list("abc"), moves, ())[2].refused[0].startswith("untrained")
