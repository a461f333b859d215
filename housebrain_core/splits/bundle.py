"""What a person uploads to train one split: split_04.zip, read as it is, or unpacked, as Kaggle does by itself.

It holds prompts and completions, a manifest, and the source files of this package, whose hash a notebook names.
"""

import hashlib
import io
import json
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from housebrain_core.adapters.archives import MEMBER_LIMIT, RATIO_LIMIT, use_slashes
from housebrain_core.adapters.folders import CONFIG, WEIGHTS
from housebrain_core.data.lines import UNPACKED, read_batches
from housebrain_core.errors import DataError
from housebrain_core.manifests import MANIFEST, check_files, is_inside, read_manifest, seal, sha256_of
from housebrain_core.outputs import write_zip

SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "prompt", "completion", "metadata")])
FORMAT = 2  # of bundles; format 1, of 0.1.0, has no code in it, and its data are read all the same
READABLE = (1, FORMAT)
CODEC = 1  # version of prompts and completions (codec.VERSION) that this code trains on
GROUP = 5_000  # rows of a table that are compressed together
NO_PLACE = {"plan": None, "leg": None, "legs": None, "parent_sha256": None}  # `Place.about` where there is no plan
INIT = "init"  # folder of a bundle or leg file with the adapter that training starts from
PACKAGES = {"bundle": ("train.parquet", "bundle"), "leg": (f"{INIT}/{WEIGHTS}", "leg file")}
"""Kind of a manifest -> the file by which its folder is recognised in a zip, and what it is called in messages."""
PACKAGE = "housebrain_core"
KINDS = (".py", ".jinja", ".html", ".txt")  # endings of the files that belong to the package
AT_HOME = {
    f"{PACKAGE}/{name}"
    for name in (
        "cli.py", "commands", "parameters/settings.py", "merge", "rounds", "export", "serve", "data/audit.py",
        "data/audit_page.py", "data/audit.html", "data/audit_result.py", "data/columns.py", "data/findings.py",
        "data/formulas.py", "data/token_counts.py", "splits/assignments.py", "splits/costs.py", "splits/handouts.py",
        "splits/handout.md.jinja", "splits/hours.py", "splits/kaggle.py", "splits/notebooks.py", "splits/split.py",
        "splits/write.py", "adapters/inspection.py", "adapters/comparison.py", "adapters/compatibility.py",
        "adapters/convert.py", "adapters/unpickle.py", "evaluate/evaluate.py", "evaluate/judging.py",
        "evaluate/report.py", "evaluate/report.html", "evaluate/results.py", "evaluate/tables.py",
        "evaluate/verdict.py", "cloud/settings.py", "cloud/kaggle_account.py", "cloud/kaggle_split.py",
        "cloud/own_machines.py", "cloud/run_table.py", "cloud/notebook_run.py", "cloud/local_slots.py",
        "cloud/ray_slots.py", "select",
    )
}  # fmt: skip
"""What only the person who splits and merges runs; without it, the code adds less than 250 kB to a bundle."""


class Bundle(NamedTuple):
    """The contents of a bundle; the tables have the columns of `SCHEMA`."""

    name: str
    train: pa.Table
    validation: pa.Table
    manifest: dict[str, Any]


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle, packed or unpacked."""
    return path.suffix.lower() == ".zip" or (path / "train.parquet").is_file()


def read_bundle(path: Path) -> Bundle:
    """Reads a bundle, packed or unpacked, and checks every file of its data.

    Args:
        path: a zip or a folder.

    Returns:
        Its tables, with the columns of `SCHEMA`, and its manifest.

    Raises:
        DataError: it is damaged, or of another format.
    """
    with open_package(path, "bundle") as place:
        manifest = read_manifest(place, "bundle")
        version = manifest.get("format", "none")
        prompts = manifest.get("codec_version", CODEC)
        if version not in READABLE or prompts != CODEC:
            raise DataError(
                f"{place} is a bundle of format {version} with prompts of version {prompts}; this code reads bundles "
                f"of format {' and '.join(map(str, READABLE))} with prompts of version {CODEC}. "
                "Use the notebook that came with the bundle, or split the dataset again."
            )
        names = ["train.parquet", "validation.parquet"]
        check_files(place, {"files": {name: {} for name in names} | manifest["files"]})
        if "name" not in manifest:
            raise DataError(f"{place / MANIFEST} does not say what the bundle is called. Get it again.")
        train, validation = (read_table(place / name) for name in names)
        return Bundle(manifest["name"], train, validation, manifest)


def read_package_manifest(path: Path, kind: str = "bundle") -> dict[str, Any]:
    """Reads the manifest of a bundle or leg file, packed or unpacked; nothing else of it is checked.

    Args:
        path: a zip or a folder.
        kind: bundle or leg.

    Returns:
        The manifest.

    Raises:
        DataError: this is none, or its zip is damaged.
    """
    with open_package(path, kind) as place:
        return read_manifest(place, kind)


@contextmanager
def open_package(path: Path, kind: str) -> Iterator[Path | zipfile.Path]:
    """Opens a bundle or leg file, packed or unpacked.

    Args:
        path: a zip or a folder.
        kind: bundle or leg; a bundle that has an adapter to start from can be opened as either.

    Yields:
        The folder that holds its files, on disk or in the zip, however deep it lies there.

    Raises:
        DataError: there is no such file, or the zip is damaged or unsafe; also when that shows while it is read.
    """
    file, name = PACKAGES[kind]
    try:
        if path.suffix.lower() == ".zip":
            if path.exists() and not path.is_file():
                raise DataError(f"{path} is no file. Give the {name} as it was sent to you.")
            with zipfile.ZipFile(path) as archive:
                yield _inside(archive, path, file, name)
        else:
            yield path
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Give the {name} as it was sent to you.") from None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError) as error:
        raise DataError(f"{path} is damaged ({error}). Copy or upload it again.") from None


def _inside(archive: zipfile.ZipFile, path: Path, file: str, name: str) -> zipfile.Path:
    """The folder of a zip that holds a file."""
    if len(archive.infolist()) > MEMBER_LIMIT:
        raise DataError(f"{path} has {len(archive.infolist()):,} members, a {name} about a hundred. Get it again.")
    for member in use_slashes(archive):
        if not is_inside(member.filename):
            raise DataError(f"{path} has an unsafe member {member.filename!r}; get the {name} again.")
        limit = max(UNPACKED, RATIO_LIMIT * member.compress_size)
        if member.file_size > limit:
            raise DataError(
                f"{path}: {member.filename} would unpack to {member.file_size:,} bytes. Get the {name} again."
            )
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{path} is encrypted, or packed in a way that Python does not read. Give it unpacked.")
    names = [member for member in archive.namelist() if not member.startswith("__MACOSX")]  # macOS adds it when it zips
    folders = [member.removesuffix(file) for member in names if f"/{member}".endswith(f"/{file}")]
    if not folders:
        raise DataError(f"{path} holds no {file}, so it is no {name}. If it holds something else, unpack it first.")
    if len(folders) > 1:
        raise DataError(f"{path} holds {len(folders)} of them: {', '.join(folders[:5])}. Unpack it, and name one.")
    return zipfile.Path(archive, folders[0])


def read_table(path: Path | zipfile.Path) -> pa.Table:
    """Reads samples that `write_table` wrote.

    Args:
        path: a Parquet file, on disk or in a zip.

    Returns:
        A table that has the columns of `SCHEMA`, all of them texts.

    Raises:
        DataError: it is none, has no rows, or unpacks to far more than it looks.
    """
    data = path.read_bytes()
    try:
        batches = list(read_batches(io.BytesIO(data), len(data)))
    except DataError as error:
        raise DataError(f"{path} {error}. Get the bundle again.") from None
    if not batches:
        raise DataError(f"{path} has no samples. Split the dataset again.")
    table = pa.Table.from_batches(batches).combine_chunks()
    for column in SCHEMA:
        if column.name not in table.column_names:
            raise DataError(f"{path} lacks one of the columns {', '.join(SCHEMA.names)}. Split the dataset again.")
        found = table.column(column.name)
        if found.null_count or found.type != column.type:
            raise DataError(f"{path}: the column {column.name} is not all texts. Split the dataset again.")
    return table


def write_bundle(
    folder: Path, name: str, train: pa.Table, validation: pa.Table, init: Path | None = None, **about: Any
) -> Path:
    """Writes folder/name.zip: the samples, the code of this package, and a manifest; same contents, same bytes.

    Args:
        folder: where the zip will be.
        name: of the bundle, without .zip.
        train: training samples, with the columns of `SCHEMA`.
        validation: validation samples, with the same columns.
        init: folder of the adapter that training starts from; None to start from the base model.
        about: what its manifest says besides.

    Returns:
        The zip's path.
    """

    def write_contents(inside: Path) -> None:
        write_table(train, inside / "train.parquet")
        write_table(validation, inside / "validation.parquet")
        if init:
            copy_init(init, inside)

    return write_package(folder, name, "bundle", write_contents, format=FORMAT, **(NO_PLACE | about))


def copy_init(adapter: Path, inside: Path) -> None:
    """Copies weights and configuration of an adapter folder into the init/ of a package's folder."""
    (inside / INIT).mkdir()
    for name in (WEIGHTS, CONFIG):
        shutil.copyfile(adapter / name, inside / INIT / name)


def write_package(folder: Path, name: str, kind: str, write_contents: Callable[[Path], None], **about: Any) -> Path:
    """Writes folder/name.zip: some files, the code of this package, and a manifest; same contents, same bytes.

    Args:
        folder: where the zip will be.
        name: of the zip without its ending, and of the folder in it.
        kind: of its manifest.
        write_contents: writes the files into a folder that it is given.
        about: what the manifest says besides.

    Returns:
        The zip's path.
    """
    source = read_source()
    code: dict[str, Path | bytes] = {file: text.encode() for file, text in source.items()}
    hashes = {file: sha256_of(data) for file, data in code.items()}
    inside = folder / f".{name}.contents"
    inside.mkdir(parents=True)
    write_contents(inside)
    names = [path.relative_to(inside).as_posix() for path in sorted(inside.rglob("*")) if path.is_file()]
    seal(inside, kind, names, name=name, code=hashes, code_sha256=hash_source(source), **about)
    members: dict[str, Path | bytes] = {file: inside / file for file in sorted([*names, MANIFEST])}
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


def read_source() -> dict[str, str]:
    """The source files of the running package that a session can run, which is all but `AT_HOME`.

    Returns:
        Name, such as housebrain_core/config.py, -> text, in which every line ends with a line feed.
    """
    return dict(sorted(_walk(resources.files(PACKAGE), PACKAGE)))


def hash_source(files: dict[str, str]) -> str:
    """The sha256 over names and texts, in hexadecimal; the train notebook computes the same before it imports anything.

    Args:
        files: as `read_source` gives them.
    """
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _walk(folder: Traversable, name: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        inside = f"{name}/{entry.name}"
        if entry.name.startswith(".") or inside in AT_HOME:  # a hidden one is an editor's
            continue
        if entry.is_dir():
            yield from _walk(entry, inside)
        elif entry.name.endswith(KINDS):
            yield inside, entry.read_text(encoding="utf-8")  # which makes every newline \n
