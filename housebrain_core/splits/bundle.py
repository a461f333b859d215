"""What a person uploads to train one split: split_04.zip, read as it is, or unpacked, as Kaggle does by itself.

It holds prompts and completions, a manifest, and the source files of this package.
"""

import io
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from housebrain_core.errors import DataError
from housebrain_core.manifests import check_files, read_manifest, seal, sha256_of
from housebrain_core.outputs import write_zip
from housebrain_core.splits.source_files import hash_source, read_source

SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "prompt", "completion", "metadata")])
FORMAT = 2
"""Version of the bundle. Format 1, of 0.1.0, has no code in it; its data are read all the same."""
READABLE = (1, FORMAT)
CODEC = 1
"""Version of prompts and completions (codec.VERSION) that this code trains on."""
GROUP = 5_000
"""Rows of a table that are compressed together."""
MEMBER_LIMIT = 4 * 2**30  # bytes that one unpacked member may have: a guard against zip bombs


class Bundle(NamedTuple):
    """The contents of a bundle; the tables have the columns of `SCHEMA`."""

    name: str
    train: pa.Table
    validation: pa.Table
    manifest: dict[str, Any]


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle, packed or unpacked."""
    return path.suffix == ".zip" or (path / "train.parquet").is_file()


def read_bundle(path: Path) -> Bundle:
    """Reads a bundle, packed or unpacked, and checks every file of its data.

    Args:
        path: a zip or a folder.

    Returns:
        Its tables, with the columns of `SCHEMA`, and its manifest.

    Raises:
        DataError: it is damaged, or of another format.
    """
    with _open(path) as place:
        return _read(place)


def read_bundle_manifest(path: Path) -> dict[str, Any]:
    """Reads the manifest of a bundle, packed or unpacked; nothing else of it is checked.

    Args:
        path: a zip or a folder.

    Returns:
        The manifest.

    Raises:
        DataError: this is no bundle, or its zip is damaged.
    """
    with _open(path) as place:
        return read_manifest(place, "bundle")


@contextmanager
def _open(path: Path) -> Iterator[Path | zipfile.Path]:
    """The folder that holds a bundle's files, on disk or in a zip; what is wrong with the zip is a DataError."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield _inside(archive, path)
        else:
            yield path
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Give the bundle that `housebrain split` wrote.") from None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise DataError(f"{path} is damaged ({error}). Copy or upload it again.") from None


def _inside(archive: zipfile.ZipFile, path: Path) -> zipfile.Path:
    """The folder of a zip that holds the bundle."""
    for member in archive.infolist():
        if ".." in member.filename or member.filename.startswith("/"):
            raise DataError(f"{path} has an unsafe member {member.filename!r}; get the bundle again.")
        if member.file_size > MEMBER_LIMIT:
            raise DataError(f"{path}: {member.filename} would unpack to more than {MEMBER_LIMIT} bytes.")
    names = [name for name in archive.namelist() if not name.startswith("__MACOSX")]  # macOS adds it when it zips
    folders = [name.removesuffix("train.parquet") for name in names if name.endswith("train.parquet")]
    if not folders:
        raise DataError(f"{path} holds no train.parquet: unpack it and give the folder if it holds JSON files.")
    return zipfile.Path(archive, folders[0])


def _read(place: Path | zipfile.Path) -> Bundle:
    """A bundle from its folder, on disk or in a zip."""
    manifest = read_manifest(place, "bundle")
    version = manifest.get("format")
    prompts = manifest.get("codec_version", CODEC)
    if version not in READABLE or prompts != CODEC:
        raise DataError(
            f"{place} is a bundle of format {version} with prompts of version {prompts}; this code reads bundles of "
            f"format {' and '.join(map(str, READABLE))} with prompts of version {CODEC}. "
            "Use the notebook that came with the bundle, or split the dataset again."
        )
    names = ["train.parquet", "validation.parquet"]
    check_files(place, {"files": {name: {} for name in names} | manifest["files"]})
    train, validation = (pq.read_table(io.BytesIO((place / name).read_bytes())) for name in names)
    if any(not set(SCHEMA.names) <= set(table.column_names) for table in (train, validation)):
        raise DataError(f"{place} lacks one of the columns {', '.join(SCHEMA.names)}. Split the dataset again.")
    return Bundle(manifest["name"], train, validation, manifest)


def write_bundle(folder: Path, name: str, train: pa.Table, validation: pa.Table, **about: Any) -> Path:
    """Writes folder/name.zip: the samples, the code of this package, and a manifest; same contents, same bytes.

    Args:
        folder: where the zip will be.
        name: of the bundle, without .zip.
        train: training samples, with the columns of `SCHEMA`.
        validation: validation samples, with the same columns.
        about: what its manifest says besides.

    Returns:
        The zip's path.
    """
    source = read_source()
    code: dict[str, Path | bytes] = {file: text.encode() for file, text in source.items()}
    hashes = {file: sha256_of(data) for file, data in code.items()}
    plan = {"leg": None, "legs": None, "parent_sha256": None}  # as in run.json; None where there is no plan of rounds
    inside = folder / f".{name}.contents"
    inside.mkdir(parents=True)
    write_table(train, inside / "train.parquet")
    write_table(validation, inside / "validation.parquet")
    seal(inside, "bundle", name=name, format=FORMAT, code=hashes, code_sha256=hash_source(source), **plan, **about)
    members: dict[str, Path | bytes] = {file.name: file for file in sorted(inside.iterdir())}
    path = folder / f"{name}.zip"
    write_zip(path, [(f"{name}/{file}", contents) for file, contents in (members | code).items()])
    shutil.rmtree(inside)
    return path


def write_table(table: pa.Table, path: Path) -> None:
    """Writes samples as Parquet.

    Level 6 takes two thirds of the time of level 8 for 8 % more bytes; lengths apart from the texts save 3 %.
    """
    pq.write_table(
        table, path, row_group_size=GROUP, compression="zstd", compression_level=6, use_dictionary=False,
        write_statistics=False, data_page_size=2**26, column_encoding={
            column: "DELTA_BYTE_ARRAY" if column == "id" else "DELTA_LENGTH_BYTE_ARRAY" for column in SCHEMA.names
        },
    )  # fmt: skip
