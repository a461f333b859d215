"""What a person uploads to train one split: a small zip of prompts and completions, ready to tokenise.

    split_04.zip
      split_04/train.parquet, split_04/validation.parquet   columns id, prompt, completion, metadata (JSON)
      split_04/manifest.json

Kaggle unpacks zips by itself, so a bundle is read packed or unpacked; nothing is unpacked to disk.
"""

import io
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from housebrain_core.errors import DataError
from housebrain_core.manifests import check_files, read_manifest

SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "prompt", "completion", "metadata")])
PARTS = ("train", "validation")
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


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle, packed or unpacked."""
    return path.suffix == ".zip" or (path / "train.parquet").is_file()


def read_bundle(path: Path) -> Bundle:
    """Reads a bundle, split_04.zip or the folder it unpacks to, and checks every member against its manifest.

    Raises:
        DataError: it is none, is damaged, or of another format version.
    """
    try:
        if path.suffix != ".zip":
            return _read(path)
        with zipfile.ZipFile(path) as archive:
            return _read(_inside(archive, path))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Give the bundle that `housebrain split` wrote.") from None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise DataError(f"{path} is damaged ({error}). Copy or upload it again.") from None


def _inside(archive: zipfile.ZipFile, path: Path) -> zipfile.Path:
    """The folder of a zip that holds the bundle."""
    unsafe = [name for name in archive.namelist() if ".." in name or name.startswith("/")]
    if unsafe:
        raise DataError(f"{path} has an unsafe member {unsafe[0]!r}; get the bundle again.")
    large = [info.filename for info in archive.infolist() if info.file_size > MEMBER_LIMIT]
    if large:
        raise DataError(f"{path}: {large[0]} would unpack to more than {MEMBER_LIMIT} bytes.")
    folders = [name.removesuffix("train.parquet") for name in archive.namelist() if name.endswith("train.parquet")]
    if not folders:
        raise DataError(f"{path} holds no train.parquet: unpack it and give the folder if it holds JSON files.")
    return zipfile.Path(archive, folders[0])


def _read(place: Path | zipfile.Path) -> Bundle:
    """A bundle from its folder, on disk or in a zip."""
    manifest = read_manifest(place, "bundle")
    unknown = {str(manifest.get("format")), str(manifest.get("codec_version", FORMAT))} - {str(FORMAT)}
    if unknown:
        raise DataError(
            f"{place} is a bundle of format {', '.join(sorted(unknown))}; this code reads format {FORMAT}. "
            "Use the notebook that came with the bundle, or split the dataset again."
        )
    names = [f"{part}.parquet" for part in PARTS]
    check_files(place, {"files": dict.fromkeys(names, {}) | manifest["files"]})
    tables = [pq.read_table(io.BytesIO((place / name).read_bytes())) for name in names]
    if any(not set(SCHEMA.names) <= set(table.column_names) for table in tables):
        raise DataError(f"{place} lacks one of the columns {', '.join(SCHEMA.names)}. Split the dataset again.")
    return Bundle(manifest["name"], *tables, manifest)
