"""Findings about fields where nothing but the numbers decides."""

from housebrain_core.data.columns import make_columns
from housebrain_core.data.findings import entropy_floor, learnable_from_brief, study_fields


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


def test_what_the_brief_tells_is_counted_field_by_field_and_needs_no_order():
    def sample(n: int) -> dict:
        style, site, chance = n % 5, n // 5 % 4, n * 7919 % 104729
        wall = f"wall {(3 * style + 2 * site * site) % 5}"
        return {
            "input": {"style": f"style {style}", "site": f"site {site}"},
            "output": {"wall": wall, "soil": chance % 2},
        }

    told = learnable_from_brief(study_fields(make_columns(sample(n) for n in range(4000))))
    assert told is not None and 0.3 < told <= 1.61  # of the ln 5 nats of a wall, soil being a coin


def test_designs_of_chance_hold_nothing_that_a_brief_tells():
    def sample(n: int) -> dict:
        return {"input": {"style": f"style {n % 5}"}, "output": {"soil": f"soil {n * 7919 % 104729 % 4}"}}

    assert learnable_from_brief(study_fields(make_columns(sample(n) for n in range(4000)))) == 0
    drawn = ({**sample(n), "output": {**sample(n)["output"], "rooms": [n]}} for n in range(4000))
    assert learnable_from_brief(study_fields(make_columns(drawn))) is None, "what rooms depend on is not known"
