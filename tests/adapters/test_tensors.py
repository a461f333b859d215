"""Matrices of a safetensors file: what is read is what was written, and a file that changes meanwhile is refused."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from housebrain_core.adapters.tensors import TensorInfo, read_header, read_json, read_matrices, write_tensors
from housebrain_core.errors import AdapterError


@pytest.fixture
def written(tmp_path):
    """A file with a tensor of each type an adapter may have, and the tensors."""
    tensors = {str(dtype)[6:]: torch.randn(9, 14).to(dtype) for dtype in (torch.float32, torch.float16, torch.bfloat16)}
    save_file(tensors, tmp_path / "file")
    return tmp_path / "file", tensors


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


def test_a_json_object_is_read_as_two_readers_would_both_understand_it():
    assert read_json(b'{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    for data in (b'{"a": 1, "a": 2}', b'{"a": NaN}', b"[1]", b"{", b"\xff", b'{"a":' + b"[" * 99_999):
        with pytest.raises(ValueError, match=r"."):
            read_json(data)
