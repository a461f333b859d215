"""What the settings of all notebooks share: just the right types, and values that a config understands."""

import pytest

from housebrain_core.config import MergeConfig, SplitConfig
from housebrain_core.errors import ConfigError
from housebrain_core.parameters.fields import NotebookSettings, same_as
from housebrain_core.parameters.settings import NOTEBOOKS


class Some(NotebookSettings):
    """Settings of no notebook."""

    seed: int = same_as(SplitConfig, "seed")
    rounds: int = same_as(SplitConfig, "rounds", "; 0 for none", default=0)
    output: str = same_as(SplitConfig, "output")
    colour: str = "red"


def test_a_field_takes_default_and_text_of_the_config_as_a_literal():
    fields = Some.model_fields
    assert (fields["seed"].default, fields["output"].default) == (42, "housebrain_splits")
    assert fields["rounds"].description.endswith("; 0 for none.")
    text = " ".join((MergeConfig.model_fields["strategy"].description or "").split())
    assert same_as(MergeConfig, "strategy").description == text


def test_nothing_chosen_is_none_where_the_config_has_none_and_a_zero_stays_one():
    assert Some(seed=0).shared_with(SplitConfig) == {"seed": 0, "rounds": None, "output": "housebrain_splits"}
    assert Some(rounds=3).shared_with(SplitConfig)["rounds"] == 3


@pytest.mark.parametrize("settings", NOTEBOOKS.values())
def test_settings_that_nobody_changed_can_be_used_and_what_pydantic_would_convert_is_refused(settings):
    settings().check_ranges()
    wrong = {int: ("3", True, 3.0, None), bool: ("true", 1, None), str: (1, None), float: ("1.0", True)}
    for name, field in settings.model_fields.items():
        for value in wrong.get(field.annotation, ()):
            with pytest.raises(ConfigError) as refused:
                settings(**{name: value})
            kinds = f"this has to be {field.annotation.__name__}, not {type(value).__name__}"
            assert str(refused.value) == f"{name} = {value!r}: {kinds}"


@pytest.mark.parametrize("settings", NOTEBOOKS.values())
def test_a_text_in_the_place_of_a_list_is_a_list_of_one(settings):
    for name, field in settings.model_fields.items():
        if "list" in str(field.annotation):
            assert getattr(settings(**{name: "x"}), name) == ["x"] and getattr(settings(**{name: ""}), name) == []
