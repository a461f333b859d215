"""merge.json: its format, the fields of a plan, and the keys that readers of 0.1.0 know."""

import json
import shutil
from dataclasses import replace

import pytest
from adapter_files import reseal

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.config import MergeConfig
from housebrain_core.display.results import show
from housebrain_core.llm.losses import Difference
from housebrain_core.merge.compute import Recipe, compute_merge
from housebrain_core.merge.merged_files import describe_merged_adapter
from housebrain_core.merge.result import Validation, common_value, describe_merge
from housebrain_core.merge.validation import describe_difference

KEYS = {"strategy", "rank", "rank_setting", "scale", "inputs", "cosines", "warnings", "retained_energy",
        "relative_error", "error_of_strategy", "density", "spectrum", "modules"}  # fmt: skip


def on_leg(folder, target, leg: int, parent: str):
    """A copy of an adapter as if it had been trained in a leg of a plan."""
    shutil.copytree(folder, target)
    place = {"plan": "abc", "leg": leg, "legs": 3, "parent_sha256": parent}
    run = json.loads((target / "run.json").read_text()) | place
    (target / "run.json").write_text(json.dumps(run))
    reseal(target)
    return read_adapter(target)


def result_of(adapters, validation=None, **more):
    config = MergeConfig(models=[adapter.folder for adapter in adapters], **more)
    weights = [1 / len(adapters)] * len(adapters)
    return describe_merge(config, compute_merge(adapters, Recipe(config.strategy, weights), config.rank), validation)


def test_the_record_has_a_format_the_plan_that_all_agree_on_and_the_keys_of_before(adapters, tmp_path):
    copies = [on_leg(folder, tmp_path / folder.name, 2, "f" * 64) for folder in adapters]
    contents = json.loads(json.dumps(result_of(copies).to_dict()))
    assert contents["format"] == 2
    place = {"plan": "abc", "leg": 2, "legs": 3, "parent_sha256": "f" * 64}
    assert {name: contents[name] for name in place} == place
    assert set(contents) == KEYS | {"format", "NOTICE", "outer_rate", "warning", "inherited", "selection", *place}
    assert set(result_of([read_adapter(folder) for folder in adapters]).to_dict()) == set(contents) - {"NOTICE"}
    first = contents["inputs"][0]
    assert set(first) == {"name", "sha256", "weight", "split", "checked", "norm", "cosine_to_others"}
    assert first["split"] == [copies[0].dataset, 3, 1] and first["checked"] is True
    assert all(set(row) == {"norm", "retained_energy", "relative_error"} for row in contents["modules"].values())


def test_inputs_of_different_legs_are_of_none(adapters, tmp_path):
    copies = [on_leg(folder, tmp_path / folder.name, leg, "f" * 64) for leg, folder in enumerate(adapters, 1)]
    result = result_of(copies)
    assert (result.leg, result.legs, result.parent_sha256) == (None, 3, "f" * 64)
    assert common_value([]) is None


def test_a_validation_is_written_with_its_difference_by_name(adapters):
    opened = [read_adapter(folder) for folder in adapters]
    validation = Validation(
        {"base": 2.0, opened[0].name: 1.5},
        opened[0].name,
        Difference(-0.1, -0.2, 0.0),
        "better",
        samples=3,
        chosen_on=0,
        evaluations=[],
    )
    contents = replace(result_of(opened), validation=validation).to_dict()["validation"]
    assert contents["difference"] == {"mean": -0.1, "low": -0.2, "high": 0.0}
    assert contents["losses"] == {"base": 2.0, opened[0].name: 1.5} and contents["evaluations"] == []


@pytest.mark.parametrize(("count", "said"), [(3, []), (2, ["nothing of split 3 is in this merge"])])
def test_splits_that_are_missing_are_a_warning(count, said, adapters):
    assert result_of([read_adapter(folder) for folder in adapters[:count]]).warnings == said


def judged(adapters, low: float, **run):
    """A merge whose loss is so much higher than that of the best split, hb-best."""
    losses = {"base": 1.0, "hb-best": 0.4, "merged": 0.4 + low}
    difference = Difference(low, low, low)
    words = describe_difference("hb-best", difference, 0.6)
    validation = Validation(losses, "hb-best", difference, words, samples=9, chosen_on=0, evaluations=[])
    opened = [read_adapter(folder) for folder in adapters]
    changed = [replace(adapter, run=adapter.run.model_copy(update=run)) for adapter in opened]
    return result_of(changed, validation)


def test_a_merge_that_is_worse_than_its_best_split_says_so_first_everywhere(adapters, capsys):
    result = judged(adapters, 0.1)
    (notice,) = result.notices
    assert notice.startswith("WARNING: THE MERGE IS WORSE than the best split, hb-best, by 0.1000 nats per token")
    assert "Use hb-best alone" in notice and "--rounds 3" in notice and "--relay" in notice
    text = json.dumps(result.to_dict(), sort_keys=True)
    assert text.startswith('{"NOTICE": ["WARNING: THE MERGE IS WORSE')
    assert describe_merged_adapter("some/base", result).partition("\n---\n")[2].startswith(f"\n**{notice}**\n")
    shown = list(result.outputs())
    assert shown[0] == notice and [figure.alt[:8] for figure in shown[1:]] == ["Validati", "Singular"]
    show(result)
    assert capsys.readouterr().out.startswith("WARNING: THE MERGE IS WORSE")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.3, "Merged by ties it would be better by 0.2000 nats per token"),
        (-0.3, -0.1, "No other way to merge did better: the next, ties, is worse"),
        (-0.1, 0.5, "Keep this one."),
    ],
)
def test_the_best_other_way_to_merge_is_named_with_what_to_do(low, high, said, adapters):
    result = judged(adapters, -0.1)
    rival = {"rival": "ties", "rival_difference": Difference((low + high) / 2, low, high)}
    result = replace(result, validation=replace(result.validation, **rival))
    assert said in result.outputs()[0]
    assert result.to_dict()["validation"]["rival_difference"]["low"] == low


def test_before_the_last_leg_a_worse_merge_says_to_go_on(adapters):
    worse, unfinished = judged(adapters, 0.1, plan="abc", leg=1, legs=3).notices
    assert worse.startswith("WARNING: THE MERGE IS WORSE") and "Go on with the plan" in worse
    assert unfinished.startswith("NOT A FINISHED MODEL: this is leg 1 of 3")


def test_a_better_merge_has_no_notice_and_shows_spectrum_and_losses(adapters):
    result = judged(adapters, -0.1)
    assert result.notices == [] and "NOTICE" not in result.to_dict()
    words, losses, spectrum = result.outputs()
    assert words.startswith("The merge is better than the best split, hb-best, by 0.1000 nats per token")
    assert words.splitlines()[-1].startswith("Next: judge its designs")
    curve, rank = spectrum.axes[0].lines
    assert curve.get_ydata().tolist() == result.spectrum and list(rank.get_xdata()) == [result.rank] * 2
    widths = [bar.get_width() for bar in losses.axes[0].patches]
    assert widths == pytest.approx([1.0, 0.4, 0.3]), "the lowest on top"
    assert losses.alt == "Validation loss in nats per token: merged 0.3000, hb-best 0.4000, base 1.0000."


def test_a_merge_of_merges_hands_on_what_was_said_of_them(adapters):
    text = "WARNING: THE MERGE IS WORSE than the best split, hb-best"
    result = judged(adapters, -0.1, warning=text)
    assert result.inherited == result.notices == [f"{folder.name}: {text}" for folder in adapters]
