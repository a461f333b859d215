"""Tables of encoded samples that stay compressed in memory, a tenth of their size, until rows are wanted."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from housebrain_core.bundles import SCHEMA

_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


class PackedTable:
    """Rows with the columns of bundles.SCHEMA: appended in batches, read in any ascending order."""

    def __init__(self) -> None:
        self._packs: list[pa.Buffer] = []
        self._starts: list[int] = [0]
        self._rows: np.ndarray | None = None

    @property
    def num_rows(self) -> int:
        """Rows in the table."""
        return self._starts[-1] if self._rows is None else len(self._rows)

    def append(self, batch: pa.RecordBatch) -> None:
        """Adds rows to a table that `select` has not narrowed."""
        self._packs.append(_pack(batch))
        self._starts.append(self._starts[-1] + batch.num_rows)

    def select(self, rows: Sequence[int]) -> "PackedTable":
        """The same table with only these rows, which are given in ascending order; nothing is copied."""
        narrow = PackedTable()
        narrow._packs, narrow._starts = self._packs, self._starts
        positions = np.asarray(rows, dtype=np.int64)
        narrow._rows = positions if self._rows is None else self._rows[positions]
        return narrow

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, unpacked batch by batch."""
        rows = np.arange(self.num_rows) if self._rows is None else self._rows
        ends = np.searchsorted(rows, self._starts)
        for pack, start, first, last in zip(self._packs, self._starts, ends, ends[1:], strict=False):
            if first < last:
                yield _unpack(pack).take(pa.array(rows[first:last] - start))

    def unpack(self) -> pa.Table:
        """All rows as one ordinary table."""
        return pa.Table.from_batches(self.batches(), SCHEMA)

    def records(self) -> Iterator[tuple[Any, ...]]:
        """Each row as a tuple in the order of the columns."""
        for batch in self.batches():
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _pack(batch: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA, options=_OPTIONS) as stream:
        stream.write_batch(batch)
    return sink.getvalue()


def _unpack(pack: pa.Buffer) -> pa.RecordBatch:
    return pa.ipc.open_stream(pack).read_next_batch()
