"""Settings of an export that would do nothing, or that do not go together, are refused."""

from pathlib import Path

import pytest

from housebrain_core.errors import ConfigError
from housebrain_core.export.settings import ExportConfig


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "format: say which, --as adapter|full|gguf|ollama|vllm"),
        ({"format": "onnx"}, "format = 'onnx': "),
        ({"format": "full", "push": "alice"}, "push = alice: expected user/name"),
        ({"format": "full", "quantise": "q4_k_m"}, "quantise = q4_k_m: it would do nothing; it is for --as gguf"),
        ({"format": "adapter", "dtype": "float16"}, "dtype = float16: it would do nothing; it is for full weights"),
        ({"format": "full", "public": True}, "public: it would do nothing; it is for --push"),
        ({"push": "alice/hb", "dataset": "d"}, "dataset = d: it would do nothing; without --as nothing is made"),
    ],
)
def test_what_would_do_nothing_is_refused(given, said):
    with pytest.raises(ConfigError) as error:
        ExportConfig(model="models/m", **given)
    assert said in str(error.value)


def test_an_export_goes_beside_its_model():
    assert ExportConfig(model="models/m", format="full").folder == Path("models/m-full")
    assert ExportConfig(model="models/m", format="full", output="x").folder == Path("x")
