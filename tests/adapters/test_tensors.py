"""Matrices of a safetensors file: what is read is what was written, and a file that changes meanwhile is refused."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from housebrain_core.adapters.tensors import TensorInfo, read_header, read_json, read_matrices, write_matrices
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


def test_what_is_written_is_read_by_the_library(tmp_path):
    matrices = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones((1, 4), np.float32)}
    write_matrices(tmp_path / "file", matrices)
    found = load_file(tmp_path / "file")
    assert {name: value.tolist() for name, value in found.items()} == {n: m.tolist() for n, m in matrices.items()}


def test_a_json_object_is_read_as_two_readers_would_both_understand_it():
    assert read_json(b'{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    for data in (b'{"a": 1, "a": 2}', b'{"a": NaN}', b"[1]", b"{", b"\xff", b'{"a":' + b"[" * 99_999):
        with pytest.raises(ValueError, match=r"."):
            read_json(data)
