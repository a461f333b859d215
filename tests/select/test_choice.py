"""Conditions one after another: what is left, what is refused, and what ordinary samples are."""

import json
import re

import pytest

from housebrain_core.data.samples import read_samples
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.house import synthetic
from housebrain_core.house.rules import RULES, check_design
from housebrain_core.select.choice import Choice, difficulty_of
from housebrain_core.select.settings import SelectConfig


def choose(source, **settings) -> Choice:
    choice = Choice(SelectConfig(source=source, **{"at_least": 1} | settings), report=lambda line: None)
    choice.choose()
    return choice


def test_a_rule_leaves_the_samples_whose_reference_keeps_it(half_broken):
    choice = choose(half_broken, clean_rules=["room_counts"])
    samples = {sample["id"]: sample for sample in read_samples(half_broken, "train")}
    kept = [name for name, one in samples.items() if not check_design(one["input"], one["output"])["room_counts"]]
    assert {row.id for row in choice.rows} <= set(kept)
    assert 40 <= len(choice.rows) == choice.steps[-1].left <= len(kept) <= 80
    assert choice.names == ["the reference keeps room_counts"]


def test_all_has_a_step_for_each_rule_that_applies_to_a_sample(half_broken):
    with pytest.raises(DataError) as refused:
        choose(half_broken, clean_rules=["all"], at_least=1000)
    steps = re.findall(r"the reference keeps (\w+)", str(refused.value))
    sample = next(read_samples(half_broken, "train"))
    assert "parking" in steps and "stairs" in steps and len(steps) == len(set(steps)) <= len(RULES)
    findings = check_design(sample["input"], sample["output"])
    assert set(steps) >= {name for name, of in findings.items() if of is not None}


def test_rules_that_apply_to_no_sample_are_refused(tmp_path):
    rows = [{"id": str(n), "input": f"question {n}", "output": f"answer {n}"} for n in range(60)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError, match="clean_rules: parking would do nothing"):
        choose(tmp_path, clean_rules=["parking"])
    with pytest.raises(ConfigError, match="difficulty: it is for house briefs"):
        choose(tmp_path, difficulty="hardest")


def test_nothing_left_is_refused_with_the_counts_and_what_is_there(half_broken):
    with pytest.raises(DataError) as refused:
        choose(half_broken, where=["metadata.region=Mars"], clean_rules=["room_counts"])
    text = str(refused.value)
    assert "no sample is left; nothing was written" in text and "training samples" in text
    assert "metadata.region=Mars                             0" in text
    assert text.endswith('nothing: metadata.region=Mars. In the first sample metadata.region is "Demo".')


def test_too_few_are_refused_with_the_flag_that_takes_them(half_broken):
    with pytest.raises(DataError, match=r"fewer than 500(?s:.*)--at-least \d+\.$"):
        choose(half_broken, clean_rules=["room_counts"], at_least=500)


def test_thirds_by_difficulty_divide_the_samples_and_are_in_order(half_broken):
    thirds = {word: choose(half_broken, difficulty=word).rows for word in ("hardest", "middle", "easiest")}
    ids = [row.id for rows in thirds.values() for row in rows]
    assert len(ids) == len(set(ids)) == len(choose(half_broken, difficulty=0.999).training)
    assert min(map(difficulty_of, thirds["hardest"])) >= max(map(difficulty_of, thirds["middle"]))
    assert min(map(difficulty_of, thirds["middle"])) >= max(map(difficulty_of, thirds["easiest"]))
    tenth = choose(half_broken, difficulty=0.1)
    assert len(tenth.rows) == round(len(tenth.training) / 10)


def test_ordinary_samples_are_the_wanted_share_drawn_by_the_seed_from_all_others(half_broken):
    choice = choose(half_broken, clean_rules=["room_counts"], ordinary=0.2)
    drawn = choice.draw_ordinary()
    assert not {row.id for row in drawn} & {row.id for row in choice.rows}
    assert len(drawn) / (len(drawn) + len(choice.rows)) == pytest.approx(0.2, abs=0.01)
    again = choose(half_broken, clean_rules=["room_counts"], ordinary=0.2).draw_ordinary()
    other = choose(half_broken, clean_rules=["room_counts"], ordinary=0.2, seed=1).draw_ordinary()
    assert drawn == again != other
    most = choose(half_broken, clean_rules=["room_counts"], ordinary=0.9)
    assert len(most.draw_ordinary()) == len(most.training) - len(most.rows) and "there are only" in most.notes[-1]
    assert choose(half_broken, clean_rules=["room_counts"], ordinary=0).draw_ordinary() == []


def test_loss_is_refused_where_answers_do_not_follow_from_briefs_before_a_model_is_loaded(tmp_path, half_broken):
    with pytest.raises(ConfigError, match=r"highest_loss: how much .* not known of these data \(1\d\d samples\)"):
        choose(half_broken, highest_loss=0.1, model=tmp_path / "nowhere")
    rows = []
    for one, other in zip(synthetic.make_samples(900, 1), synthetic.make_samples(900, 2), strict=True):
        output = other["output"]  # of another brief, and alike in geometry, which is free text to the audit
        output["levels"] = []
        output.pop("input")
        rows.append(one | {"output": output})
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError, match=r"highest_loss: fields of the brief tell .* teach noise"):
        choose(tmp_path, highest_loss=0.1, model=tmp_path / "nowhere")
