"""Matrices put aside on disk between two passes over the modules, so that memory does not grow with their number."""

import math
import tempfile
from threading import Lock

import numpy as np
import torch


class Shelf:
    """Float32 matrices by name, in a temporary file that goes with it; any thread may get them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._file = tempfile.TemporaryFile(prefix="housebrain-")  # noqa: SIM115, closed with the shelf
        self._places: dict[str, tuple[int, list[tuple[int, ...]]]] = {}

    def put(self, name: str, *matrices: torch.Tensor) -> None:
        """Puts matrices aside, together under one name.

        Raises:
            OSError: there is no room for them.
        """
        with self._lock:
            self._places[name] = self._file.seek(0, 2), [tuple(matrix.shape) for matrix in matrices]
            for matrix in matrices:
                matrix.numpy().tofile(self._file)

    def get(self, name: str) -> list[torch.Tensor]:
        """The matrices of a name, in memory of their own."""
        start, shapes = self._places[name]
        with self._lock:
            self._file.seek(start)
            flat = [np.fromfile(self._file, np.float32, math.prod(shape)) for shape in shapes]
        return [torch.from_numpy(values).view(shape) for values, shape in zip(flat, shapes, strict=True)]
