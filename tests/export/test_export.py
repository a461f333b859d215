"""Folders that other programs load, whole and verified: a failed verification leaves none."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from adapter_files import make_adapter
from full_models import merge, weights_of
from safetensors.torch import load_file
from test_cli import run
from transformers import AutoModelForCausalLM, AutoTokenizer

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.errors import ConfigError, ExportError
from housebrain_core.export import export, verification
from housebrain_core.export.settings import ExportConfig
from housebrain_core.house.codec import write_prompt
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.manifests import check_files, read_manifest

ADAPTER_FILES = {
    "README.md", "adapter_config.json", "adapter_model.safetensors", "answer_schema.json", "chat_template.jinja",
    "generation_config.json", "manifest.json", "request.json", "run.json", "special_tokens_map.json", "tokenizer.json",
    "tokenizer_config.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def merged(adapters, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("merged") / "housebrain-merged"
    merge(adapters, folder)
    return folder


@pytest.fixture(scope="module")
def exported(merged, base, tmp_path_factory) -> dict[str, tuple[export.Exported, list[str]]]:
    """Each format of weights, by its name, with the lines that were said."""
    made = {}
    for name in ("adapter", "vllm"):
        lines = []
        folder = tmp_path_factory.mktemp("exported") / name
        config = ExportConfig(model=merged, format=name, output=folder, base_model=str(base))
        made[name] = export.export_model(config, report=lines.append), lines
    return made


@pytest.mark.parametrize("name", ["adapter", "vllm"])
def test_an_export_is_whole_and_says_who_answered_eight_briefs_as_the_model_does(exported, name):
    made, lines = exported[name]
    assert made.checks[0].passed and made.checks[0].text.startswith("8 of 8 greedy answers are the model's")
    assert "transformers 5" in made.checks[0].consumer and ("peft" in made.checks[0].consumer) == (name == "adapter")
    assert str(made.checks[0]) in lines and str(made.checks[0]) in (made.folder / "README.md").read_text()
    files = {path.name for path in made.folder.iterdir()}
    assert files >= (ADAPTER_FILES if name == "adapter" else {"config.json", "model.safetensors", "merge.json"})
    check_files(made.folder, read_manifest(made.folder, "adapter" if name == "adapter" else "model"))
    assert str(made).startswith("verified with transformers") and "README.md" in str(made)


def test_what_is_not_run_here_is_named_on_the_terminal_and_on_the_card(exported):
    made, lines = exported["vllm"]
    line = next(line for line in lines if line.startswith("NOT VERIFIED with vLLM"))
    assert f"- {line}" in (made.folder / "README.md").read_text().splitlines()


def test_full_weights_keep_the_types_of_the_base_and_its_config_has_old_and_new_names(exported, base):
    made, _ = exported["vllm"]
    before, after = weights_of(base), weights_of(made.folder)
    assert {name: value.dtype for name, value in after.items()} == {name: value.dtype for name, value in before.items()}
    config = json.loads((made.folder / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 10000.0
    assert config["torch_dtype"] == config["dtype"] == "float32"
    loaded = AutoModelForCausalLM.from_pretrained(made.folder)
    assert loaded.config.rope_parameters == {"rope_theta": 10000.0, "rope_type": "default"}


def test_an_exported_adapter_is_one_for_every_stage_again_and_names_no_path_of_this_machine(exported, merged):
    made, _ = exported["adapter"]
    adapter, original = read_adapter(made.folder), read_adapter(merged)
    assert adapter.sizes == original.sizes and adapter.trained_in_4bit
    for module in adapter.sizes:
        (b, a), (c, d) = adapter.factors(module), original.factors(module)
        assert abs(b @ a - c @ d).max() < 1e-6
    texts = [path.read_text(errors="ignore") for path in made.folder.iterdir() if path.suffix in (".json", ".md")]
    assert not any(str(Path.home()) in text or str(merged.parent) in text for text in texts)


@pytest.mark.parametrize("name", ["adapter", "full"])
def test_where_another_trainer_kept_its_base_is_not_passed_on(name, base, unverified, tmp_path):
    """Adapters of LLaMA-Factory, ms-swift and Axolotl name a base on a disk by its path."""
    home = tmp_path / "home" / "alice"
    shutil.copytree(base, home / "our-base")
    rows = load_file(base / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"].shape[0]
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    values = {f"{module}.lora_A.weight": torch.ones(2, rows), f"{module}.lora_B.weight": torch.ones(rows, 2) / 100}
    adapter = make_adapter(tmp_path / "a", values, base_model_name_or_path=str(home / "our-base"), revision=None)
    config = ExportConfig(model=adapter, format=name, output=tmp_path / "out")
    made = export.export_model(config, report=lambda line: None)
    texts = [path.read_text(errors="ignore") for path in made.folder.iterdir() if path.suffix in (".json", ".md")]
    assert not any("alice" in text for text in texts) and any("our-base" in text for text in texts)


@pytest.mark.parametrize(
    ("name", "public"),
    [("/home/alice/our base", "our base"), (r"C:\Users\alice\base", "base"), ("~/base/", "base"), ("./base", "base"),
     ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"), (None, None)],
)  # fmt: skip
def test_of_a_path_only_its_end_leaves_this_machine(name, public, tmp_path):
    adapter = read_adapter(make_adapter(tmp_path / "a", base_model_name_or_path=name), accept_plain=True)
    assert adapter.public_base == public


def test_any_server_gets_the_bytes_of_training_from_the_chat_template(exported, samples):
    tokenizer = AutoTokenizer.from_pretrained(exported["vllm"][0].folder)
    for sample in samples[:8]:
        prompt = write_prompt(sample["input"])
        for line in (prompt, prompt.rstrip("\n"), f" {prompt}\n"):
            message = [{"role": "user", "content": line}]
            assert tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True) == prompt
            assert tokenizer.apply_chat_template(message)["input_ids"] == tokenizer(prompt).input_ids


def test_an_export_that_answers_otherwise_is_no_folder_and_says_where(merged, base, tmp_path, monkeypatch):
    real = export.write_adapter

    def spoil(folder, adapters, rank, factors):
        real(folder, adapters, rank, lambda module: (-4 * factors(module)[0], factors(module)[1]))

    monkeypatch.setattr(export, "write_adapter", spoil)
    config = ExportConfig(model=merged, format="adapter", output=tmp_path / "out", base_model=str(base))
    with pytest.raises(ExportError, match=r"does not answer as the model that was exported: .* Nothing is written"):
        export.export_model(config, report=lambda line: None)
    assert list(tmp_path.iterdir()) == []


def test_without_room_for_the_model_nothing_is_verified_and_that_is_said(merged, base, tmp_path, monkeypatch):
    monkeypatch.setattr(verification, "SPARE", 1e-12)
    lines = []
    config = ExportConfig(model=merged, format="full", output=tmp_path / "out", base_model=str(base), dtype="bfloat16")
    made = export.export_model(config, report=lines.append)
    assert not made.checks[0].passed and "too little memory" in made.checks[0].text
    assert str(made.checks[0]).startswith("NOT VERIFIED") and str(made.checks[0]) in lines
    assert all(value.dtype == torch.bfloat16 for value in weights_of(made.folder).values())
    assert any("bfloat16 is at most" in line for line in lines)
    HouseBrainLLM(made.folder)


def test_briefs_of_a_persons_own_are_what_is_verified_with(merged, base, tmp_path, samples):
    briefs = tmp_path / "briefs.jsonl"
    briefs.write_text("".join(json.dumps(sample["input"]) + "\n" for sample in samples[:2]))
    config = ExportConfig(model=merged, format="full", output=tmp_path / "o", base_model=str(base), briefs=str(briefs))
    made = export.export_model(config, report=lambda line: None)
    assert made.checks[0].text == f"2 of 2 greedy answers are the model's, token by token (briefs: {briefs})"


def test_what_cannot_be_exported_is_refused_before_any_work(merged, base, tmp_path, monkeypatch, capsys):
    def refused(*flags):
        code, text = run(monkeypatch, capsys, "export", *map(str, flags))
        assert code == 2 and "Traceback" not in text
        return text

    assert "does not exist" in refused("--model", tmp_path / "nothing", "--as", "full")
    for name in ("adapter", "full", "vllm"):  # as the help of --model says
        assert f"is no adapter, so --as {name} has nothing to do" in refused("--model", base, "--as", name)
    (tmp_path / "out").mkdir()
    assert "exists already" in refused("--model", merged, "--as", "full", "--output", tmp_path / "out")
    assert "is the model itself" in refused("--model", merged, "--as", "full", "--output", merged, "--overwrite")
    assert "Give the very base model" in refused("--model", merged, "--as", "full", "--base-model", "tiny")


def test_the_old_flag_names_the_new_command(adapters, base, tmp_path, unverified):
    from housebrain_core.config import MergeConfig
    from housebrain_core.export.into_base import merge_into_base

    lines = []
    config = MergeConfig(models=adapters[:1], output=tmp_path / "full", into_base=str(base))
    merge_into_base(config, report=lines.append)
    assert any("housebrain export --model" in line and "--as full --dtype float16" in line for line in lines)
    with pytest.raises(ConfigError, match="housebrain export --model THAT_ADAPTER --as full"):
        merge_into_base(MergeConfig(models=adapters, into_base=str(base), strategy="greedy"), report=lines.append)
