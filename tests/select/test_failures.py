"""On what a model fails: kinds by hand, an evaluation's briefs, and a model that is tried now."""

import copy
import json
from pathlib import Path

import pytest

from housebrain_core.data.samples import read_samples
from housebrain_core.errors import DataError
from housebrain_core.house import codec
from housebrain_core.llm.decoding import Answered
from housebrain_core.select import failures
from housebrain_core.select.choice import Choice
from housebrain_core.select.failures import Trial, find_kinds
from housebrain_core.select.settings import SelectConfig


def answered(text: str, complete: bool = True) -> Answered:
    return Answered(text, 10, complete)


def short_of_parking(sample: dict) -> str:
    """The sample's completion, with a space more needed than there is."""
    design = copy.deepcopy(sample["output"])
    design["building_codes"]["parking_required"] = 7
    return codec.write_completion(sample["input"], design)


@pytest.fixture(scope="module")
def sample(samples) -> dict:
    return samples[0]


def test_kinds_of_failure_are_parse_schema_and_rules_that_the_reference_keeps(sample):
    brief, reference = sample["input"], sample["output"]
    right = codec.encode(sample).completion
    assert find_kinds(brief, answered(right), reference, ()) == set()
    assert find_kinds(brief, answered(right[:-1]), reference, ()) == {"parse"}
    assert find_kinds(brief, answered(right, complete=False), reference, ()) == {"parse"}
    assert find_kinds(brief, answered('{"wall":"Mud"}'), reference, ()) == {"schema"}
    wrong = answered(short_of_parking(sample))
    assert find_kinds(brief, wrong, reference, ()) == find_kinds(brief, wrong, reference, ["parking"]) == {"rules"}
    assert find_kinds(brief, wrong, reference, ["exits"]) == set(), "another rule was asked for"
    broken = codec.decode(brief, short_of_parking(sample))
    assert find_kinds(brief, wrong, broken, ()) == set(), "what the reference breaks too it cannot teach"


def write_evaluation(path, samples: list[dict], model: str = "merged", text=short_of_parking) -> None:
    with path.open("a") as file:
        for one in samples:
            row = {"model": model, "brief": one["input"], "text": text(one), "tokens": 9, "complete": True}
            file.write(json.dumps(row) + "\n")


def test_neighbours_of_failed_validation_briefs_are_training_samples(half_broken, tmp_path):
    validation = list(read_samples(half_broken, "validation"))
    answers = tmp_path / "evaluation.jsonl"
    write_evaluation(answers, validation, "base", lambda one: "no JSON")
    write_evaluation(answers, validation[:6])
    write_evaluation(answers, validation[6:], text=lambda one: codec.encode(one).completion)
    settings = {"evaluation": tmp_path / "evaluation.json", "failed": ["rules"], "neighbours": 3, "at_least": 1}
    choice = Choice(SelectConfig(source=half_broken, **settings), report=lambda line: None)
    choice.choose()
    wanted = "nearest to the 6 of 16 evaluated briefs on which merged failed (rules)"
    assert choice.names == [wanted]
    assert 3 <= len(choice.rows) <= 18
    briefs = {codec.dumps(one["input"]) for one in validation}
    chosen = {row.id for row in choice.rows}
    rows = [one for one in read_samples(half_broken, "train") if one["id"] in chosen]
    assert len(rows) == len(chosen) and not briefs & {codec.dumps(one["input"]) for one in rows}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("not JSON", "is not JSON"),
        ('{"a": 1}', "no file of answers"),
        ('{"model": [], "brief": 1, "text": 5, "tokens": "x", "complete": null}', "no file of answers"),
        ("other", "none of the"),
        ("no name", "is a folder; name the file"),
    ],
)
def test_an_evaluation_that_cannot_be_used_is_refused(text, said, half_broken, tmp_path, samples):
    path = tmp_path / "evaluation.jsonl"
    if text == "other":
        strange = [one | {"input": one["input"] | {"note": "elsewhere"}} for one in samples[:2]]
        write_evaluation(path, strange, text=lambda one: "{")
    elif text == "no name":
        path = Path("")
    elif text:
        path.write_text(text)
    settings = SelectConfig(source=half_broken, evaluation=path, failed=["parse"])
    with pytest.raises(DataError, match=said):
        Choice(settings, report=lambda line: None).choose()


def test_a_killed_trial_goes_on_with_the_answers_that_it_has(half_broken, base, tmp_path, monkeypatch):
    config = SelectConfig(source=half_broken, output=tmp_path / "chosen", model=base, failed=["parse"], candidates=10)
    samples = list(read_samples(half_broken, "train"))[:10]
    whole = Trial(config, samples, lambda line: None)
    failed = whole.failed()
    assert failed and set(failed) <= {one["id"] for one in samples}
    rows = whole.journal.path.read_text().splitlines()
    whole.journal.path.write_text("\n".join(rows[: len(rows) // 2]))
    again = Trial(config, samples, lambda line: None)
    known = len(again.journal.rows)
    asked = []
    answer_batches = again.llm.answer_batches

    def count(briefs, decoding, done, report):
        asked.append(len(done))
        return answer_batches(briefs, decoding, done, report)

    monkeypatch.setattr(again.llm, "answer_batches", count)
    assert again.failed() == failed and asked == [known] and 0 < known < 10


def test_the_samples_of_the_highest_loss_are_taken(half_broken, base, tmp_path, monkeypatch):
    monkeypatch.setattr(failures, "BLOCK", 7)
    monkeypatch.setattr(Choice, "_check_dependence", lambda self: None)
    settings = {"source": half_broken, "output": tmp_path / "chosen", "model": base, "highest_loss": 0.25}
    config = SelectConfig(**settings, candidates=20, at_least=1)
    choice = Choice(config, report=lambda line: None)
    choice.choose()
    drawn = next(step.left for step in choice.steps if step.text == "drawn to try the model on")
    assert (drawn, len(choice.rows)) == (20, 5)
    others = list(read_samples(half_broken, "train"))
    losses = Trial(config, others, lambda line: None).losses()
    assert len(losses) == len(others) and min(losses[row.id] for row in choice.rows) > sorted(losses.values())[40]
    assert choice.about["model"]["name"] == base.name
