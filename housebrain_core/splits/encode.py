"""Reads a whole dataset and encodes every sample, on all cores, into tables that fit in memory."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from housebrain_core.data import workers
from housebrain_core.data.conditions import Condition
from housebrain_core.data.files import find_parts
from housebrain_core.data.samples import Item, Part, ReadLog, list_items
from housebrain_core.errors import DataError
from housebrain_core.house import codec
from housebrain_core.house.codec_text import encode_texts
from housebrain_core.progress import with_bar
from housebrain_core.splits.tables import PackedTable, as_numbers, as_rows, as_texts, pack, unpack

BLOCK, BLOCK_BYTES = 1_000, 2**23
"""Samples, or bytes of them, that are encoded at once: so many that the cost of an operation does not matter, and few
enough for memory and for the processor's cache."""
SHOWN = 50_000
"""Samples between lines of progress."""


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
        workers.start().submit(int)  # listing the files takes as long as their start
    chunks = workers.map_chunks(partial(encode_chunk, where=tuple(where)), list_items(source, ("train", "validation")))
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
    return any(len(list(islice(os.scandir(folder), workers.FEW))) == workers.FEW for folder in folders)


def encode_chunk(items: list[Item], where: Sequence[Condition] = ()) -> Chunk:
    """Reads, checks and encodes some items; runs in a worker process."""
    blocks: list[tuple[list[int], pa.RecordBatch]] = []
    bad: dict[int, str] = {}
    for texts in _read_blocks(items, bad):
        blocks.append(_encode_block(items, texts, where, bad))
    if not blocks:
        return Chunk({}, bad)
    places = [place for block, _ in blocks for place in block]
    rows = pa.concat_batches([rows for _, rows in blocks])
    names = rows["id"].to_pylist()
    parts = [items[place].part_of(name) for place, name in zip(places, names, strict=True)]
    found: dict[Part, Rows] = {}
    for part in dict.fromkeys(parts):
        of_part = [number for number, other in enumerate(parts) if other == part]
        own = rows if len(of_part) == len(parts) else rows.take(as_numbers(of_part))
        ids = [names[number] for number in of_part]
        found[part] = Rows([places[number] for number in of_part], ids, _hash_rows(own), pack(own))
    return Chunk(found, bad)


def _read_blocks(items: list[Item], bad: dict[int, str]) -> Iterator[dict[int, bytes | dict]]:
    """What is in the items, by their places, so many at a time that they fit in memory; takes note of bad ones."""
    texts: dict[int, bytes | dict] = {}
    size = 0
    for place, item in enumerate(items):
        try:
            texts[place] = item.load()
        except DataError as error:
            bad[place] = str(error)
            continue
        size += len(texts[place])
        if len(texts) == BLOCK or size > BLOCK_BYTES:
            yield texts
            texts, size = {}, 0
    if texts:
        yield texts


def _encode_block(
    items: list[Item], texts: dict[int, bytes | dict], where: Sequence[Condition], bad: dict[int, str]
) -> tuple[list[int], pa.RecordBatch]:
    """The places of good samples that meet the conditions, and a row for each; takes note of bad ones."""
    usual = [] if where else [place for place, text in texts.items() if type(text) is bytes]
    taken, rows = encode_texts([texts[place] for place in usual])
    places = [usual[number] for number in taken]
    found: dict[int, tuple] = {}
    for place in texts.keys() - places:
        try:
            sample = items[place].parse(texts[place])
            if all(condition.holds(sample) for condition in where):
                found[place] = (sample["id"], *codec.encode(sample), codec.dumps(sample["metadata"]))
        except DataError as error:
            bad[place] = str(error)
    if not found:
        return places, rows
    places += found
    order = np.argsort(places)
    rows = pa.concat_batches([rows, as_rows(zip(*found.values(), strict=True))])
    return [places[number] for number in order], rows.take(as_numbers(order))


def _hash_rows(rows: pa.RecordBatch) -> bytes:
    """Eight bytes for each row: a hash of its prompt and completion."""
    both = pc.binary_join_element_wise(rows["prompt"], rows["completion"], as_texts([""])[0])
    _, ends, text = both.buffers()
    ends, text = np.frombuffer(ends, np.int32)[: rows.num_rows + 1].tolist(), memoryview(text)
    return b"".join([hashlib.sha256(text[start:end]).digest()[:8] for start, end in pairwise(ends)])


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
