"""Tensors under the names of any wrapper, and adapters that people call alike."""

from pathlib import Path

import pytest
import torch
from adapter_files import NAME, make_adapter, merged_update, tensors

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.adapters.names import name_all, name_of, read_tensor_name, tensor_name
from housebrain_core.errors import AdapterError

MODULE = "model.layers.0.self_attn.q_proj"
WRAPPED = [
    "base_model.model.{}.lora_A.default.weight",
    "_orig_mod.base_model.model.{}.lora_A.weight",
    "base_model.model._orig_mod.{}.lora_A.weight",
    "module.base_model.model.{}.lora_A.weight",
    "_fsdp_wrapped_module.base_model.model.model.layers.0._fsdp_wrapped_module._checkpoint_wrapped_module"
    ".self_attn.q_proj.lora_A.default.weight",
    "base_model.model.base_model.model.{}.lora_A.weight",
    "{}.lora_A.weight",
]


@pytest.mark.parametrize("name", WRAPPED)
def test_what_wrappers_add_to_names_is_taken_away(name):
    assert read_tensor_name(name.format(MODULE)) == (MODULE, "A")
    assert tensor_name(*read_tensor_name(name.format(MODULE))) == f"base_model.model.{MODULE}.lora_A.weight"


@pytest.mark.parametrize("name", ["lora_A.weight", "x.lora_C.weight", "model.embed.weight", "a b.lora_A.weight", ""])
def test_what_is_no_lora_weight_has_no_module(name):
    assert read_tensor_name(name) is None


def test_an_adapter_of_wrapped_names_merges_to_the_same_update(tmp_path):
    plain = merged_update(make_adapter(tmp_path / "a"), tmp_path / "out")
    for number, (before, after) in enumerate(
        [("base_model.", "_orig_mod.base_model."), (".weight", ".default.weight")]
    ):
        values = {name.replace(before, after): value for name, value in tensors().items()}
        found = merged_update(make_adapter(tmp_path / str(number), values), tmp_path / "out")
        assert torch.equal(found, plain)


def test_two_adapters_in_one_file_are_refused(tmp_path):
    again = {name.replace(".weight", ".other.weight"): value for name, value in tensors(1).items()}
    folder = make_adapter(tmp_path / "a", tensors() | again)
    with pytest.raises(AdapterError, match="the same factor, of two adapters in one file"):
        read_adapter(folder, accept_plain=True)
    assert NAME.format(0, "A") in tensors()


def test_an_adapter_is_called_as_its_folder_or_zip(tmp_path, monkeypatch):
    assert name_of(tmp_path / "hb-kaggle-04.zip") == name_of(tmp_path / "hb-kaggle-04") == "hb-kaggle-04"
    (tmp_path / "folder.zip").mkdir()
    assert name_of(tmp_path / "folder.zip") == "folder.zip"
    monkeypatch.chdir(tmp_path)
    assert name_of(Path()) == tmp_path.name


def test_adapters_of_one_name_are_told_apart_by_as_much_of_the_path_as_it_takes():
    paths = [Path(p) for p in ("/w/anna/lora_model", "/w/ben/lora_model.zip", "/w/x/a/c", "/w/y/a/c", "/w/hb-01")]
    assert list(name_all(paths).values()) == ["anna/lora_model", "ben/lora_model", "x/a/c", "y/a/c", "hb-01"]
    assert list(name_all([Path("/w/hb"), Path("/w/hb.zip")]).values()) == ["hb", "hb.zip"]
