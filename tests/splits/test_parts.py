"""What a splits folder says of itself is read as it was written."""

import json

import pytest
from plans import Project

from housebrain_core.errors import ConfigError, DataError
from housebrain_core.legs import Place, TrainingPlan, plan_rounds
from housebrain_core.splits.parts import (
    SUMMARY,
    SplitPart,
    SplitSummary,
    adapter_in_leg,
    find_plan,
    read_plan,
    read_split,
    read_splits,
)


def test_a_split_is_named_by_its_number_and_platform():
    part = SplitPart(
        split_id=7,
        platform="kaggle",
        owner=None,
        train=1,
        validation=1,
        bundle="split_07.zip",
        bundle_bytes=1,
        bundle_sha256="a",
        characters=(1, 1),
        notebook=None,
    )
    assert (part.name, part.adapter) == ("split_07", "hb-kaggle-07")
    written = part.model_dump(mode="json")
    assert written["name"] == "split_07"
    assert SplitPart.model_validate(written) == part


def test_the_manifest_and_the_summary_hold_the_same_splits(splits):
    parts = read_splits(splits)
    assert [part.split_id for part in parts] == [1, 2, 3]
    assert all((splits / part.bundle).stat().st_size == part.bundle_bytes for part in parts)
    summary = SplitSummary.model_validate(json.loads((splits / SUMMARY).read_text(encoding="utf-8")))
    assert summary.parts == parts
    assert summary.train == sum(part.train for part in parts)


def test_a_summary_shows_a_row_for_each_split(splits):
    summary = SplitSummary.model_validate(json.loads((splits / SUMMARY).read_text(encoding="utf-8")))
    (table,) = summary.outputs()
    assert [row[0] for row in table.rows] == ["split_01", "split_02", "split_03"]


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="has no manifest"):
        read_splits(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"parts": [1]}, "manifest.json cannot be read: 0: "), ({"parts": None}, "cannot be read: the file: "),
     ({"plan": {"splits": 2, "legs": 5}}, "cannot be read: 0.legs: "), ({"plan": ["x"]}, "cannot be read: 0: ")],
)  # fmt: skip
def test_a_manifest_with_other_records_is_refused_naming_the_first(change, said, tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": "splits", "files": {}, "parts": []} | change))
    with pytest.raises(DataError, match=said):
        read_splits(tmp_path)
        read_plan(tmp_path)


def test_one_split_is_read_by_its_number_and_one_that_is_not_there_is_named(splits):
    assert read_split(splits, 2) == read_splits(splits)[1]
    with pytest.raises(ConfigError, match=r"split_id = 4: .*housebrain_splits has the splits 1, 2, 3\."):
        read_split(splits, 4)


def test_an_adapter_is_named_by_its_leg_where_there_are_several():
    rounds = TrainingPlan(splits=4, legs=plan_rounds(4, 3))
    assert adapter_in_leg("hb-kaggle-04", Place(plan=rounds, leg=1)) == "hb-kaggle-04-leg-1"
    assert adapter_in_leg("hb-kaggle-04", Place(plan=rounds, leg=3)) == "hb-kaggle-04-leg-3"
    assert adapter_in_leg("hb-kaggle-04", None) == "hb-kaggle-04"
    assert adapter_in_leg("hb-kaggle-04", Place(plan=TrainingPlan(splits=4, legs=plan_rounds(4, 1)), leg=1)) == (
        "hb-kaggle-04"
    )


def test_a_splits_folder_without_legs_has_no_plan(splits):
    assert read_plan(splits) is None


def test_a_plan_is_found_in_a_splits_folder_only(splits, tmp_path):
    assert find_plan(splits) is None and find_plan(tmp_path) is None and find_plan(str(tmp_path / "nothing")) is None
    project = Project(tmp_path / "project")
    assert find_plan(project.splits) == read_plan(project.splits) == project.plan
