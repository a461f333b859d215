"""What a person uploads to train one split: a small zip of prompts and completions, ready to tokenise.

    split_04.zip
      split_04/train.parquet, split_04/validation.parquet   columns id, prompt, completion, metadata (JSON)
      split_04/manifest.json

Kaggle unpacks zips by itself, so a bundle is read packed or unpacked.
"""

import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from housebrain_core.errors import DataError
from housebrain_core.manifests import MANIFEST, check_files, read_manifest, seal, sha256_of

SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "prompt", "completion", "metadata")])
PARTS = ("train", "validation")
GROUP = 10_000
"""Rows that are compressed together."""
FORMAT = 1
"""Version of prompts and completions (codec.VERSION) that this code trains on."""
MEMBER_LIMIT = 4 * 2**30
"""Bytes that one unpacked member may have: a guard against zip bombs."""


class Bundle(NamedTuple):
    """The contents of a bundle; the tables have the columns of `SCHEMA`."""

    name: str
    train: pa.Table
    validation: pa.Table
    manifest: dict


def write_contents(folder: Path, name: str, parts: dict[str, Iterable[pa.RecordBatch]]) -> None:
    """Writes the tables of a bundle to folder/.name.contents, in memory for 10,000 rows; `seal_bundle` comes next.

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
    """Level 7 takes a third of the time of level 12 for 12 % more bytes; larger row groups save less than 1 %."""
    writer = pq.ParquetWriter(
        path, SCHEMA, compression="zstd", compression_level=7, use_dictionary=False, write_statistics=False,
        data_page_size=2**26, column_encoding={
            column: "DELTA_BYTE_ARRAY" if column == "id" else "PLAIN" for column in SCHEMA.names
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


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle, packed or unpacked."""
    return path.suffix == ".zip" or (path / "train.parquet").is_file()


def read_bundle(path: Path) -> Bundle:
    """Reads a bundle and checks every member against its manifest.

    Args:
        path: split_04.zip, or the folder that unpacking it gave.

    Raises:
        DataError: it is none, is damaged, or of another format version.
    """
    if path.suffix == ".zip":
        manifest, members = _read_zip(path)
    elif path.is_dir():
        manifest = read_manifest(path, "bundle")
        check_files(path, manifest)
        members = {f"{part}.parquet": (path / f"{part}.parquet").read_bytes() for part in PARTS}
    else:
        raise DataError(f"{path} does not exist. Give the bundle's zip, or the folder it was unpacked to.")
    found = {manifest.get("format"), manifest.get("codec_version", FORMAT)}
    if found != {FORMAT}:
        unknown = ", ".join(sorted(str(version) for version in found - {FORMAT}))
        raise DataError(
            f"{path} is a bundle of format {unknown}; this code reads format {FORMAT}. "
            "Use the notebook that came with the bundle, or split the dataset again."
        )
    tables = [pq.read_table(io.BytesIO(members[f"{part}.parquet"])) for part in PARTS]
    if any(not set(SCHEMA.names) <= set(table.column_names) for table in tables):
        raise DataError(f"{path} lacks one of the columns {', '.join(SCHEMA.names)}. Split the dataset again.")
    return Bundle(manifest["name"], *tables, manifest)


def _read_zip(path: Path) -> tuple[dict, dict[str, bytes]]:
    """Manifest and members of a zip, by base name; nothing is unpacked to disk."""
    members: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = Path(info.filename).name
                if name not in (MANIFEST, "train.parquet", "validation.parquet"):
                    continue
                if ".." in info.filename or info.filename.startswith("/") or name in members:
                    raise DataError(f"{path} has an unsafe member {info.filename!r}; get the bundle again.")
                if info.file_size > MEMBER_LIMIT:
                    raise DataError(f"{path}: {info.filename} would unpack to {info.file_size} bytes.")
                members[name] = archive.read(info)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Give the bundle that `housebrain split` wrote.") from None
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise DataError(f"{path} is damaged ({error}). Copy or upload it again.") from None
    if MANIFEST not in members or "train.parquet" not in members:
        raise DataError(
            f"{path} holds no train.parquet: unpack it and give the folder if it holds a split's JSON files."
        )
    try:
        manifest = json.loads(members[MANIFEST])
        problems = [
            name
            for name, expected in manifest["files"].items()
            if name not in members or sha256_of(members[name]) != expected["sha256"]
        ]
    except (KeyError, ValueError, TypeError, AttributeError):
        raise DataError(f"{path} has no readable {MANIFEST}: it is not a HouseBrain bundle.") from None
    if problems or set(manifest["files"]) < {"train.parquet", "validation.parquet"}:
        raise DataError(f"{path} is damaged: {', '.join(problems)} differ from the manifest. Copy or upload it again.")
    return manifest, members
