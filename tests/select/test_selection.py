"""What a selection says of itself: in words, as a table and as figures."""

from housebrain_core.select.selection import RuleShare, Selection, Step, draw_rules, draw_steps, tabulate

STEPS = [Step(text="training samples", left=200), Step(text="the reference keeps parking", left=50)]


def selection(**changes) -> Selection:
    values = {"source": "houses", "source_sha256": "0", "source_train": 200, "steps": STEPS, "notes": [], "chosen": 50,
              "conditions": ["the reference keeps parking"], "ordinary": 21, "validation": 9, "seed": 1}  # fmt: skip
    return Selection(**values | changes)


def test_the_line_for_cards_names_source_counts_and_conditions_and_is_never_too_long():
    assert selection().describe() == (
        "second round on chosen data: 50 of the 200 training samples of houses (the reference keeps parking), and 21 "
        "ordinary ones"
    )
    assert selection(ordinary=0).describe().endswith("parking)")
    assert len(selection(conditions=["a condition"] * 90).describe()) == 500


def test_the_table_has_what_is_left_and_its_share_of_what_was_before():
    assert tabulate([*STEPS, Step(text="none", left=0), Step(text="after", left=0)]).rows == [
        ("training samples", "200", ""),
        ("the reference keeps parking", "50", "25.0%"),
        ("none", "0", "0.0%"),
        ("after", "0", ""),
    ]


def test_the_verdict_comes_first_and_figures_say_in_words_what_they_show():
    shown = selection(rules={"parking": RuleShare(source=0.4, result=0.82)})
    verdict, table, *figures = shown.outputs()
    assert verdict.startswith("50 of 200 training samples (25.0%) are chosen; with 21 ordinary ones") and table.rows
    assert repr(figures[0]).endswith("parking: 50; the result, ordinary samples included: 71.")
    assert "parking 40% and 82%" in repr(draw_rules(shown)) and len(figures) == 2
    assert draw_steps(shown).png().startswith(b"\x89PNG")
