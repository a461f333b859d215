"""The settings of the stages: what goes together, and that nothing is asked for in vain."""

import pytest

from housebrain_core import config
from housebrain_core.config import MergeConfig, PlanConfig, SplitConfig
from housebrain_core.errors import ConfigError
from housebrain_core.settings import FineTuningConfig, Settings

CLASSES = [value for value in vars(config).values() if isinstance(value, type) and issubclass(value, Settings)]
STAGES = [stage for stage in CLASSES if stage is not Settings]


def test_the_guides_settings_are_imported_from_here():
    assert config.FineTuningConfig is FineTuningConfig


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_a_setting_that_does_not_exist_is_refused_with_those_that_do(stage):
    with pytest.raises(ConfigError, match="nonsense: there is no such setting; there are ") as error:
        stage(nonsense=1)
    assert next(iter(stage.model_fields)) in str(error.value)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"weights": [1, 2]}, "they are for the strategy weighted"),
        ({"strategy": "weighted", "weights": [1]}, "1 numbers with sum 1 for 2 models"),
        ({"strategy": "weighted", "weights": [0, 0]}, "with sum 0"),
        ({"density": 0.7}, "it would do nothing"),
        ({"compare": True}, "compare: it would do nothing"),
    ],
)
def test_a_merge_refuses_what_would_do_nothing(settings, problem):
    with pytest.raises(ConfigError, match=problem):
        MergeConfig(models=["a", "b"], **settings)


def test_a_default_that_is_given_is_no_problem():
    assert MergeConfig(models=["a"], weights=[], compare=False).strategy == "average"


def test_a_given_rate_and_a_row_length_do_not_go_together():
    assert PlanConfig(row_length=1024).row_length == 1024
    with pytest.raises(ConfigError, match="row_length = 1024: it would do nothing"):
        PlanConfig(row_length=1024, tokens_per_second=500)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"rounds": 3, "relay": True}, "rounds = 3: it would do nothing; a relay has no rounds"),
        ({"common_start": 0.06}, "common_start = 0.06: it would do nothing; it comes before rounds"),
        ({"common_start": 0.06, "relay": True}, "common_start = 0.06: it would do nothing"),
        ({"splits": 1, "rounds": 3}, "rounds = 3: it would do nothing; with one split there is one person"),
        ({"relay_legs": 4}, "relay_legs = 4: it would do nothing; it is for a relay"),
        ({"relay": True, "relay_legs": 6}, "relay_legs = 6: it would do nothing; it is for a relay of more splits"),
        ({"splits": 1, "relay": True}, "relay: it would do nothing; with one split there is one person"),
        (
            {"rounds": 1, "common_start": 0},
            "rounds = 1: it would do nothing; without a common start it is the one merge",
        ),
        ({"rounds": 0}, "rounds = 0: "),
        ({"rounds": 3, "common_start": 1.0}, "common_start = 1.0: "),
    ],
)
def test_legs_that_make_no_sense_are_refused_in_a_sentence(settings, problem, tmp_path):
    with pytest.raises(ConfigError, match=problem):
        SplitConfig(source=tmp_path, **settings)


@pytest.mark.parametrize("count", [0, 100, -1])
def test_splits_are_from_1_to_99(count, tmp_path):
    with pytest.raises(ConfigError, match=f"splits = {count}: "):
        SplitConfig(source=tmp_path, splits=count)
