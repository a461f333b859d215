"""A safetensors file, read and written piece by piece; its header is checked as untrusted data.

The format is an 8-byte little-endian length, a JSON header of that length, then the tensors' bytes
(https://huggingface.co/docs/safetensors). The library checks most of this too; here every refusal says what is
wrong, and neither reading nor writing ever holds more than one tensor.
"""

import hashlib
import json
import math
import os
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from housebrain_core.errors import AdapterError, HouseBrainError

HEADER_LIMIT = 16 * 2**20
"""Bytes; the header of a 7-billion model's adapter has 60,000."""
TENSOR_LIMIT = 20_000
"""Tensors in a file; an adapter of a 70-billion model has 1,120."""
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip


class HashedFile:
    """A file that is written from front to end, whose size and sha256 are known then without reading it again."""

    def __init__(self, path: Path):
        self._path, self._digest = path, hashlib.sha256()

    def __enter__(self) -> "HashedFile":
        self._file = self._path.open("wb", buffering=0)
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Writes all of `data`."""
        self._digest.update(data)
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[self._file.write(rest) :]

    def __exit__(self, *_: object) -> None:
        with self._file:
            os.fsync(self._file.fileno())  # a manifest promises these bytes, also after a power cut
            self.description = {"sha256": self._digest.hexdigest(), "size": self._file.tell()}


class Entry(NamedTuple):
    """A tensor of a file: type, shape, and where its bytes begin and end, counted from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Path, error: type[HouseBrainError] = AdapterError) -> dict[str, Entry]:
    """The tensors of a safetensors file, by name, in the order of their bytes.

    Raises:
        HouseBrainError: as `error`; the file is cut, its header is no valid one, or tensors overlap or leave gaps.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(HEADER_LIMIT, size - 8):
                raise ValueError(f"the header would have {length} bytes, the file has {size}")
            text = file.read(length)
        if not text.startswith(b"{"):
            raise ValueError("the header does not start with '{'")
        header = read_json(text)
        header.pop("__metadata__", None)
        if len(header) > TENSOR_LIMIT:
            raise ValueError(f"it lists {len(header)} tensors; at most {TENSOR_LIMIT} are expected")
        entries = {name: _entry(name, value, 8 + length) for name, value in header.items()}
        return _check_spans(entries, 8 + length, size)
    except (OSError, ValueError) as problem:
        raise error(f"{path} is damaged: {problem}. Copy it again.") from None


def read_json(data: bytes) -> dict[str, Any]:
    """A JSON object as plain data: no duplicate keys, no NaN, no endless nesting.

    Raises:
        ValueError: it is none.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    return value


class TensorFile:
    """Tensors of a safetensors file, a piece at a time in memory of their own, by any number of threads.

    It is not mapped, so that memory stays what is in use. Where the system can read at a position it is opened once,
    which takes a tenth off a merge; elsewhere for every piece.
    """

    def __init__(self, path: Path):
        self._path, self._descriptor = str(path), None
        if hasattr(os, "preadv"):
            self._descriptor = os.open(path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)

    def read(self, entry: Entry, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """A tensor, or its values from `start` up to `stop` as if it had one dimension."""
        if stop is None:
            return self.read(entry, 0, math.prod(entry.shape)).view(entry.shape)
        data = torch.empty(stop - start, dtype=DTYPES[entry.dtype])
        self._fill(data, entry.start + start * data.element_size())
        return data

    def read_part(self, entry: Entry, start: int, stop: int, dim: int) -> torch.Tensor:
        """Rows (dim 0) or columns (dim 1) of a matrix, from `start` up to `stop`."""
        rows, columns = entry.shape
        if dim == 0:
            return self.read(entry, start * columns, stop * columns).view(-1, columns)
        if stop - start == columns:
            return self.read(entry)
        data = torch.empty(rows, stop - start, dtype=DTYPES[entry.dtype])
        for number, line in enumerate(data):
            self._fill(line, entry.start + (number * columns + start) * data.element_size())
        return data

    def _fill(self, data: torch.Tensor, start: int) -> None:
        """Fills a contiguous tensor with the bytes of the file from `start` on."""
        data = data.view(torch.int16) if data.dtype == torch.bfloat16 else data  # which numpy does not know
        view = memoryview(data.numpy()).cast("B")
        while view:
            count = self._read_into(view, start)
            if not count:
                raise AdapterError(f"{self._path} became shorter while it was read. Copy it again.")
            view, start = view[count:], start + count

    def _read_into(self, view: memoryview, start: int) -> int:
        if self._descriptor is not None:
            return os.preadv(self._descriptor, [view], start)
        with open(self._path, "rb", buffering=0) as file:
            file.seek(start)
            return file.readinto(view)


def layout(tensors: dict[str, tuple[str, tuple[int, ...]]], metadata: dict[str, str]) -> tuple[bytes, dict[str, Entry]]:
    """The first bytes of a file to be written, and where each tensor will lie.

    Args:
        tensors: name -> (type, shape), in the order in which their bytes will follow.
        metadata: texts for the header.

    Returns:
        Length and header, padded to 8 bytes as the library does it; name -> entry.
    """
    offset, header, spans = 0, {"__metadata__": metadata}, {}
    for name, (dtype, shape) in tensors.items():
        end = offset + math.prod(shape) * DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        spans[name], offset = (offset, end), end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    first = 8 + len(text)
    entries = {name: Entry(*tensors[name], first + start, first + end) for name, (start, end) in spans.items()}
    return len(text).to_bytes(8, "little") + text, entries


def write_tensors(path: Path, shapes: dict[str, tuple[int, ...]], tensors: Iterable[torch.Tensor]) -> dict[str, Any]:
    """Writes float32 tensors one after another; the same bytes as `safetensors.torch.save_file`, in less memory.

    Args:
        path: file to write.
        shapes: name -> shape, sorted by name.
        tensors: in the same order.

    Returns:
        Size and sha256 of the file.
    """
    head, entries = layout({name: ("F32", shape) for name, shape in shapes.items()}, {"format": "pt"})
    with HashedFile(path) as file:
        file.write(head)
        for entry, tensor in zip(entries.values(), tensors, strict=True):
            assert tuple(tensor.shape) == entry.shape and tensor.dtype == torch.float32
            file.write(memoryview(tensor.contiguous().numpy()).cast("B"))
    return file.description


def _entry(name: str, value: Any, first: int) -> Entry:
    """One checked line of the header; integers are Python's, so nothing can overflow."""
    shown = repr(name[:120])  # escaped: it may hold anything
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{shown}: expected dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{shown}: type {repr(dtype)[:40]} is not one of {', '.join(DTYPES)}")
    for what, numbers in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(numbers, list) or [n for n in numbers if type(n) is not int or not 0 <= n < 2**63]:
            raise ValueError(f"{shown}: {what} {repr(numbers)[:80]} is no list of whole numbers")
    if len(offsets) != 2 or len(shape) > 8:
        raise ValueError(f"{shown}: {len(offsets)} offsets and {len(shape)} dimensions; expected 2 and at most 8")
    needed = math.prod(shape) * DTYPES[dtype].itemsize
    if offsets[1] - offsets[0] != needed:
        raise ValueError(f"{shown}: {shape} of {dtype} needs {needed} bytes, its offsets span {offsets}")
    return Entry(dtype, tuple(shape), first + offsets[0], first + offsets[1])


def _check_spans(entries: dict[str, Entry], first: int, size: int) -> dict[str, Entry]:
    """The entries by position, after a check that they fill the file without gap or overlap."""
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)))
    expected = first
    for name, entry in ordered.items():
        if entry.start != expected:
            raise ValueError(f"{name[:120]!r} begins at byte {entry.start} instead of {expected}")
        expected = entry.end
    if expected != size:
        raise ValueError(f"its tensors end at byte {expected}, the file has {size}")
    return ordered


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"{twice[:120]!r} occurs twice in its JSON")
    return result


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} in its JSON")
