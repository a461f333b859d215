"""Reads a whole dataset and encodes every sample, on all cores, into tables that fit in memory."""

import gc
import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from housebrain_core import codec
from housebrain_core.bundles import SCHEMA
from housebrain_core.codec_text import encode_text
from housebrain_core.conditions import Condition
from housebrain_core.data import Item, Part, ReadLog, list_items
from housebrain_core.datafiles import find_parts
from housebrain_core.errors import DataError
from housebrain_core.progress import with_bar
from housebrain_core.tables import PackedTable, as_numbers, as_texts, pack, unpack

CHUNK = 2_000
"""Samples that a worker gets at once."""
FEW = 5_000
"""Samples below which starting workers takes longer than they save."""
SHOWN = 50_000
"""Samples between lines of progress."""
T = TypeVar("T")


@dataclass
class EncodedDataset:
    """A dataset ready to be cut: tables with the columns of bundles.SCHEMA, and where each sample came from."""

    log: ReadLog
    tables: dict[Part, PackedTable] = field(
        default_factory=lambda: {"train": PackedTable(), "validation": PackedTable()}
    )
    files: dict[Part, list[str | None]] = field(default_factory=lambda: {"train": [], "validation": []})
    """The .json file of each row, or None where a file holds many samples."""
    digests: dict[Part, bytearray] = field(default_factory=lambda: {"train": bytearray(), "validation": bytearray()})
    """Eight bytes for each row that was read: a hash of its prompt and completion."""

    held_out: bool = False
    """Whether the source has no validation part, so that its samples were held out by their ids."""
    about: dict[str, int] = field(default_factory=dict)
    """What was found in it, for the summary."""

    def narrow(self, part: Part, rows: list[int]) -> None:
        """Keeps these rows only, which are given in ascending order."""
        self.tables[part] = self.tables[part].select(rows)
        self.files[part] = [self.files[part][row] for row in rows]
        digests = np.frombuffer(bytes(self.digests[part]), np.uint64)
        self.digests[part] = bytearray(digests[np.asarray(rows, np.int64)].tobytes())

    def find_repeats(self) -> tuple[dict[Part, list[int]], int, int]:
        """Looks for samples with the same brief and design, whatever their ids.

        Returns:
            The rows of each part without repeats and without training samples that are in validation too; how
            many samples repeat an earlier one of their part; and how many validation samples are in train.
        """
        train, validation = (np.frombuffer(bytes(self.digests[part]), np.uint64) for part in ("train", "validation"))
        first = {
            "train": np.unique(train, return_index=True)[1],
            "validation": np.unique(validation, return_index=True)[1],
        }
        repeats = len(train) + len(validation) - sum(len(rows) for rows in first.values())
        first["train"] = first["train"][~np.isin(train[first["train"]], validation)]
        keep = {part: np.sort(rows).tolist() for part, rows in first.items()}
        return keep, repeats, int(np.isin(validation, train).sum())


class Rows(NamedTuple):
    """The good samples of one part that a worker has encoded, in order."""

    positions: list[int]
    """Of each among the items."""
    ids: list[str]
    digests: bytes
    """Eight bytes for each."""
    packed: pa.Buffer
    """Columns of bundles.SCHEMA, as tables.pack compresses them."""


class Chunk(NamedTuple):
    """What a worker makes of some items."""

    rows: dict[Part, Rows]
    bad: dict[int, str]
    """Position -> what is wrong with the item."""


def encode_dataset(
    source: Path, log: ReadLog, report: Callable[[str], None], where: Sequence[Condition] = ()
) -> EncodedDataset:
    """Reads and encodes both parts of a dataset.

    Args:
        source: anything that `data.read_samples` takes.
        log: takes note of bad samples, or raises at the first when it is strict.
        report: gets lines of progress.
        where: conditions that samples must meet to be taken.

    Raises:
        DataError: there is no dataset, or one of its files is damaged as a whole.
    """
    dataset = EncodedDataset(log)
    shown = 0
    if _has_many_files(source):
        _start_workers().submit(int)  # listing the files takes as long as their start
    chunks = map_chunks(partial(encode_chunk, where=tuple(where)), list_items(source, ("train", "validation")))
    for items, chunk in with_bar(chunks, partial(count_files, source), "reading", lambda step: len(step[0])):
        repeated = _take_note(items, chunk, log)
        dataset.held_out = items[0].held_out
        for part, rows in chunk.rows.items():
            _append(dataset, part, items, rows, repeated)
        if log.good // SHOWN > shown:
            shown = log.good // SHOWN
            report(f"read {log.good:,} samples")
    report(f"read {log.good:,} samples")
    log.ids.clear()  # a tenth of the memory, and there are no more parts
    return dataset


def count_files(source: Path) -> int | None:
    """The samples of a dataset with one file for each, else None."""
    files = [path for paths in find_parts(source).values() for path in paths]
    return len(files) if all(path.endswith(".json") for path in files) else None


def _has_many_files(source: Path) -> bool:
    """Whether a folder in it has so many that workers will be needed; looks no further than to the last of those."""
    folders = [entry for entry in os.scandir(source) if entry.is_dir()] if source.is_dir() else []
    return any(len(list(islice(os.scandir(folder), FEW))) == FEW for folder in folders)


def encode_chunk(items: list[Item], where: Sequence[Condition] = ()) -> Chunk:
    """Reads, checks and encodes some items; runs in a worker process."""
    found: dict[Part, list[tuple]] = {}
    bad: dict[int, str] = {}
    for position, item in enumerate(items):
        try:
            row = _encode_item(item, where)
        except DataError as error:
            bad[position] = str(error)
            continue
        if row is not None:
            digest = hashlib.blake2b((row[1] + row[2]).encode(), digest_size=8).digest()
            found.setdefault(item.part_of(row[0]), []).append((position, digest, *row))
    return Chunk({part: _pack_rows(rows) for part, rows in found.items()}, bad)


def _encode_item(item: Item, where: Sequence[Condition]) -> tuple[str, str, str, str] | None:
    """A row with the columns of bundles.SCHEMA; None where the sample does not meet the conditions."""
    line = item.load()
    row = encode_text(line) if type(line) is bytes and not where else None
    if row is not None:
        return row
    sample = item.parse(line)
    if not all(condition.holds(sample) for condition in where):
        return None
    return sample["id"], *codec.encode(sample), codec.dumps(sample["metadata"])


def _pack_rows(rows: list[tuple]) -> Rows:
    positions, digests, *columns = zip(*rows, strict=True)
    packed = pack(pa.RecordBatch.from_arrays([as_texts(column) for column in columns], schema=SCHEMA))
    return Rows(list(positions), list(columns[0]), b"".join(digests), packed)


def _append(dataset: EncodedDataset, part: Part, items: list[Item], rows: Rows, repeated: set[int]) -> None:
    """Adds the rows of a chunk to a dataset, but those whose ids were there before."""
    if repeated.isdisjoint(rows.positions):
        keep, packed, digests = rows.positions, rows.packed, rows.digests
    else:
        left = [row for row, position in enumerate(rows.positions) if position not in repeated]
        keep = [rows.positions[row] for row in left]
        packed = pack(unpack(rows.packed).take(as_numbers(left)))
        digests = b"".join([rows.digests[8 * row : 8 * row + 8] for row in left])
    dataset.tables[part].append(packed, len(keep))
    dataset.digests[part] += digests
    dataset.files[part] += [items[place].path if items[place].number is None else None for place in keep]


def map_chunks(function: Callable, items: Iterator[Item]) -> Iterator[tuple[list[Item], Chunk]]:
    """(items, function(items)) for chunks of items, in order; in worker processes when there are many."""
    first = list(islice(items, FEW))
    rest = chain(first, items)
    chunks = iter(lambda: list(islice(rest, CHUNK)), [])
    if len(first) < FEW:
        yield from ((chunk, function(chunk)) for chunk in chunks)
        return
    workers, pool = os.cpu_count() or 1, _start_workers()
    waiting: deque = deque()
    for chunk in chunks:
        waiting.append((chunk, pool.submit(_work, function, [tuple(item) for item in chunk])))
        if len(waiting) > 2 * workers:
            done, future = waiting.popleft()
            yield done, future.result()
    yield from ((done, future.result()) for done, future in waiting)


def in_worker(samples: int, function: Callable[..., T], *args) -> "Future[T]":
    """Starts function(*args) in a worker process when there are many samples, else runs it; for the main thread."""
    if samples >= FEW:
        return _start_workers().submit(function, *args)
    done: Future[T] = Future()
    done.set_result(function(*args))
    return done


def _work(function: Callable, items: list[tuple]):
    """What a worker runs; plain tuples travel at a third of the cost of named ones."""
    return function([Item(*item) for item in items])


def _start_workers():
    """A process for each core, or those that run already; idle ones end after ten seconds."""
    from loky import get_reusable_executor  # unlike the standard library's, it needs no guarded main module

    return get_reusable_executor(os.cpu_count(), initializer=_prepare_worker, initargs=(os.getpid(),))


def _prepare_worker(parent: int) -> None:
    """Lets a worker end with its parent, even one that was killed; idle ones would stay for ever."""
    gc.disable()  # samples have no reference cycles, and looking for them costs a tenth of the time
    if os.name == "posix":
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:  # a process whose parent is gone gets another
        time.sleep(0.1)  # far sooner than another run comes to where this one writes
    os._exit(1)


def _take_note(items: list[Item], chunk: Chunk, log: ReadLog) -> set[int]:
    """Logs bad items and repeated ids in the order of the items; returns the positions of the repeated ones."""
    if not chunk.bad and log.add_new([name for rows in chunk.rows.values() for name in rows.ids]):
        return set()
    good = {pos: name for rows in chunk.rows.values() for pos, name in zip(rows.positions, rows.ids, strict=True)}
    repeated: set[int] = set()
    for position in sorted(good.keys() | chunk.bad.keys()):
        try:
            if position in chunk.bad:
                raise DataError(chunk.bad[position])
            log.add(good[position])
        except DataError as error:
            log.refuse(items[position].origin, str(error))
            repeated.add(position)
    return repeated
