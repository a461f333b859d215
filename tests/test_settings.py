"""What all settings share: immutable, no unknown names, and every problem in one message."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from housebrain_core.config import GenerateConfig, MergeConfig
from housebrain_core.errors import ConfigError
from housebrain_core.select.settings import SelectConfig
from housebrain_core.settings import FineTuningConfig
from housebrain_core.texts import as_given


def make(**values):
    return FineTuningConfig(**{"dataset_path": "split_01.zip", "output_dir": "models/hb-local-01"} | values)


def test_the_defaults_are_the_guides_baseline():
    config = make()
    assert (config.batch_size, config.gradient_accumulation_steps, config.epochs) == (1, 16, 2)
    assert (config.lora_r, config.save_steps, config.max_length) == (8, 200, "auto")


def test_all_problems_are_said_at_once_with_the_values():
    with pytest.raises(ConfigError) as error:
        make(epochs=0, learning_rate=2, colour="red", lora_dropout=1.0)
    text = str(error.value)
    assert text.startswith("FineTuningConfig: these settings cannot be used:")
    for part in ("epochs = 0: ", "learning_rate = 2: ", "lora_dropout = 1.0: ", "colour: there is no such setting"):
        assert part in text


def test_what_is_missing_is_said():
    with pytest.raises(ConfigError, match="dataset_path: this setting is needed"):
        FineTuningConfig(output_dir="models")


def test_settings_do_not_change():
    config = make()
    with pytest.raises(ValidationError, match="frozen"):
        config.epochs = 3


@pytest.mark.parametrize(
    ("batch", "accumulation", "row", "rows"), [(1, 16, 2048, 4), (1, 16, 512, 16), (2, 16, 2048, 8), (1, 1, 4096, 1)]
)
def test_a_step_has_the_guides_tokens_whatever_the_length_of_a_row(batch, accumulation, row, rows):
    config = make(batch_size=batch, gradient_accumulation_steps=accumulation, row_length=row)
    assert config.rows_per_step == rows


def read_json(values):
    return GenerateConfig.model_validate_json(json.dumps(values))


@pytest.mark.parametrize("read", [GenerateConfig.model_validate, read_json])
def test_a_model_is_a_folder_or_an_address_whose_slashes_stay(read):
    assert read({"model": "models/hb", "brief": "-"}).model == Path("models/hb")
    assert read({"model": "https://host:8000/v1#hb", "brief": "-"}).model == "https://host:8000/v1#hb"
    with pytest.raises(ConfigError, match=r"model = 5: input should be a valid string, or input is not a valid path$"):
        read({"model": 5, "brief": "-"})


def test_a_tilde_is_the_home_of_whoever_gives_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    config = make(output_dir="~/models/hb", init_adapter=Path("~"), base_model="~/qwen")
    assert (config.output_dir, config.init_adapter) == (tmp_path / "models" / "hb", tmp_path)
    assert Path(config.base_model) == tmp_path / "qwen"
    merge = MergeConfig(models=["~/a", "~b", "c~/d"], weights=[])
    assert merge.models == [tmp_path / "a", Path("~b"), Path("c~/d")]


@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_an_empty_text_is_refused_wherever_text_is(value):
    for settings in ({"output_dir": value}, {"base_model": value}, {"revision": value}):
        with pytest.raises(ConfigError, match="it is empty; give a value, or leave it out"):
            make(**settings)
    with pytest.raises(ConfigError, match="clean_rules = .*: it is empty"):
        SelectConfig(source=Path("x"), clean_rules=["parking", value])


@pytest.mark.parametrize(
    ("value", "shown"),
    [("a b", "'a b'"), ("'\\\n", r"''\\n'"), ("x" * 500, f"'{'x' * 100} ... {'x' * 100}'"),
     (["parkng", "x"], "parkng, x"), ([], "nothing"), (None, "nothing"), ({"a": None}, '{"a": null}'),
     (Path("a"), "a"), (True, "True"), (0.5, "0.5")],
)  # fmt: skip
def test_a_value_in_a_message_is_as_a_person_gives_it(value, shown):
    assert as_given(value) == shown


def test_the_values_of_a_list_are_told_as_words():
    with pytest.raises(ConfigError, match="clean_rules = parkng, exits: there is no rule parkng, did you mean parking"):
        SelectConfig(source=Path("x"), clean_rules=["parkng", "exits"])
