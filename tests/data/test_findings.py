"""Findings about fields where nothing but the numbers decides."""

from housebrain_core.data.columns import make_columns
from housebrain_core.data.findings import entropy_floor, study_fields


def find(samples) -> dict:
    return {finding.name: finding for finding in study_fields(make_columns(samples))}


def test_structure_has_no_known_floor_and_says_so():
    rows = ({"input": {"n": n}, "output": {"rooms": [n * n]}} for n in range(500))
    (finding,) = study_fields(make_columns(rows))
    assert finding.kind == "free text" and finding.free is None
    assert entropy_floor([finding]) == 0


def test_two_fields_that_give_each_other_are_not_both_derivable():
    rows = ({"input": {"n": 1}, "output": {"area": n * 7 % 101, "double": 2 * (n * 7 % 101)}} for n in range(2000))
    fields = find(rows)
    assert fields["output.area"].kind == "derivable" and fields["output.double"].kind == "choice"


def test_a_formula_that_misses_some_samples_leaves_their_entropy():
    rows = ({"input": {"n": n}, "output": {"copy": n if n % 10 else -1}} for n in range(1000))
    copy = find(rows)["output.copy"]
    assert copy.kind == "nearly derivable" and copy.text == "equal to input.n in 90.0% of the samples"
    assert 0.32 < copy.free < 0.33  # of a coin that shows one side nine times in ten
