"""Folders that are no adapter say what they are, in the name of what the person gave."""

import pytest
from adapter_files import CONFIG, WEIGHTS, make_adapter, zip_of

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
        (WEIGHTS, {"model.gguf": b"GGUF"}, "for llama.cpp"),
        (WEIGHTS, {"adapters.safetensors": b"x"}, "MLX-LM.*A = lora_a.T"),
        (WEIGHTS, {"0000100_adapters.safetensors": b"x"}, "MLX-LM"),
        (WEIGHTS, {"adapter_0.pt": b"x"}, "torchtune.*FullModelHFCheckpointer"),
        (CONFIG, {"pytorch_lora_weights.safetensors": b"x"}, "Diffusers"),
        (WEIGHTS, {"zero_to_fp32.py": b"x"}, "spread over GPUs"),
        (WEIGHTS, {"__0_0.distcp": b"x"}, "spread over GPUs"),
        (WEIGHTS, {"other": b"x"}, "lacks adapter_model.safetensors; .*it holds adapter_config.json, .*other"),
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
