"""Folders that are no adapter say what they are, in the name of what the person gave."""

import pytest
from adapter_files import CONFIG, WEIGHTS, make_adapter, zip_of

from housebrain_core.adapters.adapter import try_adapters
from housebrain_core.adapters.archives import unpacked
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
        (WEIGHTS, {"adapter_model-00001-of-00002.safetensors": b"x"}, "holds its weights in 1 files"),
        (WEIGHTS, {"adapter_model.bin": b"x"}, "housebrain convert"),
        (WEIGHTS, {"model.gguf": b"GGUF"}, "for llama.cpp"),
        (WEIGHTS, {}, "lacks adapter_model.safetensors"),
        (CONFIG, {"config.json": b"{}"}, "is a whole model, not an adapter"),
    ],
)
def test_a_folder_that_lacks_something_says_what_it_is(missing, others, said, tmp_path):
    with pytest.raises(AdapterError, match=said):
        check_folder(lacking(make_adapter(tmp_path / "a"), missing, **others))


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
