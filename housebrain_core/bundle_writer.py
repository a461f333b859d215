"""Writes what a person uploads to train one split; bundles.py says what is in it, and reads it."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from housebrain_core.bundles import FORMAT, SCHEMA
from housebrain_core.manifests import seal

GROUP = 5_000
"""Rows that are compressed together."""


def write_contents(folder: Path, name: str, parts: dict[str, Iterable[pa.RecordBatch]]) -> None:
    """Writes the tables of a bundle to folder/.name.contents, in memory for 5,000 rows; `seal_bundle` comes next.

    Args:
        folder: where the zip will be.
        name: of the bundle, without .zip.
        parts: the batches of train and validation, with the columns of `SCHEMA`.
    """
    inside = folder / f".{name}.contents"
    inside.mkdir(parents=True)
    for part, batches in parts.items():
        _write_parquet(inside / f"{part}.parquet", batches)


def seal_bundle(folder: Path, name: str, counts: dict[str, int], **about) -> Path:
    """Makes folder/name.zip of what `write_contents` wrote, with fixed dates and order: same contents, same bytes.

    Returns:
        The zip's path.
    """
    inside = folder / f".{name}.contents"
    seal(inside, "bundle", name=name, counts=counts, format=FORMAT, **about)
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(inside.iterdir()):
            member = zipfile.ZipInfo(f"{name}/{file.name}", date_time=(1980, 1, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            archive.writestr(member, file.read_bytes())
            file.unlink()
    inside.rmdir()
    return path


def _write_parquet(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """Level 6 takes two thirds of the time of level 8 for 8 % more bytes; lengths apart from the texts save 3 %."""
    writer = pq.ParquetWriter(
        path, SCHEMA, compression="zstd", compression_level=6, use_dictionary=False, write_statistics=False,
        data_page_size=2**26, column_encoding={
            column: "DELTA_BYTE_ARRAY" if column == "id" else "DELTA_LENGTH_BYTE_ARRAY" for column in SCHEMA.names
        },
    )  # fmt: skip
    with writer:
        waiting: list[pa.RecordBatch] = []
        for batch in batches:
            waiting.append(batch)
            if sum(batch.num_rows for batch in waiting) >= GROUP:
                writer.write_table(pa.Table.from_batches(waiting, SCHEMA).combine_chunks())
                waiting = []
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, SCHEMA).combine_chunks())
