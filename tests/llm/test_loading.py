"""An adapter that the base model does not take, or takes in part, is never judged in silence."""

import json
import shutil

import pytest
import torch
from adapter_files import change_config, change_tensors, make_adapter
from full_models import small_adapter, small_base
from peft import PeftModel
from transformers import AutoModelForCausalLM

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.errors import AdapterError, ConfigError
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.llm.loading import find_base


def copy_of(folder, target):
    return shutil.copytree(folder, target)


WRAPPED = {".model.layers": "._orig_mod.model.layers"}
BARE = {"base_model.model.": ""}


@pytest.mark.parametrize("renamed", [WRAPPED, BARE])
def test_names_that_peft_does_not_find_load_as_they_are_merged(renamed, adapters, base, tmp_path):
    folder = copy_of(adapters[0], tmp_path / "wrapped")
    ((old, new),) = renamed.items()
    change_tensors(folder, lambda tensors: {name.replace(old, new): value for name, value in tensors.items()})
    assert_same_weights(folder, adapters[0], base)


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": 5}, {"target_modules": "((("}, {"target_modules": ["k_proj"]}, {"lora_dropout": "0.1"},
        {"exclude_modules": ["q_proj"]}, {"exclude_modules": 5}, {"layers_to_transform": "x"}, {"layers_pattern": 5},
        {"corda_config": "x"}, {"bias": None},
    ],
)  # fmt: skip
def test_settings_that_would_make_another_adapter_of_the_same_weights_are_not_followed(
    settings, adapters, base, tmp_path
):
    folder = copy_of(adapters[0], tmp_path / "strange")
    change_config(folder, **settings)
    assert_same_weights(folder, adapters[0], base)


def assert_same_weights(folder, other, base) -> None:
    weights = [
        {name: value for name, value in HouseBrainLLM(one, str(base)).model.named_parameters() if "lora_" in name}
        for one in (folder, other)
    ]
    assert weights[0].keys() == weights[1].keys() and weights[0]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_ranks_and_scalings_of_each_module_are_peft_s(tmp_path):
    base = small_base(tmp_path / "base")
    folder = small_adapter(tmp_path / "a")
    config = json.loads((folder / "adapter_config.json").read_text())
    config |= {"use_rslora": True, "alpha_pattern": {"layers.0.mlp.down_proj": 5}}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tokens = torch.arange(20)[None]
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder).eval()
    ours = HouseBrainLLM(folder, str(base)).model
    with torch.no_grad():
        assert torch.allclose(ours(tokens).logits, theirs(tokens).logits, atol=1e-6)
        with theirs.disable_adapter():
            assert not torch.allclose(ours(tokens).logits, theirs(tokens).logits, atol=1e-3)


def test_modules_of_other_sizes_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(AdapterError, match="a does not fit the base model .*size mismatch"):
        HouseBrainLLM(small_adapter(tmp_path / "a"), str(small_base(tmp_path / "base", width=128)))


def test_a_folder_that_is_no_model_says_what_it_is(tmp_path):
    (tmp_path / "pytorch_lora_weights.safetensors").write_bytes(b"x")
    for given in (None, "some/base"):
        with pytest.raises(AdapterError, match="an adapter of Diffusers"):
            HouseBrainLLM(tmp_path, given)


def test_an_untrained_adapter_is_named(adapters, base, tmp_path):
    folder = copy_of(adapters[0], tmp_path / "untrained")
    change_tensors(folder, lambda t: {name: v * 0 if "lora_B" in name else v for name, v in t.items()})
    with pytest.warns(UserWarning, match="untrained is untrained: every B is zero"):
        HouseBrainLLM(folder, str(base))


def test_full_names_of_modules_load_as_their_last_parts_do(adapters, base, tmp_path):
    folder = copy_of(adapters[0], tmp_path / "full")
    change_config(folder, target_modules=sorted(read_adapter(folder).shapes))
    llm = HouseBrainLLM(folder, str(base))
    other = HouseBrainLLM(adapters[0], str(base))
    names = [{name for name, _ in one.model.named_modules() if name.endswith("lora_B")} for one in (llm, other)]
    assert names[0] == names[1] and names[0]


def test_an_adapter_that_names_no_base_says_so(tmp_path):
    adapter = read_adapter(make_adapter(tmp_path / "a", base_model_name_or_path=None), accept_plain=True)
    with pytest.raises(ConfigError, match="does not say which base model it is for"):
        find_base(adapter, None)
