"""The page of an evaluation from a few answers: examples of failures, best and worst drawing; see test_evaluate.py."""

import json
import re

import pytest
from test_tables import result as make_result
from test_verdict import many

from housebrain_core.evaluate import report
from housebrain_core.evaluate.report import SHOWN_CHARACTERS, ModelSection, describe_model, write_report
from housebrain_core.house import codec

result = make_result


RULES = [{"name": "stairs", "formula": "a", "unit": "ft", "kind": "hard", "source": "b"}]


@pytest.fixture
def rows(samples) -> list[dict]:
    """Two good answers, one in a fence, and a long one that is no JSON."""
    pairs = [(sample["input"], codec.encode(sample).completion) for sample in samples[:3]]
    texts = [pairs[0][1], pairs[1][1], f"```json\n{pairs[2][1]}\n```", "<b>" * 1000]
    briefs = [brief for brief, _ in pairs] + [samples[3]["input"]]
    return [
        {"model": "first", "brief": brief, "text": text, "tokens": 9, "complete": True}
        for brief, text in zip(briefs, texts, strict=True)
    ]


def test_each_kind_of_failure_has_an_example_and_designs_their_best_and_worst(rows):
    section = describe_model("first", rows, {"ok": 2, "fenced": 1, "no_json": 1}, {})
    assert section.kinds[0] == ("ok", 2)
    assert {failure.kind: count for failure, count in section.failures} == {"fenced": 1, "no_json": 1}
    assert all(len(failure.text) <= SHOWN_CHARACTERS + 4 for failure, _ in section.failures)
    best, worst = section.drawings
    assert (best.title, worst.title) == ("best design", "worst design") and best.score >= worst.score
    assert best.figure.src.startswith("data:image/png;base64,") and "drawn to scale" in best.figure.alt


def test_a_model_without_any_design_has_no_drawing():
    rows = [{"brief": {}, "text": "no", "tokens": 1, "complete": True}]
    assert describe_model("first", rows, {"no_json": 1}, {}).drawings == []


@pytest.mark.slow
def test_the_page_escapes_what_a_model_wrote_and_needs_nothing_from_outside(result, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "rule_table", lambda: RULES)
    answers = tmp_path / "answers.jsonl"
    answers.write_text("\n".join(json.dumps(row) for row in [*rows, *({**row, "model": "second"} for row in rows)]))
    text = write_report(result, answers, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;&lt;b&gt;" in text and "<b><b>" not in text
    assert "first" in text and "second" in text
    assert "http://" not in text and "<script src" not in text
    assert text.index("first did best of 2 models") < text.index("<table")
    assert text.count("<img") == text.count('<img alt="') and 'alt=""' not in text
    assert "prefers-color-scheme: dark" in text and ">-<" not in text


@pytest.mark.slow
def test_twenty_models_with_long_names_stay_readable(result, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "rule_table", lambda: RULES)
    monkeypatch.setattr(report, "describe_model", lambda name, *more: ModelSection(name, [("ok", 2)], [], []))
    answers = tmp_path / "answers.jsonl"
    answers.write_text("")
    wide = many(result)
    text = write_report(wide, answers, tmp_path / "report.html").read_text(encoding="utf-8")
    table = text[text.index("<table") : text.index("</table")]
    assert table.count("<tr") == 22 and "20-of-20</abbr> (best)" in table
    assert not re.search(r"[^\s<>]{32}", re.sub("<[^>]*>", " ", table)), "no cell is wider than a phone"
    assert len(re.findall("behind the best", text)) == 1 and "Names in full" in text
    assert len(text) < 400_000


def test_the_table_of_rules_has_their_formulas_and_no_functions():
    table = report.rule_table()
    assert [row["name"] for row in table] == [rule.name for rule in report.RULES]
    assert all(row["formula"] and "check" not in row for row in table)
