"""An adapter that the base model does not take, or takes in part, is never judged in silence."""

import shutil

import pytest
from adapter_files import change_config, change_tensors, make_adapter

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.config import MergeConfig
from housebrain_core.errors import AdapterError, ConfigError
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.llm.loading import find_base
from housebrain_core.merge.merge import merge_adapters


def copy_of(folder, target):
    return shutil.copytree(folder, target)


def test_names_that_peft_does_not_find_are_refused_and_a_merge_mends_them(adapters, base, tmp_path):
    folder = copy_of(adapters[0], tmp_path / "wrapped")
    change_tensors(
        folder, lambda t: {name.replace("model.layers", "_orig_mod.model.layers"): v for name, v in t.items()}
    )
    with pytest.raises(AdapterError, match="(?s)wrapped was loaded only in part.*housebrain merge --models"):
        HouseBrainLLM(folder, str(base))
    merge_adapters(MergeConfig(models=[folder], output=tmp_path / "mended"), report=lambda line: None)
    assert HouseBrainLLM(tmp_path / "mended", str(base)).name == "mended"


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
