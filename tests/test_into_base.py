"""The update in the full weights: streamed, rounded once, every module found exactly once, never into 4 bits."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from housebrain_core import into_base
from housebrain_core.config import MergeConfig
from housebrain_core.errors import ConfigError, HouseBrainError
from housebrain_core.merge import merge_adapters

INDEX = "model.safetensors.index.json"


@pytest.fixture
def merged(adapters, tmp_path):
    merge(adapters, tmp_path / "merged", rank="full")
    return tmp_path / "merged"


@pytest.fixture(autouse=True)
def any_revision(request, monkeypatch):
    """The bases below are rewritten copies of the tiny base, so that their hashes differ."""
    if "real_revision" in request.fixturenames:
        return
    monkeypatch.setattr(into_base, "find_base_folder", lambda name, adapter: (into_base.Path(name), "of the test"))


def merge(models, output, **more) -> dict:
    return merge_adapters(MergeConfig(models=models, output=output, **more), report=lambda line: None)


def in_half(base, folder, shards: int = 1):
    """The tiny base in float16, in one or several files."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float16)
    model.save_pretrained(folder, max_shard_size="60KB" if shards > 1 else "5GB")
    return folder


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
    monkeypatch.setattr(into_base, "BLOCK", 2**11)  # several blocks of rows in each matrix
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


def test_killed_at_any_moment_it_leaves_no_folder_that_looks_finished(base, merged, tmp_path):
    half = in_half(base, tmp_path / "base")
    code = (
        "import sys, time; from pathlib import Path\n"
        "from housebrain_core import into_base\n"
        "from housebrain_core.config import MergeConfig\n"
        "from housebrain_core.merge import merge_adapters\n"
        "into_base.find_base_folder = lambda name, adapter: (Path(name), 'x')\n"
        "slow = into_base._add\n"
        "def add(*a):\n    print('module', flush=True); time.sleep(0.2); return slow(*a)\n"
        "into_base._add = add\n"
        "merge_adapters(MergeConfig(models=[sys.argv[1]], output=sys.argv[2], into_base=sys.argv[3]), report=print)\n"
    )
    command = [sys.executable, "-c", code, str(merged), str(tmp_path / "full"), str(half)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        for line in process.stdout:
            if line.startswith("module"):
                time.sleep(0.3)
                process.kill()
    assert process.returncode == -9
    assert not (tmp_path / "full").exists()
    assert not list(tmp_path.glob(".full.partial/manifest.json"))
    merge([merged], tmp_path / "full", into_base=str(half))
    assert (tmp_path / "full" / "manifest.json").exists() and not (tmp_path / ".full.partial").exists()
    shutil.rmtree(tmp_path / "full")


@pytest.fixture
def real_revision():
    """Switches off `any_revision`."""


def test_the_base_that_the_adapters_were_trained_on_is_accepted_and_named(base, adapters, tmp_path, real_revision):
    result = merge(adapters, tmp_path / "full", into_base=str(base))
    trained_on = json.loads((adapters[0] / "adapter_config.json").read_text())["revision"]
    assert result["base"]["revision"] == trained_on and trained_on.startswith("sha256:")


def test_another_base_than_the_adapters_were_trained_on_is_refused(base, adapters, tmp_path, real_revision):
    half = in_half(base, tmp_path / "base")
    with pytest.raises(ConfigError, match="Give the very base model they were trained on"):
        merge(adapters, tmp_path / "full", into_base=str(half))
    assert not (tmp_path / "full").exists()


def test_finding_the_base_imports_no_transformers():
    code = (
        "import sys; from housebrain_core import into_base; from housebrain_core.base_models import resolve_base\n"
        "assert 'transformers' not in sys.modules and 'peft' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
