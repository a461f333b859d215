"""What is put aside on disk comes back bit for bit, to any thread, and leaves nothing behind."""

import tempfile
from concurrent.futures import ThreadPoolExecutor

import torch

from housebrain_core.shelf import Shelf


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
