"""Matrices put aside on disk, so that memory grows neither with the modules nor with the adapters of a merge."""

import contextlib
import ctypes
import math
import tempfile
from collections.abc import Iterator
from threading import Lock
from typing import BinaryIO

import numpy as np
import torch

LARGE = 2**20
"""Bytes from which on a matrix is put aside while others are worked on; those of seven adapters, 56 x 56, never are."""


class Shelf:
    """Float32 matrices by name, in a temporary file that goes with it; any thread may get them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._file = tempfile.TemporaryFile(prefix="housebrain-")  # noqa: SIM115, closed with the shelf
        self._places: dict[str, tuple[int, list[tuple[int, ...]]]] = {}

    def put(self, name: str, *matrices: torch.Tensor) -> None:
        """Puts matrices aside, together under one name.

        Raises:
            OSError: there is no room for them, with the folder of temporary files as its file name.
        """
        with self._lock:
            self._places[name] = self._file.seek(0, 2), [tuple(matrix.shape) for matrix in matrices]
            _write(self._file, *(matrix.numpy().tobytes() for matrix in matrices))

    def get(self, name: str) -> list[torch.Tensor]:
        """The matrices of a name, in memory of their own."""
        start, shapes = self._places[name]
        with self._lock:
            self._file.seek(start)
            flat = [np.fromfile(self._file, np.float32, math.prod(shape)) for shape in shapes]
        return [torch.from_numpy(values).view(shape) for values, shape in zip(flat, shapes, strict=True)]


@contextlib.contextmanager
def put_aside(*matrices: torch.Tensor) -> Iterator[None]:
    """Gives the memory of large matrices away until the end of a block, where they are what they were.

    Each must have its memory to itself, from torch; nothing may use it in the block.

    Raises:
        OSError: there is no room for them, with the folder of temporary files as its file name.
    """
    storages = [matrix.untyped_storage() for matrix in matrices]
    large = [(storage, storage.nbytes()) for storage in storages if storage.nbytes() >= LARGE]
    if not large:
        yield
        return
    with tempfile.TemporaryFile(prefix="housebrain-") as file:
        for storage, _ in large:
            _write(file, _bytes_of(storage))
            storage.resize_(0)
        try:
            yield
        finally:
            file.seek(0)
            for storage, size in large:
                storage.resize_(size)
                if file.readinto(_bytes_of(storage)) != size:
                    raise OSError(f"a temporary file in {tempfile.gettempdir()} lost what was written to it")


def _write(file: BinaryIO, *pieces: bytes | ctypes.Array) -> None:
    """Writes all of them, to the last byte, or says where there is no room."""
    try:
        for piece in pieces:
            file.write(piece)
        file.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None


def _bytes_of(storage: torch.UntypedStorage) -> ctypes.Array:
    """The memory itself; through NumPy it could not be given away any more."""
    return (ctypes.c_char * storage.nbytes()).from_address(storage.data_ptr())
