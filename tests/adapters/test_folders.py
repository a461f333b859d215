"""Folders that are no adapter say what they are, in the name of what the person gave."""

import pytest
import torch
from adapter_files import CONFIG, WEIGHTS, make_adapter, zip_of
from safetensors.torch import save_file

from housebrain_core.adapters.adapter import try_adapters
from housebrain_core.adapters.archives import unpack_adapter, unpacked
from housebrain_core.adapters.folders import check_folder, read_record
from housebrain_core.errors import AdapterError


def lacking(folder, name, **others):
    (folder / name).unlink()
    for other, data in others.items():
        (folder / other).write_bytes(data)
    return folder


@pytest.mark.parametrize(
    ("missing", "others", "said"),
    [
        (WEIGHTS, {"adapter_model-00001-of-00002.safetensors": b"x"}, "holds .*: its weights in several files"),
        (WEIGHTS, {"adapter_model.bin": b"x"}, "housebrain convert"),
        (WEIGHTS, {"adapter_model-00001-of-00002.bin": b"x"}, "pickled weights.*save_pretrained"),
        (WEIGHTS, {"pytorch_model.bin": b"x"}, "pickled weights.*save_pretrained"),
        (WEIGHTS, {"lit_model.pth.lora": b"x"}, "LitGPT pickles them"),
        (WEIGHTS, {"model.gguf": b"GGUF"}, "for llama.cpp"),
        (WEIGHTS, {"adapters.safetensors": b"x"}, "MLX-LM.*A = lora_a.T"),
        (WEIGHTS, {"0000100_adapters.safetensors": b"x"}, "MLX-LM"),
        (WEIGHTS, {"adapter_0.pt": b"x"}, "torchtune.*FullModelHFCheckpointer"),
        (CONFIG, {"pytorch_lora_weights.safetensors": b"x"}, "Diffusers"),
        (WEIGHTS, {"zero_to_fp32.py": b"x"}, "spread over GPUs"),
        (WEIGHTS, {"__0_0.distcp": b"x"}, "spread over GPUs"),
        (
            WEIGHTS,
            {"other": b"x"},
            "lacks adapter_model.safetensors; .*it holds adapter_config.json, .*other.*holds both",
        ),
        (CONFIG, {"config.json": b"{}"}, "is a whole model, not an adapter"),
    ],
)
def test_a_folder_or_zip_that_lacks_something_says_what_it_is(missing, others, said, tmp_path):
    folder = lacking(make_adapter(tmp_path / "a"), missing, **others)
    with pytest.raises(AdapterError, match=said):
        check_folder(folder)
    path = zip_of(tmp_path / "hb.zip", {f"x/{one.name}": one.read_bytes() for one in folder.iterdir()})
    with pytest.raises(AdapterError, match=said):
        unpack_adapter(path, tmp_path / "unpacked")


LORA = "base_model.model.layers.0.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lora_unet_down_blocks_0_attn.lora_down.weight", "LoRA for a model that makes pictures"),
        ("transformer.transformer_blocks.0.attn.to_q.lora_A.weight", "LoRA for a model that makes pictures"),
        ("unet.down_blocks.0.attn.dora_scale", "LoRA for a model that makes pictures"),
        ("lycoris_blocks_0.lokr_w1", "LoHa or LoKr"),
        ("model.layers.0.self_attn.q_proj.lora_a", "as MLX-LM and torchtune name them"),
        ("layers.0.attn.q_proj.lora_b.weight", "as MLX-LM and torchtune name them"),
        ("model.layers.0.self_attn.q_proj.weight", "weights without LoRA, as of a whole model"),
        (LORA, f"without the {CONFIG} that its trainer wrote beside it: ask for both"),
    ],
)
def test_weights_without_a_configuration_are_named_by_their_tensors(name, said, tmp_path):
    """As kohya, OneTrainer, Diffusers, LyCORIS, MLX-LM and torchtune call them, in a file of any name."""
    path = tmp_path / "a" / "houses.safetensors"
    path.parent.mkdir()
    save_file({name: torch.ones(2, 2)}, path)
    with pytest.raises(AdapterError, match=f"{path.parent} holds houses.safetensors, .*{said}"):
        check_folder(path.parent)
    with pytest.raises(AdapterError, match=f"neither a folder nor a .zip; it holds .*{said}"):
        check_folder(path)
    packed = zip_of(tmp_path / "hb.zip", {"x/houses.safetensors": path.read_bytes()})
    with pytest.raises(AdapterError, match=f"{packed} holds houses.safetensors, .*{said}"):
        unpack_adapter(packed, tmp_path / "unpacked")


def test_of_a_folder_of_checkpoints_the_last_is_named_first_and_as_the_example(tmp_path):
    """As ms-swift leaves them: below a folder for each training, with a link to the last one."""
    for step in (2, 10, 100):
        make_adapter(tmp_path / f"out/v0/checkpoint-{step}")
    (tmp_path / "out/v0/last-checkpoint").symlink_to("checkpoint-100")
    with pytest.raises(AdapterError, match="holds checkpoint-100, checkpoint-10, checkpoint-2: .*v0/checkpoint-100"):
        check_folder(tmp_path / "out/v0")
    with pytest.raises(AdapterError, match="holds v0/checkpoint-100, v0/checkpoint-10, v0/checkpoint-2: .*-100"):
        check_folder(tmp_path / "out")


def test_a_file_in_the_place_of_a_folder_says_what_it_is(tmp_path):
    (tmp_path / "hb.rar").write_bytes(b"Rar!\x1a\x07\x01")
    with pytest.raises(AdapterError, match="neither a folder nor a .zip; it is a RAR archive: unpack it"):
        check_folder(tmp_path / "hb.rar")


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
@pytest.mark.parametrize(
    ("data", "said"), [(b"version https://git-lfs.github.com/spec/v1\n", "LFS pointer"), (b"<html>", "a web page")]
)
def test_a_file_that_is_something_else_says_what(name, data, said, tmp_path):
    folder = make_adapter(tmp_path / "a")
    (folder / name).write_bytes(data)
    (result,) = try_adapters({folder: folder}, accept_plain=True)
    assert isinstance(result, AdapterError) and said in str(result) and name in str(result)


def test_what_is_wrong_with_a_zip_is_said_in_the_name_of_the_zip(tmp_path):
    folder = make_adapter(tmp_path / "a", use_dora=True)
    path = zip_of(tmp_path / "hb-01.zip", {one.name: one.read_bytes() for one in folder.iterdir()})
    with unpacked([path]) as folders:
        (result,) = try_adapters(folders, accept_plain=True)
        assert str(result).startswith(f"{path} cannot be merged exactly") and str(folders[path]) not in str(result)


def test_a_folder_without_our_manifest_is_read_only_when_that_is_accepted(tmp_path):
    folder = make_adapter(tmp_path / "a")
    assert read_record(folder, accept_plain=True) == (None, None)
    with pytest.raises(AdapterError, match="--accept-plain"):
        read_record(folder, accept_plain=False)
