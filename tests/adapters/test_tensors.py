"""Pieces of a safetensors file: what is read is what was written, on any system, and a file hashed as it is written."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file

from housebrain_core.adapters.tensors import HashedFile, TensorFile, read_header
from housebrain_core.errors import AdapterError
from housebrain_core.manifests import describe_file, read_manifest, seal


@pytest.fixture(params=["read at a position", "opened for every piece"])
def written(request, tmp_path, monkeypatch):
    """A file with a tensor of each type an adapter may have, and the tensors."""
    if request.param == "opened for every piece":
        monkeypatch.delattr(os, "preadv", raising=False)
    tensors = {str(dtype)[6:]: torch.randn(9, 14).to(dtype) for dtype in (torch.float32, torch.float16, torch.bfloat16)}
    save_file(tensors, tmp_path / "file")
    return tmp_path / "file", tensors


def test_pieces_are_those_of_the_whole(written):
    path, tensors = written
    file, entries = TensorFile(path), read_header(path)
    for name, tensor in tensors.items():
        assert torch.equal(file.read(entries[name]), tensor)
        assert torch.equal(file.read(entries[name], 5, 40), tensor.flatten()[5:40])
        assert torch.equal(file.read_part(entries[name], 2, 7, dim=0), tensor[2:7])
        assert torch.equal(file.read_part(entries[name], 3, 11, dim=1), tensor[:, 3:11])
        assert torch.equal(file.read_part(entries[name], 0, 14, dim=1), tensor)


def test_many_threads_share_a_file(written):
    path, tensors = written
    file, entry = TensorFile(path), read_header(path)["float32"]
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda row: file.read_part(entry, row, row + 1, dim=0), [*range(9)] * 50))
    assert torch.equal(torch.cat(rows), tensors["float32"].repeat(50, 1))


def test_a_file_that_becomes_shorter_is_said(written):
    path, _ = written
    file, entries = TensorFile(path), read_header(path)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(AdapterError, match="shorter"):
        for entry in entries.values():
            file.read(entry)


def test_a_file_hashed_as_it_is_written_is_sealed_without_reading_it(tmp_path):
    with HashedFile(tmp_path / "weights") as file:
        for piece in (b"one", memoryview(b"two"), memoryview(torch.arange(5).numpy()).cast("B")):
            file.write(piece)
    assert file.description == describe_file(tmp_path / "weights")
    (tmp_path / "other").write_bytes(b"x")
    seal(tmp_path, "adapter", known={"weights": file.description | {"size": -1}})
    files = read_manifest(tmp_path, "adapter")["files"]
    assert files == {"other": describe_file(tmp_path / "other"), "weights": file.description | {"size": -1}}
