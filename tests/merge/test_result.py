"""merge.json: its format, the fields of a plan, and the keys that readers of 0.1.0 know."""

import json
import shutil
from dataclasses import replace

import pytest
from adapter_files import reseal

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.config import MergeConfig
from housebrain_core.llm.losses import Difference
from housebrain_core.merge.compute import Recipe, compute_merge
from housebrain_core.merge.result import Validation, common_value, describe_merge

KEYS = {"strategy", "rank", "rank_setting", "scale", "inputs", "cosines", "warnings", "retained_energy",
        "relative_error", "error_of_strategy", "density", "spectrum", "modules"}  # fmt: skip


def on_leg(folder, target, leg: int, parent: str):
    """A copy of an adapter as if it had been trained in a leg of a plan."""
    shutil.copytree(folder, target)
    run = json.loads((target / "run.json").read_text()) | {"leg": leg, "legs": 3, "parent_sha256": parent}
    (target / "run.json").write_text(json.dumps(run))
    reseal(target)
    return read_adapter(target)


def result_of(adapters, **more):
    config = MergeConfig(models=[adapter.folder for adapter in adapters], **more)
    weights = [1 / len(adapters)] * len(adapters)
    return describe_merge(config, compute_merge(adapters, Recipe(config.strategy, weights), config.rank))


def test_the_record_has_a_format_the_plan_that_all_agree_on_and_the_keys_of_before(adapters, tmp_path):
    copies = [on_leg(folder, tmp_path / folder.name, 2, "f" * 64) for folder in adapters]
    contents = json.loads(json.dumps(result_of(copies).to_dict()))
    assert contents["format"] == 2
    assert (contents["leg"], contents["legs"], contents["parent_sha256"]) == (2, 3, "f" * 64)
    assert set(contents) == KEYS | {"format", "leg", "legs", "parent_sha256"}
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
        {"base": 2.0},
        opened[0].name,
        Difference(-0.1, -0.2, 0.0),
        "better",
        "ok",
        samples=3,
        chosen_on=0,
        evaluations=[],
    )
    contents = replace(result_of(opened), validation=validation).to_dict()["validation"]
    assert contents["difference"] == {"mean": -0.1, "low": -0.2, "high": 0.0}
    assert contents["losses"] == {"base": 2.0} and contents["evaluations"] == []


@pytest.mark.parametrize(("count", "said"), [(3, []), (2, ["nothing of split 3 is in this merge"])])
def test_splits_that_are_missing_are_a_warning(count, said, adapters):
    assert result_of([read_adapter(folder) for folder in adapters[:count]]).warnings == said
