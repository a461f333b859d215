"""How an export is used: lines and commands that really work, and a Modelfile that renders the training prompt."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from housebrain_core.export.servers import describe_use, is_on_hub, load_lines, write_modelfile
from housebrain_core.export.settings import ExportConfig
from housebrain_core.export.verification import Source
from housebrain_core.house.codec import write_prompt

COMMIT = "df3ce67c0e24480f20468b6ef2894622d69eb73b"
SOURCE = Source(None, Path("cache"), "some/base", COMMIT)


def read_modelfile(text: str) -> dict[str, list[str]]:
    """The instructions of a Modelfile, as Ollama's parser/parser.go reads them: a value stands in three quotes, in one,
    or bare; nothing in it is escaped."""
    found: dict[str, list[str]] = {}
    pattern = r'^(FROM|TEMPLATE|PARAMETER \w+|ADAPTER) (?:"""(.*?)"""|"([^\n]*)"|(.*?))$'
    for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        value = match[2] if match[2] is not None else match[3] if match[3] is not None else match[4]
        found.setdefault(match[1], []).append(value)
    return found


def render_go(template: str, prompt: str) -> str:
    """A stand-in for Go's templates: the one action that ours has; any other would be left over. Ollama puts the answer
    behind a template without one (template/template.go), so what is rendered before it is the whole of it."""
    rendered = template.replace("{{ .Prompt }}", prompt)
    assert "{{" not in rendered
    return rendered


@pytest.mark.parametrize("stop", ["<|endoftext|>", "<\uff5cend\u2581of\u2581sentence\uff5c>", 'a "quoted" end'])
def test_the_modelfile_renders_the_training_prompt_byte_for_byte_and_stops_at_the_end_of_text(samples, tmp_path, stop):
    write_modelfile(ExportConfig(model="m", format="ollama"), stop, tmp_path)
    read = read_modelfile((tmp_path / "Modelfile").read_text(encoding="utf-8"))
    for sample in samples[:8]:
        prompt = write_prompt(sample["input"])
        assert render_go(read["TEMPLATE"][0], prompt.rstrip("\n")).encode() == prompt.encode()
    assert read["PARAMETER stop"] == [stop]
    assert read["PARAMETER temperature"] == ["0"] and read["PARAMETER repeat_penalty"] == ["1"]
    assert int(read["PARAMETER num_ctx"][0]) == 4096


def test_ollama_gets_a_gguf_and_never_safetensors_or_an_adapter(tmp_path):
    """Traps: its importers know few architectures, and read older names of settings only."""
    write_modelfile(ExportConfig(model="m", format="ollama", quantise="q4_k_m"), "<e>", tmp_path)
    read = read_modelfile((tmp_path / "Modelfile").read_text())
    assert read["FROM"] == ["./housebrain-q4_k_m.gguf"] and "ADAPTER" not in read


def test_an_adapter_is_loaded_in_three_lines_with_base_and_commit():
    lines = load_lines(ExportConfig(model="m", format="adapter"), SOURCE, "alice/hb").strip().splitlines()
    assert lines[-3:] == [
        f"base = AutoModelForCausalLM.from_pretrained('some/base', revision='{COMMIT}')",
        "model = PeftModel.from_pretrained(base, 'alice/hb')",
        "tokenizer = AutoTokenizer.from_pretrained('alice/hb')",
    ]
    hashed = Source(None, Path("cache"), "base", "sha256:12")
    assert "revision" not in load_lines(ExportConfig(model="m", format="adapter"), hashed, "."), "no commit to ask for"


@pytest.mark.parametrize("name", ["tiny-03c11dcd66d1", "/home/alice/base", "./base"])
def test_a_base_that_is_a_folder_is_said_to_be_one_where_its_name_stands_in_commands(name):
    """As an id of the Hub the card's own three lines would not find it."""
    source = Source(None, Path("cache"), name, "sha256:12")
    config = ExportConfig(model="m", format="adapter")
    assert f"`{name}` is no model of the Hub: name the folder that holds it instead" in describe_use(config, source)
    assert "no model of the Hub" in describe_use(config.model_copy(update={"push": "alice/hb"}), source)
    assert "no model of the Hub" not in describe_use(config, SOURCE)
    assert not is_on_hub(source) and is_on_hub(SOURCE) and is_on_hub(replace(SOURCE, base_name="gpt2"))


def test_an_adapter_of_the_output_layer_is_not_offered_to_vllm_apart():
    """Trap: lm_head in a LoRA breaks vLLM (9280) and llama.cpp's adapter files (11554)."""
    merge = SimpleNamespace(rank=8, modules={"model.layers.0.mlp.up_proj": None, "lm_head": None}, adapters=[])
    text = describe_use(ExportConfig(model="m", format="adapter"), Source(merge, Path("cache"), "some/base", COMMIT))
    assert "vLLM does not serve an adapter of lm_head: export it with --as vllm" in text and "lora-modules" not in text


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("vllm", ["vllm serve . --served-model-name housebrain --max-model-len 4096", "localhost:8000/v1/chat"]),
        ("adapter", ["--enable-lora --lora-modules housebrain=.", "--max-lora-rank 8", "PeftModel"]),
        ("gguf", ["llama-server -m housebrain-f16.gguf -c 4096", "localhost:8080"]),
        ("ollama", ["ollama create housebrain -f Modelfile", "localhost:11434", "without one"]),
        ("full", ["AutoModelForCausalLM", "instead of '.'"]),
    ],
)
def test_each_card_says_how_it_is_used(name, parts):
    text = describe_use(ExportConfig(model="m", format=name), SOURCE)
    assert all(part in text for part in parts), text
    pushed = describe_use(ExportConfig(model="m", format=name, push="alice/hb"), SOURCE)
    assert name in ("gguf", "ollama") or ("alice/hb" in pushed and "'.'" not in pushed)
