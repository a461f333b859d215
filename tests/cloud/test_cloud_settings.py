"""The settings of the commands for other machines."""

import pytest

from housebrain_core.cloud.settings import KaggleConfig, RunConfig
from housebrain_core.errors import ConfigError
from housebrain_core.parameters.training import LocalTrainSettings
from housebrain_core.settings import FineTuningConfig


def test_kaggle_needs_an_action_and_a_split():
    with pytest.raises(ConfigError) as error:
        KaggleConfig(action="shove", split=0)
    assert "action = 'shove'" in str(error.value) and "split = 0" in str(error.value)


def test_a_run_takes_every_setting_of_training_that_the_notebook_has_but_its_number_of_gpus():
    """Every run gets one GPU of its own."""
    shared = set(LocalTrainSettings.model_fields) & set(FineTuningConfig.model_fields)
    assert set(RunConfig.model_fields) & set(FineTuningConfig.model_fields) == shared - {"gpus"}
    for name in shared - {"gpus"}:
        ours, theirs = RunConfig.model_fields[name], FineTuningConfig.model_fields[name]
        assert (ours.default, ours.description) == (theirs.default, theirs.description)


def test_only_what_was_given_goes_into_the_notebook_and_it_takes_that():
    config = RunConfig(splits="1-3", max_steps="4", learning_rate="1", load_in_4bit="false")
    assert config.training == {"learning_rate": 1.0, "load_in_4bit": False, "max_steps": 4}
    assert LocalTrainSettings(**config.training).max_steps == 4


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"splits": "1-"}, "splits = '1-'"),
        ({"splits": "one"}, "splits = 'one'"),
        ({"epochs": 0}, "epochs = 0"),
        ({"lora_r": 300}, "lora_r = 300"),
        ({"on": "ray", "at_once": 2}, "at_once = 2: it would do nothing"),
    ],
)
def test_what_cannot_be_is_refused(settings, problem):
    with pytest.raises(ConfigError, match=problem):
        RunConfig(**settings)
