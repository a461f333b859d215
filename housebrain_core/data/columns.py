"""A dataset as columns: one per field of briefs and designs, of every sample, read on all cores."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from housebrain_core.data.samples import Item, ReadLog, list_items
from housebrain_core.data.workers import map_chunks
from housebrain_core.errors import DataError
from housebrain_core.house.codec import dumps
from housebrain_core.splits.tables import as_numbers, as_texts

ECHO = "(the brief itself)"
"""Stands for a value of a design that is the whole brief."""
ABSENT = "(absent)"
"""Stands for a field that a sample does not have."""


class Chunk(NamedTuple):
    """What a worker makes of some items; lists are of the good samples, in order."""

    ids: list[str]
    parts: list[str]
    digests: list[bytes]
    """Of the content of each sample, its id and metadata left out."""
    columns: dict[str, pa.Array]
    positions: list[int]
    bad: dict[int, str]


@dataclass
class Columns:
    """All samples of a dataset, field by field."""

    log: ReadLog
    parts: list[str] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    fields: dict[str, pa.ChunkedArray] = field(default_factory=dict)
    """Path such as output.plot.length -> values: all numbers, all booleans, or text (JSON text for mixed ones)."""


def read_columns(source: Path, report: Callable[[str], None] = print) -> Columns:
    """Reads every sample of both parts.

    Raises:
        DataError: there is no dataset, or none of its samples can be read.
    """
    log, result, found = ReadLog(), None, []
    result = Columns(log)
    shown = 0
    for items, chunk in map_chunks(read_chunk, list_items(source, ("train", "validation"))):
        found.append((len(chunk.ids), chunk.columns))
        result.parts += chunk.parts
        result.digests += chunk.digests
        _take_note(items, chunk, log)
        if log.good // 50_000 > shown:
            shown = log.good // 50_000
            report(f"read {log.good:,} samples")
    log.check(1.0)
    names = dict.fromkeys(name for _, columns in found for name in columns)
    result.fields = {name: _join(name, found) for name in names}
    return result


def read_chunk(items: Iterable[Item]) -> Chunk:
    """Reads and checks some items and turns them into columns; runs in a worker process."""
    chunk = Chunk([], [], [], {}, [], {})
    values: dict[str, list] = {}
    for position, item in enumerate(items):
        try:
            part, sample = item.read()
            content = dumps(sample["input"]) + dumps(sample["output"])
        except DataError as error:
            chunk.bad[position] = str(error)
            continue
        _flatten("input", sample["input"], None, len(chunk.ids), values)
        _flatten("output", sample["output"], sample["input"], len(chunk.ids), values)
        chunk.ids.append(sample["id"])
        chunk.parts.append(part)
        chunk.positions.append(position)
        chunk.digests.append(hashlib.blake2b(content.encode(errors="surrogatepass"), digest_size=12).digest())
    for name, column in values.items():
        column += [_MISSING] * (len(chunk.ids) - len(column))
        chunk.columns[name] = _to_array(column)
    return chunk


_MISSING = object()


def _flatten(path: str, value: Any, brief: Any, row: int, values: dict[str, list]) -> None:
    """Appends the leaves of a value to their columns; lists are leaves, with their length beside them."""
    if type(value) is dict and value:
        if brief is None or value != brief:
            for key, item in value.items():
                name = f"{path}.{key}"
                if type(item) in (dict, list):
                    _flatten(name, item, brief, row, values)
                elif name in values and len(values[name]) == row:  # as nearly always
                    values[name].append(item)
                else:
                    _append(values, name, item, row)
            return
        value = ECHO
    elif type(value) is list and value:
        _append(values, f"{path} (count)", len(value), row)
    _append(values, path, value, row)


def _append(values: dict[str, list], path: str, item: Any, row: int) -> None:
    column = values.setdefault(path, [])
    column += [_MISSING] * (row - len(column))
    column.append(item)


def _to_array(column: list) -> pa.Array:
    """Numbers, booleans or text as they are; everything else as JSON text."""
    kinds = {type(value) for value in column}
    if kinds <= {str}:
        return as_texts(column)
    if kinds <= {bool}:
        bits = pa.py_buffer(np.packbits(column, bitorder="little"))  # pa.array imports pandas; see tables.as_texts
        return pa.Array.from_buffers(pa.bool_(), len(column), [None, bits])
    if kinds <= {int} or kinds <= {int, float}:
        try:
            return as_numbers(column, *kinds) if len(kinds) == 1 else pa.array(column, pa.float64())
        except (pa.ArrowInvalid, OverflowError):  # integers beyond 64 bits
            pass
    return as_texts([_as_text(value) for value in column])


def _as_text(value: Any) -> str:
    if value is _MISSING:
        return ABSENT
    return value if type(value) is str else dumps(value)


def _join(name: str, found: list[tuple[int, dict[str, pa.Array]]]) -> pa.ChunkedArray:
    """A column over all chunks, of the one kind that fits all."""
    arrays = [columns.get(name, pa.array([ABSENT] * count)) for count, columns in found if count]
    kinds = {array.type for array in arrays}
    if kinds == {pa.int64(), pa.float64()}:
        return pa.chunked_array([array.cast(pa.float64()) for array in arrays])
    if len(kinds) > 1:
        arrays = [a if a.type == pa.string() else pa.array([json.dumps(v) for v in a.to_pylist()]) for a in arrays]
    return pa.chunked_array(arrays)


def _take_note(items: list[Item], chunk: Chunk, log: ReadLog) -> None:
    """Logs bad items and repeated ids; a repeated id is bad, and its content still counts."""
    good = dict(zip(chunk.positions, chunk.ids, strict=True))
    for position, item in enumerate(items):
        try:
            if position in chunk.bad:
                raise DataError(chunk.bad[position])
            log.add(good[position])
        except DataError as error:
            log.refuse(item.origin, str(error))
