"""The update in the full weights: streamed, rounded once, every module found exactly once, never into 4 bits."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from full_models import merge
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.config import MergeConfig
from housebrain_core.errors import ConfigError, HouseBrainError
from housebrain_core.export import into_base, streaming
from housebrain_core.house.briefs import SANITY_BRIEF
from housebrain_core.house.codec import DesignError
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.manifests import check_files, read_manifest
from housebrain_core.train.tiny import SHIPPED

INDEX = "model.safetensors.index.json"

pytestmark = pytest.mark.usefixtures("unverified")


@pytest.fixture
def merged(adapters, tmp_path):
    merge(adapters, tmp_path / "merged", rank="full")
    return tmp_path / "merged"


@pytest.fixture(autouse=True)
def any_revision(request, monkeypatch):
    """The bases below are rewritten copies of the tiny base, so that their hashes differ."""
    if "real_revision" in request.fixturenames:
        return
    monkeypatch.setattr(into_base, "find_base_folder", lambda name, adapters: (into_base.Path(name), "of the test"))


def in_half(base, folder, shards: int = 1):
    """The tiny base in float16, in one or several files."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float16)
    model.save_pretrained(folder, max_shard_size="60KB" if shards > 1 else "5GB")
    copy_tokenizer(base, folder)
    return folder


def copy_tokenizer(base, folder) -> None:
    for path in base.glob("tokenizer*.json"):
        shutil.copyfile(path, folder / path.name)


def test_a_card_says_what_the_model_is_made_of_and_the_manifest_lists_it(base, adapters, tmp_path):
    half = in_half(base, tmp_path / "base")
    result = merge(adapters, tmp_path / "full", into_base=str(half), base_view="nf4-dequant")
    card = (tmp_path / "full" / "README.md").read_text()
    front, _, text = card.removeprefix("---\n").partition("\n---\n")
    assert "library_name: transformers" in front.splitlines() and "3 adapters, strategy average" in text
    assert "as 4-bit training saw it" in text and "of the test" in text
    assert all(f"| {entry.name} | 0.3333 | `{entry.sha256}` |" in text for entry in result.inputs)
    assert "README.md" in read_manifest(tmp_path / "full", "model")["files"]


def test_the_prompt_on_the_card_of_an_export_is_what_a_model_gets_byte_by_byte(base, adapters, tmp_path, monkeypatch):
    half = in_half(base, tmp_path / "base")
    merge(adapters, tmp_path / "full", into_base=str(half), base_view="fp16")
    merge(adapters, tmp_path / "merged")
    sent = []
    for model in ("full", "merged"):
        llm = HouseBrainLLM(tmp_path / model, str(base), report=lambda line: None)
        generate = llm.model.generate
        monkeypatch.setattr(llm.model, "generate", lambda call=generate, **given: sent.append(given) or call(**given))
        with contextlib.suppress(DesignError):
            llm.generate_design(SANITY_BRIEF)
        card = (tmp_path / model / "README.md").read_text()
        shown = card.partition("## The prompt")[2].split("```")[1].removeprefix("\n")
        ids = sent[-1]["input_ids"][0][sent[-1]["attention_mask"][0].bool()].tolist()
        assert ids == llm.tokenizer(shown).input_ids and shown.endswith("}\n")
    assert len(sent) == 2


@pytest.mark.parametrize("shards", [1, 2])
def test_streamed_weights_are_those_of_merge_and_unload_within_one_rounding(base, merged, shards, tmp_path):
    half = in_half(base, tmp_path / "base", shards)
    assert (half / INDEX).exists() == (shards > 1)
    merge([merged], tmp_path / "full", into_base=str(half), base_view="fp16")
    loaded = AutoModelForCausalLM.from_pretrained(half, dtype=torch.float16)
    expected = PeftModel.from_pretrained(loaded, merged).merge_and_unload().state_dict()
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "full")
    assert found.dtype == torch.float16
    changed = 0
    for name, value in found.state_dict().items():
        spacing = torch.finfo(torch.float16).eps * expected[name].float().abs().clamp(min=2**-14)
        assert ((value.float() - expected[name].float()).abs() <= spacing).all(), name
        changed += int((value != load_all(half)[name]).any()) if "proj" in name else 0
    assert changed, "the update is in it"


def load_all(folder) -> dict[str, torch.Tensor]:
    return {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}


def test_the_dequantised_view_is_what_bitsandbytes_computes_with(base, merged, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "ROWS", 7)  # several blocks of rows in each matrix
    half = in_half(base, tmp_path / "base")
    merge([merged], tmp_path / "full", into_base=str(half))
    report = json.loads((tmp_path / "full" / "merge.json").read_text())
    assert report["base"]["view"] == "nf4-dequant", "the adapters were trained on a 4-bit base"
    before, after, update = load_all(half), load_all(tmp_path / "full"), load_file(merged / "adapter_model.safetensors")
    for module in report["rounding"]:
        codes, state = quantize_4bit(before[f"{module}.weight"], quant_type="nf4", compress_statistics=True)
        a, b = (update[f"base_model.model.{module}.lora_{side}.weight"] for side in "AB")
        expected = dequantize_4bit(codes, state).float() + b @ a
        spacing = torch.finfo(torch.float16).eps * expected.abs().clamp(min=2**-14)
        assert ((after[f"{module}.weight"].float() - expected).abs() <= spacing).all(), module


def test_a_quantised_base_is_refused(base, merged, tmp_path):
    half = in_half(base, tmp_path / "base")
    config = json.loads((half / "config.json").read_text()) | {"quantization_config": {"load_in_4bit": True}}
    (half / "config.json").write_text(json.dumps(config))
    with pytest.raises(HouseBrainError, match="quantised"):
        merge([merged], tmp_path / "full", into_base=str(half))
    assert not (tmp_path / "full").exists()


def test_a_module_missing_from_the_base_or_in_it_twice_is_refused(base, merged, tmp_path):
    half = in_half(base, tmp_path / "base")
    tensors = load_file(half / "model.safetensors")
    name = next(name for name in tensors if "q_proj" in name)
    value = tensors.pop(name)
    save_file(tensors, half / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(HouseBrainError, match=f"{name} is in it 0 times"):
        merge([merged], tmp_path / "full", into_base=str(half))
    names = {}
    for number in (1, 2):
        save_file({name: value, f"x{number}": value.clone()}, half / f"part{number}.safetensors")
        names[f"x{number}"] = f"part{number}.safetensors"
    (half / INDEX).write_text(json.dumps({"weight_map": names | dict.fromkeys(tensors, "model.safetensors")}))
    with pytest.raises(HouseBrainError, match=f"{name} is in it 2 times"):
        merge([merged], tmp_path / "full", into_base=str(half))


def test_values_beyond_float16_are_refused(base, merged, tmp_path):
    half = in_half(base, tmp_path / "base")
    tensors = load_file(half / "model.safetensors")
    name = next(name for name in tensors if "norm" in name)
    tensors[name] = tensors[name].float() + 1e5
    save_file(tensors, half / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(HouseBrainError, match="beyond 65504"):
        merge([merged], tmp_path / "full", into_base=str(half))


KILLED = """
import os, signal, sys
from pathlib import Path
from housebrain_core.export import into_base, streaming
from housebrain_core.config import MergeConfig
into_base.finish = lambda *given: []
into_base.find_base_folder = lambda name, adapters: (Path(name), "x")
streaming.SHARD_BYTES = 60_000
folder, seen = Path(sys.argv[2]).parent, 0

def die_before(number):
    def hook(event, arguments):
        global seen
        if event not in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"):
            return
        if str(folder) not in str(arguments[0]) or (event == "open" and arguments[1] and "r" in str(arguments[1])):
            return
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
    return hook

number = 0
while True:
    number += 1
    child = os.fork()
    if child == 0:
        sys.addaudithook(die_before(number))
        config = MergeConfig(models=[sys.argv[1]], output=sys.argv[2], into_base=sys.argv[3], base_view="fp16",
                             overwrite=True)
        into_base.merge_into_base(config, report=lambda line: None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    output = Path(sys.argv[2])
    print(number, os.WIFSIGNALED(status), (output / "manifest.json").exists(), output.exists(), flush=True)
    if not os.WIFSIGNALED(status):
        sys.exit(os.WEXITSTATUS(status))
"""


def test_killed_before_any_file_operation_it_leaves_no_folder_that_looks_finished(base, merged, tmp_path):
    """SIGKILL before the first, second, ... write, rename or removal, until one run comes through."""
    half = in_half(base, tmp_path / "base")
    command = [sys.executable, "-c", KILLED, str(merged), str(tmp_path / "full" / "model"), str(half)]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert ran.returncode == 0, ran.stderr[-1000:]
    rows = [line.split() for line in ran.stdout.splitlines()]
    assert len(rows) > 8 and rows[-1][1:] == ["False", "True", "True"]
    check_files(tmp_path / "full" / "model", read_manifest(tmp_path / "full" / "model", "model"))
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["model"], "what a killed run left is cleared"
    for _, killed, sealed, exists in rows[:-1]:
        assert killed == "True" and sealed == exists, "a folder in place is a sealed one"


def test_with_validation_both_views_are_measured_and_the_better_one_stays(adapters, base, splits, tmp_path, monkeypatch,
                                                                         real_revision):  # fmt: skip
    given = iter([2.0, 1.0, 1.0, 2.0])
    measured = []

    def loss(folder, data):
        measured.append((load_all(folder), true_loss(folder, data)))
        return next(given)

    true_loss = into_base._validation_loss
    monkeypatch.setattr(into_base, "_validation_loss", loss)
    for number, view in enumerate(("fp16", "nf4-dequant")):
        output = tmp_path / view
        result = merge(adapters, output, into_base=str(base), run_validation=True, data=splits)
        assert result.base.view == view and set(result.validation_losses) == {"nf4-dequant", "fp16"}
        found, (other, one) = load_all(output), (measured[2 * number + side][0] for side in (0, 1))
        kept, dropped = (one, other) if view == "fp16" else (other, one)
        assert all(torch.equal(found[name], kept[name]) for name in kept)
        assert any(not torch.equal(found[name], dropped[name]) for name in kept)
        assert not [path for path in output.iterdir() if path.is_dir()]
    assert all(0 < value < 5 for _, value in measured), "the real losses of the models"
    opened = [read_adapter(folder) for folder in adapters]
    best = min(opened, key=lambda adapter: adapter.run.validation_loss)
    worse = replace(result, validation_losses={result.base.view: 9.0})
    warning = into_base._warn_if_worse(worse, opened)
    assert warning.startswith(f"WARNING: THE MERGE IS WORSE than the best split, {best.name}: 9.0000 nats per token")
    assert replace(worse, warning=warning).notices[0] == warning
    assert into_base._warn_if_worse(replace(result, validation_losses={result.base.view: 0.1}), opened) == ""


@pytest.fixture
def real_revision():
    """Switches off `any_revision`."""


def test_the_base_that_the_adapters_were_trained_on_is_accepted_and_named(base, adapters, tmp_path, real_revision):
    result = merge(adapters, tmp_path / "full", into_base=str(base))
    trained_on = json.loads((adapters[0] / "adapter_config.json").read_text())["revision"]
    assert result.base.revision == trained_on and trained_on.startswith("sha256:")


def test_another_base_than_the_adapters_were_trained_on_is_refused(base, adapters, tmp_path, real_revision):
    half = in_half(base, tmp_path / "base")
    with pytest.raises(ConfigError, match="Give the very base model of the training"):
        merge(adapters, tmp_path / "full", into_base=str(half))
    assert not (tmp_path / "full").exists()


@pytest.mark.slow
def test_finding_the_base_imports_no_transformers():
    code = (
        "import sys; from housebrain_core.export import base_weights\n"
        "from housebrain_core.train.base_models import resolve_base\n"
        "assert 'transformers' not in sys.modules and 'peft' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_base_with_transposed_weights_gets_the_update_transposed(tmp_path):
    """GPT-2 stores (in_features, out_features); what is streamed is what PEFT merges."""
    torch.manual_seed(0)
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=32, vocab_size=1024)
    model = GPT2LMHeadModel(config).half()
    model.save_pretrained(tmp_path / "base")
    for path in SHIPPED.glob("tokenizer*.json"):
        shutil.copyfile(path, tmp_path / "base" / path.name)
    lora = LoraConfig(r=2, target_modules=["c_attn", "attn.c_proj"], fan_in_fan_out=True, init_lora_weights=False)
    adapted = get_peft_model(model, lora)
    adapted.save_pretrained(tmp_path / "adapter")
    lines = []
    config = MergeConfig(
        models=[tmp_path / "adapter"], output=tmp_path / "full", into_base=str(tmp_path / "base"), accept_plain=True
    )
    into_base.merge_into_base(config, report=lines.append)
    assert "base view fp16: nothing says that all were trained in 4 bits" in lines
    expected = adapted.merge_and_unload().state_dict()
    for name, value in load_file(tmp_path / "full" / "model.safetensors").items():
        assert torch.allclose(value.float(), expected[name].float(), atol=2e-3), name


def test_what_float16_loses_of_a_base_in_bfloat16_is_said(base, adapters, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    with torch.no_grad():
        model.get_input_embeddings().weight[0, :3] = 1e-20
    model.save_pretrained(tmp_path / "base")
    copy_tokenizer(base, tmp_path / "base")
    lines = []
    config = MergeConfig(models=adapters, output=tmp_path / "full", into_base=str(tmp_path / "base"), base_view="fp16")
    into_base.merge_into_base(config, report=lines.append)
    assert any("3 values of 1 tensors of the base are too small for float16" in line for line in lines), lines
