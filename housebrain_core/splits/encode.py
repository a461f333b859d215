"""Any dataset as prompts and completions: encoded whole, on all cores, as one bundle, or its validation part alone."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from housebrain_core.config import SplitConfig
from housebrain_core.contents import parse_json, read_json
from housebrain_core.data.fields import USUAL, Fields, Sample
from housebrain_core.data.files import DatasetFiles, find_dataset, is_validation_part
from housebrain_core.data.processes import Chunk, map_chunks, note_chunk, read_chunk
from housebrain_core.data.samples import Item, Part, ReadLog, list_items, read_parts
from housebrain_core.display.progress import with_bar
from housebrain_core.errors import DataError
from housebrain_core.house import codec
from housebrain_core.manifests import MANIFEST, check_files, read_manifest
from housebrain_core.settings import Condition
from housebrain_core.splits.bundle import SCHEMA, Bundle, is_bundle, read_bundle
from housebrain_core.splits.parts import SUMMARY, read_splits

ENCODED = pa.schema([*SCHEMA, ("content", pa.int64()), ("file", pa.string())])
"""Columns of encoded samples: those of a bundle, a hash of prompt and completion, and the .json file of the sample, or
null where a file holds many."""
SELECTION = "selection"
"""Kind of the manifest of a dataset that `housebrain select` wrote."""
SHOWN = 50_000
"""Samples between lines of progress."""


@dataclass
class EncodedDataset:
    """A dataset ready to be cut."""

    log: ReadLog
    tables: dict[Part, pa.Table]
    """The good samples of each part, in the order of file names and lines, with the columns of `ENCODED`."""
    held_out: bool = False
    """Whether the source has no validation part, so that its samples were held out by their ids."""
    repeats: int = 0
    """Samples with the content of an earlier one of their part."""
    leaks: int = 0
    """Validation samples with the content of a training sample."""

    def narrow(self, part: Part, rows: Sequence[int] | np.ndarray) -> None:
        """Keeps these rows of a part, given in ascending order."""
        self.tables[part] = self.tables[part].take(pa.array(rows, pa.int64()))

    def find_repeats(self) -> dict[Part, np.ndarray]:
        """Looks for samples with the same brief and design, whatever their ids, and counts them.

        Returns:
            The rows of each part without repeats and without training samples that are in validation too.
        """
        train, validation = (self.tables[part]["content"].to_numpy() for part in ("train", "validation"))
        first: dict[Part, np.ndarray] = {
            "train": np.unique(train, return_index=True)[1],
            "validation": np.unique(validation, return_index=True)[1],
        }
        self.repeats = len(train) + len(validation) - sum(len(rows) for rows in first.values())
        self.leaks = int(np.isin(validation, train).sum())
        first["train"] = first["train"][~np.isin(train[first["train"]], validation)]
        return {part: np.sort(rows) for part, rows in first.items()}


def encode_dataset(
    source: Path,
    log: ReadLog,
    report: Callable[[str], None],
    where: Sequence[Condition] = (),
    fields: Fields = USUAL,
) -> EncodedDataset:
    """Reads and encodes both parts of a dataset.

    Args:
        source: anything that `data.read_samples` takes.
        log: takes note of bad samples, or raises at the first when it is strict.
        report: gets lines of progress.
        where: conditions that samples must meet to be taken.
        fields: which fields are input and output.

    Raises:
        DataError: there is no dataset, or one of its files is damaged as a whole.
    """
    batches: dict[Part, list[pa.RecordBatch]] = {"train": [], "validation": []}
    held_out = False
    shown = 0
    files = find_dataset(source)
    log.aside = files.describe()
    items_of = list_items(source, ("train", "validation"), fields, files)
    chunks = map_chunks(partial(encode_chunk, where=tuple(where), fields=fields), items_of)
    for items, chunk in with_bar(chunks, partial(count_files, files), "reading", lambda step: len(step[0])):
        held_out = items[0].held_out
        good = note_chunk(items, chunk, log)
        for part, rows in batches.items():
            rows.append(to_batch([row for of_part, *row in good if of_part == part]))
        if log.good // SHOWN > shown:
            shown = log.good // SHOWN
            report(f"read {log.good:,} samples")
    report(f"read {log.good:,} samples")
    return EncodedDataset(log, {part: pa.Table.from_batches(rows, ENCODED) for part, rows in batches.items()}, held_out)


def count_files(dataset: DatasetFiles) -> int | None:
    """The samples of a dataset with one file for each, else None."""
    files = [path for paths in dataset.parts.values() for path in paths]
    return len(files) if all(path.endswith(".json") for path in files) else None


def encode_chunk(items: list[Item], where: Sequence[Condition] = (), fields: Fields = USUAL) -> Chunk:
    """Reads, checks and encodes some items; runs in another process when there are many."""

    def encode_one(part: Part, sample: Sample, item: Item) -> tuple[Any, ...] | None:
        if not all(condition.holds(sample) for condition in where):
            return None
        return (part, *encode_row(sample), item.own_file(fields))

    return read_chunk(items, fields, encode_one)


def encode_row(sample: dict[str, Any]) -> tuple[str, str, str, str, int]:
    """The columns of `ENCODED` for a sample, but its file."""
    prompt, completion = codec.encode(sample)
    digest = hashlib.sha256((prompt + completion).encode()).digest()
    content = int.from_bytes(digest[:8], "little", signed=True)
    return sample["id"], prompt, completion, codec.dumps(sample["metadata"]), content


def to_batch(rows: list[list[Any]]) -> pa.RecordBatch:
    """Rows with the columns of `ENCODED`."""
    columns = zip(*rows, strict=True) if rows else [[]] * len(ENCODED)
    return pa.RecordBatch.from_arrays(
        [pa.array(column, kind.type) for column, kind in zip(columns, ENCODED, strict=True)], schema=ENCODED
    )


def hash_table(table: pa.Table) -> str:
    """A hash over the ids, prompts and completions of a table, in order, each followed by a zero byte."""
    digest = hashlib.sha256()
    for batch in table.to_batches():
        for row in zip(*(batch[name].to_pylist() for name in ("id", "prompt", "completion")), strict=True):
            digest.update("".join(f"{text}\0" for text in row).encode())
    return digest.hexdigest()


def bundle_from_dataset(source: Path) -> Bundle:
    """Any dataset as the bundle that one split of it would be; nothing is written.

    Raises:
        DataError: it cannot be read, or has no validation samples.
    """
    if (source / SUMMARY).is_file():
        raise DataError(f"{source} holds all splits; name the bundle of one, such as {source / 'split_01.zip'}.")
    dataset = encode_dataset(source, ReadLog(strict=True), lambda line: None)
    train = dataset.tables["train"].select(SCHEMA.names)
    validation = dataset.tables["validation"].select(SCHEMA.names)
    validation = validation.slice(0, SplitConfig(source=source).validation_samples)
    if not train.num_rows or not validation.num_rows:
        raise DataError(f"{source} needs samples for training and for validation.")
    digest = hash_table(train)
    manifest: dict[str, Any] = {"codec_version": codec.VERSION, "dataset": digest, "split_id": None, "splits": 1}
    selection = read_selection(source)
    if selection:
        manifest["selection"] = selection
    elif (source / MANIFEST).is_file():  # a folder of a splits folder knows which split it is
        manifest |= read_manifest(source, "split")
    manifest["files"] = {"train.parquet": {"sha256": digest}}
    return Bundle(source.name, train, validation, manifest)


def read_selection(source: Path) -> str | None:
    """What a dataset that `housebrain select` wrote says of itself, in a line.

    Args:
        source: any dataset.

    Returns:
        None for any other dataset.

    Raises:
        DataError: its files are not those that were written.
    """
    try:
        manifest = read_json(source / MANIFEST)
    except DataError:  # there is none, or it is somebody else's
        return None
    if manifest.get("kind") != SELECTION:
        return None
    check_files(source, read_manifest(source, SELECTION))
    return str(manifest.get("text"))[:500]


def read_drawn_fields(data: Path) -> tuple[str, ...]:
    """Fields of a design that do not follow from the brief, as generated data name them in their metadata.

    Args:
        data: as for `read_validation`.

    Returns:
        Names of fields of an `Answer`; none where the metadata say nothing, as in real data.
    """
    data = _first_bundle(data)
    if is_bundle(data):
        metadata = parse_json(read_bundle(data).validation.column("metadata")[0].as_py().encode())
    else:
        metadata = next(_read_validation_part(data))["metadata"]
    drawn = metadata.get("drawn") if isinstance(metadata, dict) else None
    return tuple(filter(lambda name: isinstance(name, str), drawn)) if isinstance(drawn, list) else ()


def read_validation(data: Path, limit: int | None = None) -> list[codec.Example]:
    """Validation samples as prompts and completions.

    Args:
        data: a splits folder (its common validation sample), a bundle, any dataset, or its validation part alone.
        limit: samples at most.

    Returns:
        At most so many, in the order of the data.

    Raises:
        DataError: there are none.
    """
    if not data.exists():
        raise DataError(f"{data} does not exist. Say with --data where validation samples are: splits, or a dataset.")
    data = _first_bundle(data)
    if is_bundle(data):
        bundle = read_bundle(data)
        codec.check_version(bundle.manifest.get("codec_version"), str(data))
        columns = [bundle.validation.column(name).to_pylist() for name in ("prompt", "completion")]
        examples = [codec.Example(*row) for row in zip(*columns, strict=True)][:limit]
    else:
        examples = [codec.encode(sample) for sample in islice(_read_validation_part(data), limit)]
    if not examples:
        raise DataError(f"{data} has no validation samples.")
    return examples


def _first_bundle(data: Path) -> Path:
    """Of a splits folder its first bundle, as all have the same validation samples; any other data as they are."""
    return data / read_splits(data)[0].bundle if (data / SUMMARY).is_file() else data


def _read_validation_part(data: Path) -> Iterator[Sample]:
    """The validation samples of a dataset, or all of what is a validation part by itself."""
    parts: tuple[Part, ...] = ("train", "validation") if is_validation_part(data) else ("validation",)
    yield from (sample for _, sample, _ in read_parts(data, parts, ReadLog(strict=True)))
