"""Writes what a person uploads to train one split; bundles.py says what is in it, and reads it."""

import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from housebrain_core.bundles import FORMAT, PARTS, SCHEMA
from housebrain_core.manifests import seal


def write_bundle(folder: Path, name: str, train: pa.Table, validation: pa.Table, **about) -> Path:
    """Writes folder/name.zip with fixed dates and order, so that the same contents are the same bytes.

    Returns:
        The zip's path.
    """
    inside = folder / f".{name}.contents"
    inside.mkdir(parents=True)
    for part, table in zip(PARTS, (train, validation), strict=True):
        pq.write_table(
            table, inside / f"{part}.parquet", compression="zstd", compression_level=12, use_dictionary=False,
            write_statistics=False, data_page_size=2**26, row_group_size=2**20, column_encoding={
                column: "DELTA_BYTE_ARRAY" if column == "id" else "PLAIN" for column in SCHEMA.names
            },
        )  # fmt: skip
    counts = {part: table.num_rows for part, table in zip(PARTS, (train, validation), strict=True)}
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
