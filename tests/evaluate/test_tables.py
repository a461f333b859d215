"""An evaluation as tables and figures: every number in its place, and - where there is none."""

import pytest

from housebrain_core.evaluate.report import write_report
from housebrain_core.evaluate.results import (
    DistributionResult,
    Evaluation,
    ModelResult,
    RatesResult,
    ReferenceResult,
    RuleResult,
)
from housebrain_core.evaluate.tables import draw_losses, draw_rates, show_evaluation, tabulate_models, tabulate_rules
from housebrain_core.evaluate.verdict import conclude

RATES = {
    "invalid_json": 0.5,
    "strict_parse": 0.5,
    "repaired_parse": 0.75,
    "schema_valid": 0.25,
    "schema_valid_repaired": 0.5,
}


def model(loss, floor, score, passed):
    intervals = {name: (rate - 0.1, rate + 0.1) for name, rate in RATES.items()}
    return ModelResult(
        loss_nats_per_token=loss,
        loss_interval=(loss, loss),
        loss_nats_per_sample=loss,
        floor_nats_per_token=floor,
        loss_above_floor=None if floor is None else loss - floor,
        rates=RatesResult(**RATES, intervals=intervals),
        kinds={},
        exactness={},
        same=0.25,
        same_interval=(0.1, 0.4),
        rooms=0.5,
        most_probable=0.5,
        distribution=DistributionResult(designs=0, fields={}),
        tokens_per_second=1.0,
        **scores(score, passed),
    )


def scores(score, passed):
    rules = {
        "stairs": RuleResult(passed=passed, applicable=4, not_applicable=0, share=passed / 4),
        "doors": RuleResult(passed=0, applicable=0, not_applicable=4, share=None),
    }
    return {"checked": 4, "rules": rules, "rule_score": score, "hard_score": score, "soft_score": score,
            "all_hard": passed / 4}  # fmt: skip


@pytest.fixture
def result():
    return Evaluation(
        data="housebrain_splits",
        loss_samples=4,
        samples=4,
        constrained=False,
        drawn=["soil", "water_table"],
        limits={},
        reference=ReferenceResult(exactness={}, **scores(0.9, 4)),
        models={"first": model(0.5, 0.4, 0.8, 3), "second": model(0.75, 0.4, None, 0)},
        pairs=[],
    )


def test_the_models_stand_below_the_reference(result):
    table = tabulate_models(result)
    assert table.rows == [
        ("reference", "", "", "", "", "", "90.0%", "100.0%", "", ""),
        ("first (best)", "0.5000", "+0.1000", "50.0%", "75.0%", "25.0%", "80.0%", "75.0%", "25.0%", "50.0%"),
        ("second", "0.7500", "+0.3500", "50.0%", "75.0%", "25.0%", "", "0.0%", "25.0%", "50.0%"),
    ]
    assert "not known" not in str(table)


@pytest.mark.parametrize(("text", "columns"), [(False, ("strict", "repaired")), (True, ())])
def test_of_other_data_than_houses_only_what_says_something_is_shown(text, columns, result, tmp_path):
    nothing = result.reference.model_copy(update={"checked": 0})
    result = result.model_copy(update={"reference": nothing, "text": text, "drawn": []})
    table = tabulate_models(result)
    assert table.columns == ("model", "nats/token", "above", *columns, "same", "rooms")
    assert [row[0] for row in table.rows] == ["first (best)", "second"]
    assert not {"schema", "rules", "hard", *({"strict"} if text else set())} & {
        n.partition(":")[0] for n in table.notes
    }
    assert ("JSON" in " ".join(conclude(result))) is not text
    answers = tmp_path / "answers.jsonl"
    answers.write_text("")
    page = write_report(result, answers, tmp_path / "report.html").read_text()
    assert "Rule checks" not in page and "fit the schema<" not in page and "<th>exactly right" not in page
    assert ("<th>JSON</th>" in page) is not text and "<h2>Answers</h2>" in page


def test_an_unknown_floor_is_said(result):
    result = result.model_copy(update={"models": {"only": model(0.5, None, 0.8, 3)}})
    table = tabulate_models(result)
    assert "above" not in table.columns and "own entropy is not known here" in str(table), "no column of nothing"
    assert not draw_losses(result).axes[0].lines


def test_designs_are_exact_where_fields_are_drawn_and_the_same_as_the_reference_where_none_is(result):
    table = tabulate_models(result)
    assert "exact" in table.columns and "what was drawn there: soil, water table." in str(table)
    table = tabulate_models(result.model_copy(update={"drawn": []}))
    assert "same" in table.columns and "the same as the reference in everything" in str(table)


def test_rules_that_designs_break_are_counted_of_those_that_apply_and_coloured(result):
    table = tabulate_rules(result)
    assert table.columns == ("rule", "reference", "first", "second", "what it asks")
    asks = "Neighbouring levels are joined by a stair that is wide and long enough."
    assert table.rows == [("stairs", "4 of 4", "3 of 4", "0 of 4", asks)]
    assert table.alarms == [1.0] and "rgba(213, 94, 0, 0.50)" in table.to_html()
    assert "1 of 2 rule checks are kept by every design that they apply to." in table.notes


def test_where_every_rule_is_kept_a_sentence_stands_for_the_table(result):
    kept = result.model_copy(update={"models": {"only": model(0.5, None, 0.8, 4)}})
    assert tabulate_rules(kept) == "2 of 2 rule checks are kept by every design that they apply to."


def test_the_figures_have_the_same_numbers(result):
    axes = draw_losses(result).axes[0]
    assert sorted(bar.get_width() for bar in axes.patches) == [0.5, 0.75]
    assert [line.get_xdata()[0] for line in axes.lines] == [0.4]
    assert "first 50%, second 50%" in draw_rates(result).alt


def test_a_terminal_gets_the_verdict_and_both_tables(result, capsys):
    show_evaluation(result)
    printed = capsys.readouterr().out
    assert printed.endswith(f"{tabulate_models(result)}\n\n{tabulate_rules(result)}\n")
    assert printed.startswith("first did best of 2 models")
