"""The card: front matter that the Hub reads, licences in plain words, and an evaluation only of this very model."""

import json
import os
from pathlib import Path

import pytest
import yaml

from housebrain_core.errors import ConfigError
from housebrain_core.export import finishing
from housebrain_core.export.settings import ExportConfig
from housebrain_core.export.verification import Check, Source

SOURCE = Source(None, Path("nowhere"), "Qwen/Qwen2.5-Coder-1.5B", "1" * 40)


def card(config: ExportConfig, source: Source = SOURCE, notices=(), lines: list[str] | None = None) -> tuple[dict, str]:
    """Front matter and text."""
    checks = [Check("x 1", False, "not here")]
    said = [] if lines is None else lines
    _, front, text = finishing.write_card(source, "It is one.", list(notices), config, checks, said.append).split(
        "---\n", 2
    )
    return yaml.safe_load(front), text


@pytest.mark.parametrize(
    ("name", "relation", "library"),
    [("adapter", "adapter", "peft"), ("full", "finetune", "transformers"), ("gguf", "quantized", "gguf")],
)
def test_the_front_matter_says_what_it_is_made_of(name, relation, library):
    given = {"dataset": "alice/houses", "dataset_licence": "MIT", "push": "alice/hb"}
    front, text = card(ExportConfig(model="models/m", format=name, **given), notices=["WARNING: worse"])
    assert front["base_model"] == "Qwen/Qwen2.5-Coder-1.5B" and front["base_model_relation"] == relation
    assert front["library_name"] == library and front["datasets"] == ["alice/houses"]
    assert front["license"] == "apache-2.0" and "architecture" in front["tags"]
    assert text.strip().startswith("**WARNING: worse**"), "what a person has to know first"
    assert "NOT VERIFIED with x 1: not here" in text


def test_licences_are_named_in_plain_words_or_said_to_be_unknown(tmp_path):
    lines = []
    config = ExportConfig(model="m", format="full")
    front, text = card(config, Source(None, tmp_path, "my-base", "sha256:1"), lines=lines)
    assert front["license"] == "other" and "base_model" not in front, "no id of the Hub"
    assert len(lines) == 2 and all(line.startswith("WARNING: ") and "not known here" in line for line in lines)
    assert all(line.removeprefix("WARNING: ") in text for line in lines)
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Base")
    front, text = card(config, Source(None, tmp_path, "my-base", "sha256:1"))
    assert front["license"] == "mit" and "Base model my-base: mit. What is made of it" in text
    front, text = card(config, Source(None, tmp_path, "deepseek-ai/deepseek-coder-6.7b-base", "1" * 40))
    assert front["license"] == "other" and front["license_name"].startswith("DeepSeek Licence")
    front, _ = card(ExportConfig(model="m", format="full", base_licence="Apache-2.0"), Source(None, tmp_path, "b", "s"))
    assert front["license"] == "apache-2.0"


@pytest.fixture
def evaluated(tmp_path, monkeypatch) -> Path:
    """A folder with a model m and an evaluation of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "manifest.json").write_text("{}")
    rules = {"checked": 1, "rules": {}, "rule_score": 1.0, "hard_score": 1.0, "soft_score": 1.0, "all_hard": 0.75}
    rates = {"invalid_json": 0.0, "strict_parse": 1.0, "repaired_parse": 1.0, "schema_valid": 0.9,
             "schema_valid_repaired": 0.9, "intervals": {}}  # fmt: skip
    model = rules | {
        "loss_nats_per_token": 0.1234567, "loss_interval": [0.1, 0.2], "loss_nats_per_sample": 1.0,
        "floor_nats_per_token": None, "loss_above_floor": None, "same": 0.5, "same_interval": [0.4, 0.6],
        "rooms": None, "most_probable": 0.5, "rates": rates, "kinds": {}, "exactness": {},
        "distribution": {"designs": 0, "fields": {}}, "tokens_per_second": 1.0,
    }  # fmt: skip
    page = {"data": "d", "loss_samples": 1, "samples": 1, "constrained": False, "drawn": [], "limits": {},
            "reference": rules | {"exactness": {}}, "models": {"m": model}, "pairs": []}  # fmt: skip
    (tmp_path / "evaluation.json").write_text(json.dumps(page))
    return tmp_path


def test_an_evaluation_of_this_model_goes_into_the_card_and_its_model_index(evaluated):
    lines = []
    front, text = card(ExportConfig(model="m", format="full", dataset="alice/houses"), lines=lines)
    (result,) = front["model-index"][0]["results"]
    metrics = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert metrics["schema_valid_rate"] == 0.9 and metrics["loss"] == 0.123457 and metrics["exact"] == 0.5
    assert result["task"] == {"type": "text-generation"} and result["dataset"]["type"] == "alice/houses"
    assert "| schema-valid rate | 0.9 |" in text and "the card has the evaluation of evaluation.json" in lines


def test_an_evaluation_that_is_older_or_of_another_model_is_left_out_unless_it_is_given(evaluated):
    old = (evaluated / "m" / "manifest.json").stat().st_mtime - 100
    os.utime("evaluation.json", (old, old))
    front, text = card(ExportConfig(model="m", format="full"))
    assert "model-index" not in front and "None is given" in text
    front, _ = card(ExportConfig(model="m", format="full", evaluation="evaluation.json"))
    assert front["model-index"]
    with pytest.raises(ConfigError, match="it is of m, and says nothing of other"):
        card(ExportConfig(model="other", format="full", evaluation="evaluation.json"))
    Path("evaluation.json").write_text("{}")
    with pytest.raises(ConfigError, match="Give what housebrain evaluate wrote"):
        card(ExportConfig(model="m", format="full", evaluation="evaluation.json"))
