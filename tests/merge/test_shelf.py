"""What is put aside on disk comes back bit for bit, to any thread, and leaves nothing behind."""

import errno
import io
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from housebrain_core.merge.shelf import Shelf, put_aside


def test_matrices_come_back_bit_for_bit_to_threads_that_ask_at_once():
    generator = torch.Generator().manual_seed(0)
    given = {f"module {n}": [torch.randn(n, 64, generator=generator).T, torch.randn(3, n + 1, generator=generator)]
             for n in range(50)}  # fmt: skip
    given["nothing is left of it"] = [torch.empty(7, 0), torch.empty(0, 7)]
    shelf = Shelf()
    for name, matrices in given.items():
        shelf.put(name, *matrices)
    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(list(given) * 3, pool.map(shelf.get, list(given) * 3), strict=True))
    assert all(torch.equal(a, b) for name, pair in given.items() for a, b in zip(pair, found[name], strict=True))


def test_a_matrix_taken_may_be_changed_and_the_shelf_keeps_its_own():
    shelf = Shelf()
    shelf.put("one", torch.ones(2, 2))
    shelf.get("one")[0].zero_()
    assert shelf.get("one")[0].sum() == 4


def test_no_file_stays_when_the_shelf_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shelf = Shelf()
    shelf.put("one", torch.ones(2, 2))
    del shelf
    assert not list(tmp_path.iterdir())


def test_large_matrices_leave_memory_and_come_back_bit_for_bit_in_all_their_views():
    generator = torch.Generator().manual_seed(1)
    large, other, small = (torch.randn(size, size, dtype=torch.float64, generator=generator) for size in (400, 500, 9))
    before, view = [matrix.clone() for matrix in (large, other, small)], other.T[3:]
    with put_aside(large, view, small):
        assert [matrix.untyped_storage().nbytes() for matrix in (large, other, small)] == [0, 0, 9 * 9 * 8]
    assert all(torch.equal(old, new) for old, new in zip(before, (large, other, small), strict=True))
    assert torch.equal(view, before[1].T[3:])


def test_they_come_back_after_an_error_too():
    matrix = torch.ones(400, 400, dtype=torch.float64)
    with pytest.raises(ZeroDivisionError), put_aside(matrix):
        raise ZeroDivisionError
    assert matrix.sum() == 400 * 400


def test_a_full_disk_is_an_error_and_no_matrix_of_zeros(monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **settings: Full())
    matrix = torch.ones(400, 400, dtype=torch.float64)
    with pytest.raises(OSError, match="No space left") as refused, put_aside(matrix):
        pass
    assert matrix.sum() == 400 * 400 and refused.value.filename == tempfile.gettempdir()
    with pytest.raises(OSError, match="No space left"):
        Shelf().put("one", matrix.float())
