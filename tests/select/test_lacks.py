"""What a model lacks: the last model of an evaluation, beside the references."""

import json

import pytest

from housebrain_core.config import EvaluateConfig
from housebrain_core.errors import DataError
from housebrain_core.evaluate.evaluate import evaluate_models
from housebrain_core.select.lacks import Lacks, find_lacks


def test_rules_that_some_references_keep_and_most_break_come_first():
    rules = {"far_limit": (0.0, 0.0), "height_limit": (0.64, 0.5), "parking": (0.38, None), "stairs": (1.0, 0.2)}
    lacks = Lacks("merged", 40, 3, rules)
    assert lacks.verdict() == (
        "3 of 40 answers of merged are no design. Rules that most references break, of those that some keep: parking, "
        "height_limit."
    )
    assert lacks.tabulate().rows[2] == ("parking", "38.0%", "-")
    assert "height_limit 64% and 50%" in repr(lacks.draw()) and len(lacks.outputs()) == 3
    assert "rules choose nothing here" in Lacks("merged", 40, 0, {"stairs": (1.0, 1.0)}).verdict()
    assert lacks.tabulate().notes == ("0 of 4 rules are kept by all of them.",)
    kept = Lacks("merged", 40, 0, {"stairs": (1.0, 1.0), "parking": (1.0, None), "exits": (1.0, 0.9)})
    assert [row[0] for row in kept.tabulate().rows] == ["exits"] and "stairs" not in repr(kept.draw())
    for rules in ({}, {"exits": (1.0, 1.0)}):
        assert len(Lacks("merged", 40, 0, rules).outputs()) == 1


def test_an_evaluation_is_read_and_anything_else_refused(adapters, splits, base, tmp_path):
    config = EvaluateConfig(
        models=[adapters[1], adapters[0]], data=splits, base_model=str(base), samples=2, max_new_tokens=20, sampled=0,
        output=tmp_path / "evaluation.json",
    )  # fmt: skip
    evaluate_models(config, report=lambda line: None)
    assert adapters[0].name < adapters[1].name, "it is the last one given, not the last one by its name"
    lacks = find_lacks(config.output)
    assert (lacks.model, lacks.answers, lacks.failed) == (adapters[0].name, 2, 2)
    assert lacks.rules["parking"] == (1.0, None)
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "nobody.json").write_text(json.dumps(json.loads(config.output.read_text()) | {"models": {}}))
    for name in ("other.json", "missing.json", "nobody.json"):
        with pytest.raises(DataError, match=f"{name} is no evaluation"):
            find_lacks(tmp_path / name)
