"""The notebooks' settings: taken from the configs of the stages, and what they become."""

from pathlib import Path

import pytest

from housebrain_core.config import EvaluateConfig, FineTuningConfig, MergeConfig, RoundConfig, SplitConfig
from housebrain_core.errors import ConfigError
from housebrain_core.export.settings import ExportConfig
from housebrain_core.parameters.settings import (
    NOTEBOOKS,
    DeploySettings,
    EvaluateSettings,
    MergeSettings,
    NextRoundSettings,
    SplitSettings,
)
from housebrain_core.parameters.training import ColabTrainSettings, KaggleTrainSettings, LocalTrainSettings
from housebrain_core.select.settings import SelectConfig

CONFIGS = {
    SplitSettings: SplitConfig,
    LocalTrainSettings: FineTuningConfig,
    KaggleTrainSettings: FineTuningConfig,
    ColabTrainSettings: FineTuningConfig,
    MergeSettings: MergeConfig,
    EvaluateSettings: EvaluateConfig,
    NextRoundSettings: SelectConfig,
    DeploySettings: ExportConfig,
}
OWN_DEFAULTS = {
    "format", "output", "quantise", "dataset", "dataset_licence", "base_licence",
    "max_steps", "base_model", "time_budget_hours", "run_validation", "rounds", "relay_legs",
    "init_adapter", "clean_rules", "difficulty", "evaluation",
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
