"""Matrices of a safetensors file: what is read is what was written, under the names of any wrapper."""

import os

import numpy as np
import pytest
import torch
from adapter_files import make_adapter, merged_update, tensors
from safetensors.torch import load_file, save_file

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.adapters.tensors import (
    TensorInfo,
    explain_tensors,
    read_header,
    read_matrices,
    read_tensor_name,
    tensor_name,
    write_tensors,
)
from housebrain_core.errors import AdapterError


@pytest.fixture
def written(tmp_path):
    """A file with a tensor of each type an adapter may have, and the tensors."""
    values = {str(dtype)[6:]: torch.randn(9, 14).to(dtype) for dtype in (torch.float32, torch.float16, torch.bfloat16)}
    save_file(values, tmp_path / "file")
    return tmp_path / "file", values


def test_matrices_of_any_type_come_in_float32(written):
    path, tensors = written
    assert read_header(path)["bfloat16"] == TensorInfo("BF16", (9, 14))
    for names in (["float32"], ["float32", "float16"], list(tensors)):
        for name, matrix in zip(names, read_matrices(path, names), strict=True):
            assert matrix.dtype == np.float32 and np.array_equal(matrix, tensors[name].float().numpy())


def test_a_file_that_becomes_shorter_is_said(written):
    path, tensors = written
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(AdapterError, match="has changed while it was read"):
        read_matrices(path, list(tensors))


def test_tensors_written_one_by_one_give_the_bytes_of_the_library(tmp_path):
    types = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16, torch.int32, torch.float32, torch.int64,
             torch.float64)  # fmt: skip
    tensors = {str(dtype)[6:]: torch.randn(3, 5).to(dtype) for dtype in types} | {"number": torch.tensor(7)}
    tensors |= {"none": torch.zeros(0, 4), "ä": torch.ones(5, 3).T.contiguous()}
    save_file(tensors, tmp_path / "theirs", metadata={"format": "pt"})
    infos = read_header(tmp_path / "theirs")
    asked = []
    write_tensors(
        tmp_path / "ours", dict(reversed(infos.items())), lambda name: asked.append(name) or tensors[name].numpy()
    )
    loaded = load_file(tmp_path / "ours")
    assert set(loaded) == set(tensors) and all(torch.equal(loaded[name], value) for name, value in tensors.items())
    assert sorted(asked) == sorted(tensors), "each is asked for once"
    del tensors["ä"], infos["ä"]  # which JSON may write in two ways
    save_file(tensors, tmp_path / "theirs", metadata={"format": "pt"})
    write_tensors(tmp_path / "ours", infos, lambda name: tensors[name].numpy())
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_a_tensor_of_another_size_than_announced_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a has 12 bytes"):
        write_tensors(tmp_path / "file", {"a": TensorInfo("F32", (2, 3))}, lambda name: np.ones(3, np.float32))


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


def test_the_base_weight_that_peft_saves_below_a_lora_is_left_out_and_said(tmp_path):
    """PEFT does so where the output layer is among target_modules."""
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    values = tensors() | {f"{module}.base_layer.weight": torch.ones(6, 5)}
    adapter = read_adapter(make_adapter(tmp_path / "a", values), accept_plain=True)
    assert adapter.doubts == (f"{module}.base_layer.weight is in its file too, and left out: it is taken to be as the "
                              "base has it",)  # fmt: skip
    assert torch.equal(
        merged_update(tmp_path / "a", tmp_path / "out"), merged_update(make_adapter(tmp_path / "b"), tmp_path / "o")
    )


@pytest.mark.parametrize(
    ("name", "info", "said"),
    [
        ("a.q_proj.lora_magnitude_vector", ("F32", (6,)), "DoRA"),
        ("a.embed_tokens.lora_embedding_A", ("F32", (2, 9)), "embedding"),
        ("a.q_proj.lora_a", ("F32", (6, 2)), "MLX-LM"),
        ("lora_unet_0.lora_down.weight", ("F32", (2, 6)), "pictures"),
        ("lora_unet_0.alpha", ("F32", ()), "pictures"),
        ("a.q_proj.lora_E", ("F32", (2, 1)), "AdaLoRA"),
        ("a.q_proj.bias", ("F32", (6,)), "bias none"),
        ("a.lm_head.base_layer.weight", ("F32", (9, 6)), "save_embedding_layers=False"),
        ("a.model.embed_tokens.weight", ("F32", (9, 6)), "save_embedding_layers=False"),
        ("a.norm.weight", ("F32", (6,)), "modules_to_save"),
        ("a.experts.base_layer.lora_A.weight", ("F32", (2, 6)), "on top of another adapter"),
        ("a.q_proj.lora_A.weight", ("F8_E4M3", (2, 6)), "save it as float32"),
        ("a.q_proj.lora_A.weight", ("F32", (0,)), "ZeRO-3"),
        ("a.experts.lora_A.weight", ("F32", (4, 2, 6)), "of 3 dimensions"),
        ("something", ("F32", (4,)), "no LoRA weight"),
    ],
)
def test_what_is_no_factor_says_what_it_is_and_what_to_do_once_for_all_of_its_kind(name, info, said):
    (line,) = explain_tensors({f"layers.{layer}.{name}": TensorInfo(*info) for layer in range(3)})
    assert said in line and "and 2 more: " in line
