"""The settings of the train notebook: what they become on each platform, and in a rehearsal."""

from pathlib import Path

import pytest

from housebrain_core.config import FineTuningConfig
from housebrain_core.legs import Place, TrainingPlan, plan_rounds
from housebrain_core.parameters import training
from housebrain_core.parameters.training import ColabTrainSettings, KaggleTrainSettings, LocalTrainSettings
from housebrain_core.splits.parts import Inputs


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
    monkeypatch.setattr(training, "is_watched", lambda: watched)
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
