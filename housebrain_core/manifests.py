"""What is in a folder that a stage wrote, and that it is whole: a manifest.json, written last, checked by who reads."""

import hashlib
import json
import math
import os
import re
import zipfile
from contextlib import suppress
from pathlib import Path
from textwrap import shorten
from typing import Any

from housebrain_core import __version__
from housebrain_core.contents import read_json
from housebrain_core.errors import DataError
from housebrain_core.texts import clip

MANIFEST = "manifest.json"
KINDS: dict[str, type | range] = {
    **dict.fromkeys(("name", "dataset", "code_sha256", "parent_sha256", "housebrain", "digest", "selection"), str),
    **dict.fromkeys(("format", "seed", "codec_version", "step"), int),
    **dict.fromkeys(("split_id", "splits", "leg", "legs"), range(1, 100)),
    **dict.fromkeys(("entropy_nats_per_sample", "brief_nats_per_sample"), float),
    **dict.fromkeys(("counts", "code", "fingerprint"), dict),
    "merged_from": list,
    "finished": bool,
}
"""What manifests say besides their files, and the kind of each value, where there is one."""
FORMAT = 2
"""Version of manifests. 0.1.0 wrote them without one, which counts as format 1; bundles count their own."""


def sha256_of(data: Path | bytes) -> str:
    """The sha256 of a file or of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else describe_file(data)["sha256"]


def describe_file(path: Path | zipfile.Path) -> dict[str, Any]:
    """Size in bytes and sha256 of a file."""
    with path.open("rb") as stream:
        file: Any = stream  # a zip's has all that is needed, too
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": file.tell()}


def write_atomically(path: Path, data: bytes | str) -> None:
    """Writes a file so that a reader, or a machine after a power cut, sees all of it or none.

    Half a character, which no file can hold, is written as JSON escapes it.
    """
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with staging.open("wb") as file:
            file.write(data.encode(errors="backslashreplace") if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno:
            error.filename = str(path)  # a full disk's names no file, others a hidden one
        with suppress(OSError):
            staging.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder survive a power cut, where the system can (Windows cannot open a folder)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def to_json(value: Any) -> str:
    """Indented JSON with a stable order of keys."""
    return json.dumps(value, indent=1, sort_keys=True, default=str) + "\n"


def seal(folder: Path, kind: str, names: list[str] | None = None, **about: Any) -> dict[str, Any]:
    """Writes the manifest of a folder, last and by rename.

    Args:
        folder: holds all that it will hold.
        kind: what it is, such as adapter.
        names: the files that are listed; all at the top but hidden ones when None.
        about: what else the manifest says; the version of the format unless it says its own.

    Returns:
        The manifest.
    """
    if names is None:
        names = [path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    files = {name: describe_file(folder / name) for name in sorted({*names} - {MANIFEST})}
    manifest = {"kind": kind, "format": FORMAT, "housebrain": __version__, **about, "files": files}
    write_atomically(folder / MANIFEST, to_json(manifest))
    return manifest


def read_manifest(folder: Path | zipfile.Path, kind: str) -> dict:
    """The manifest of a folder that a stage finished; DataError when there is none, or of something else."""
    if not (folder / MANIFEST).exists():
        raise DataError(f"{folder} has no {MANIFEST}: unfinished, or no {kind}. Make it, or name another.")
    try:
        manifest = read_json(folder / MANIFEST)
    except DataError as error:
        raise DataError(f"{folder / MANIFEST} {error}. Copy it again, or run its stage again.") from None
    actual = manifest.get("kind")
    if actual != kind or not isinstance(manifest.get("files"), dict):
        shown = shorten(repr(actual), 60)
        raise DataError(f"{folder} is of the kind {shown}; expected was {kind!r}. Name another folder.")
    strange = [name for name, about in manifest["files"].items() if not isinstance(about, dict) or not is_inside(name)]
    if strange:
        names = clip(", ".join(strange[:5]))
        raise DataError(f"{folder / MANIFEST} lists {names} without a size, or outside its folder. Get it again.")
    wrong = [f"{name} = {shorten(repr(value), 60)}" for name, value in manifest.items() if not _is_of_kind(name, value)]
    if wrong:
        raise DataError(f"{folder / MANIFEST} has values of the wrong kind: {', '.join(wrong[:5])}. Get it again.")
    return manifest


def is_inside(name: str) -> bool:
    """Whether the name of a file, with slashes, stays below the folder that lists it, on every system."""
    return not (name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in name.split("/") or "\0" in name)


def _is_of_kind(name: str, value: Any) -> bool:
    """Whether a value of a manifest is what its name says, so that whoever reads it need not ask."""
    kind = KINDS.get(name)
    if kind is None or (value is None and name != "name"):
        return True
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is str:
        return isinstance(value, str) and len(value) <= 500 and not re.search("[\ud800-\udfff]", value)
    return type(value) is int and value in kind if isinstance(kind, range) else type(value) is kind


def check_files(folder: Path | zipfile.Path, manifest: dict) -> None:
    """Compares every listed file with its size and sha256; DataError names all that differ."""
    problems = []
    for name, expected in manifest["files"].items():
        if not (folder / name).is_file():
            problems.append(f"{name} is missing")
        elif (present := describe_file(folder / name)) != expected:
            problems.append(
                f"{name} has changed ({present['size']} bytes for {expected.get('size', 'no size')}, or other content)"
            )
    if problems:
        raise DataError(f"{folder} is damaged: {'; '.join(problems)}. Upload, copy or make it again.")
