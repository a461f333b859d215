"""The notebooks' settings: taken from the configs of the stages, and what they become."""

from pathlib import Path

import pytest

from housebrain_core import notebook_settings
from housebrain_core.config import EvaluateConfig, FineTuningConfig, MergeConfig, RoundConfig, SplitConfig
from housebrain_core.errors import ConfigError
from housebrain_core.legs import Place, TrainingPlan, plan_rounds
from housebrain_core.notebook_settings import (
    NOTEBOOKS,
    ColabTrainSettings,
    EvaluateSettings,
    KaggleTrainSettings,
    LocalTrainSettings,
    MergeSettings,
    SplitSettings,
)
from housebrain_core.splits.parts import Inputs

CONFIGS = {
    SplitSettings: SplitConfig,
    LocalTrainSettings: FineTuningConfig,
    KaggleTrainSettings: FineTuningConfig,
    ColabTrainSettings: FineTuningConfig,
    MergeSettings: MergeConfig,
    EvaluateSettings: EvaluateConfig,
}
OWN_DEFAULTS = {
    "max_steps", "base_model", "time_budget_hours", "run_validation", "rounds", "relay_legs",
    "init_adapter",
}  # fmt: skip
"""Settings whose default a notebook chooses itself; None is no literal of their type."""


@pytest.mark.parametrize("settings", NOTEBOOKS.values())
def test_defaults_and_texts_are_those_of_the_config(settings):
    fields = CONFIGS[settings].model_fields
    shared = settings.model_fields.keys() & fields.keys()
    assert len(shared) >= 6
    for name in shared:
        field = settings.model_fields[name]
        text = " ".join((fields[name].description or "").split()).removesuffix(".")
        if name != "time_budget_hours":
            assert field.description.startswith(text)
        if name not in OWN_DEFAULTS and not fields[name].is_required():
            assert field.default == (str(value) if isinstance(value := fields[name].default, Path) else value)


def test_the_settings_of_training_become_its_config_with_the_guides_defaults():
    config = LocalTrainSettings().config(Inputs(Path("split_01.zip")), Path("models/hb-colab-01"))
    assert config == FineTuningConfig(dataset_path="split_01.zip", output_dir="models/hb-colab-01")
    assert LocalTrainSettings(max_steps=7).config(Inputs(Path("a")), Path("b")).max_steps == 7
    assert LocalTrainSettings(gpus=1).config(Inputs(Path("a")), Path("b")).gpus == 1


@pytest.mark.parametrize(("settings", "hours"), [(KaggleTrainSettings, 8.5), (ColabTrainSettings, 11)])
def test_a_session_ends_before_its_platform_does_unless_told_otherwise(settings, hours):
    assert settings().config(Inputs(Path("a")), Path("b")).time_budget_hours == hours
    assert settings(time_budget_hours=2.5).config(Inputs(Path("a")), Path("b")).time_budget_hours == 2.5


def test_a_rehearsal_takes_20_steps_in_a_folder_of_its_own_whatever_else_is_set():
    settings = KaggleTrainSettings(split_id=4, rehearsal=True, max_steps=500, save_steps=200)
    config = settings.config(Inputs(Path("a")), Path("b"))
    assert (config.max_steps, config.save_steps) == (20, 10)
    assert settings.adapter_name(None) == "hb-kaggle-04-rehearsal"


@pytest.mark.parametrize("watched", [True, False])
def test_by_default_it_rehearses_where_a_person_watches_and_trains_for_real_elsewhere(watched, monkeypatch):
    monkeypatch.setattr(notebook_settings, "is_watched", lambda: watched)
    assert KaggleTrainSettings(split_id=4).rehearses is watched
    assert not KaggleTrainSettings(split_id=4, rehearsal=False).rehearses


def test_names_and_folders_of_the_platforms():
    settings = KaggleTrainSettings(split_id=4, rehearsal=False)
    assert ColabTrainSettings(split_id=12, rehearsal=False).adapter_name(None) == "hb-colab-12"
    assert (settings.drive, ColabTrainSettings().drive) == ("", "housebrain")


@pytest.mark.parametrize("split_id", [1, 4])
def test_in_a_leg_a_session_starts_from_the_leg_file_and_its_rehearsal_takes_20_steps_too(split_id):
    plan = TrainingPlan(splits=6, legs=plan_rounds(6, 3, common_start=0.1))
    inputs = Inputs(Path("a"), Path("leg_2.zip"), Place(plan=plan, leg=2))
    settings = ColabTrainSettings(split_id=split_id)
    assert settings.config(inputs, Path("b")).init_adapter == Path("leg_2.zip")
    assert settings.adapter_name(inputs.place) == f"hb-colab-0{split_id}-leg-2"
    rehearsal = ColabTrainSettings(split_id=split_id, rehearsal=True)
    first, last = plan.steps(split_id, 2, rehearsal.config(inputs, Path("b")).max_steps)
    assert 20 <= last - first <= 21
    assert rehearsal.adapter_name(inputs.place) == f"hb-colab-0{split_id}-leg-2-rehearsal"


def test_a_merge_names_data_and_base_model_only_where_something_is_measured():
    models = [Path("models/hb-colab-01")]
    measured = MergeSettings(splits_folder="elsewhere", base_model="here").config(models)
    assert measured.run_validation and measured.compare
    assert (measured.data, measured.base_model) == (Path("elsewhere"), "here")
    plain = MergeSettings(run_validation=False, splits_folder="elsewhere", base_model="here").config(models)
    assert not plain.compare and plain.base_model is None
    assert MergeSettings(run_validation=False, strategy="greedy", splits_folder="x").config(models).data == Path("x")


def test_a_merge_is_a_round_where_the_splits_have_a_plan():
    models = [Path("models/hb-colab-01")]
    settings = MergeSettings(splits_folder="cut", output="models/ours", accept_missing=True, base_model="here")
    settings.check_ranges()
    expected = {"splits": "cut", "merged": "models/ours", "accept_missing": True, "base_model": "here"}
    assert settings.round_config(models) == RoundConfig(models=models, **expected)
    assert MergeSettings(run_validation=False, base_model="here").round_config(models).base_model is None


@pytest.mark.parametrize(
    ("given", "made", "said"),
    [
        (
            {"accept_missing": True, "finish": True},
            "config",
            "accept_missing: it would .*\n  finish: it would",
        ),
        (
            {"strategy": "ties", "rank": 8},
            "round_config",
            "strategy: each leg of a plan is .*\n  rank: ",
        ),
        ({"strategy": "ties", "finish": True}, "check_ranges", "strategy: each leg of a plan is merged in one way"),
    ],
)
def test_settings_of_the_other_way_to_merge_are_refused(given, made, said):
    arguments = () if made == "check_ranges" else ([Path("models/hb-colab-01")],)
    with pytest.raises(ConfigError, match=said):
        getattr(MergeSettings(**given), made)(*arguments)


def test_other_notebooks_give_the_configs_of_their_stage():
    assert SplitSettings(source="data", splits=3).config() == SplitConfig(source="data", splits=3)
    rounds = SplitSettings(source="data", rounds=3, common_start=0.06, init_adapter="models/merged").config()
    assert rounds == SplitConfig(source="data", rounds=3, common_start=0.06, init_adapter="models/merged")
    assert SplitSettings(source="data", rounds=2, common_start="auto").config().common_start == "auto"
    assert SplitSettings(source="data", relay=True).config() == SplitConfig(source="data", relay=True)
    with pytest.raises(ConfigError, match="a relay has no rounds"):
        SplitSettings(source="data", relay=True, rounds=2).check_ranges()
    assert EvaluateSettings(models=["a", "b"]).config() == EvaluateConfig(models=["a", "b"])
    assert EvaluateSettings().config().models == [Path("models/housebrain-merged")]
