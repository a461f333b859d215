"""What is in a folder, and that it is whole: a manifest.json written last, and checked by whoever reads.

Every folder that a stage writes has one. It names what made the folder, what it was made from, and the size
and sha256 of each file. A folder without one is unfinished.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from housebrain_core import __version__
from housebrain_core.errors import DataError, HouseBrainError

MANIFEST = "manifest.json"


def sha256_of(data: Path | bytes) -> str:
    """The sha256 of a file or of bytes, in hexadecimal."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with data.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes | str) -> None:
    """Writes a file so that a reader, or a machine after a power cut, sees all of it or none."""
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    with staging.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)
    sync_folder(path.parent)


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


def describe_files(folder: Path, names: list[str]) -> dict[str, dict]:
    """Size in bytes and sha256 of files, by name."""
    return {name: {"size": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)} for name in names}


def seal(folder: Path, kind: str, names: list[str] | None = None, **about: Any) -> dict:
    """Writes the manifest of a folder, last and by rename.

    Args:
        folder: everything else in it is written already.
        kind: what the folder is, such as "adapter".
        names: files to list; all files at its top level, but hidden ones, when not given.
        about: what it was made from and with.

    Returns:
        The manifest.
    """
    if names is None:
        files = [path.name for path in folder.iterdir() if path.is_file() and path.name != MANIFEST]
        names = [name for name in files if not name.startswith(".")]
    manifest = {"kind": kind, "housebrain": __version__, **about, "files": describe_files(folder, sorted(names))}
    write_atomically(folder / MANIFEST, to_json(manifest))
    return manifest


def read_manifest(folder: Path, kind: str) -> dict:
    """The manifest of a folder that a stage finished.

    Raises:
        DataError: there is none, or it is of something else.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder} has no {MANIFEST}: it is not a finished {kind}. Run its stage again.") from None
    except (ValueError, OSError) as error:
        raise DataError(f"{folder / MANIFEST} cannot be read ({error}). Run its stage again.") from None
    if not isinstance(manifest, dict) or manifest.get("kind") != kind:
        found = manifest.get("kind") if isinstance(manifest, dict) else type(manifest).__name__
        raise DataError(f"{folder} is a {found}, not a {kind}.")
    return manifest


def check_files(folder: Path, manifest: dict, error: type[HouseBrainError] = DataError) -> None:
    """Compares every listed file with its size and sha256; raises `error` naming all that differ."""
    problems = []
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != expected["size"]:
            problems.append(f"{name} has {path.stat().st_size} bytes instead of {expected['size']}")
        elif sha256_of(path) != expected["sha256"]:
            problems.append(f"{name} has changed since it was written")
    if problems:
        raise error(f"{folder} is damaged: {'; '.join(problems)}. Upload, copy or make it again.")
