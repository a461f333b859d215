"""Adapters as they come back from people: folders, or zips of them, unpacked one whitelisted file at a time."""

import contextlib
import re
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from housebrain_core.adapters.folders import (
    CONFIG,
    SIZE_LIMITS,
    UNREADABLE,
    WEIGHTS,
    explain_missing,
    order_adapters,
)
from housebrain_core.contents import explain_file
from housebrain_core.errors import AdapterError
from housebrain_core.manifests import is_inside

MEMBER_LIMIT = 10_000
RATIO_LIMIT = 200
"""Unpacked bytes per packed byte: weights pack to about 0.9 of their size, JSON to a twentieth."""
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
METHOD_NAMES = {9: "Deflate64, as Windows packs large files", 93: "Zstandard", 99: "AES encryption"}
DRIVE_PART = re.compile(r".*-\d{3}")
"""Google Drive packs a large folder into several zips, such as hb-20261128T120000Z-001, each with some of its files."""


def name_of(path: Path) -> str:
    """What the adapter in a folder or zip is called."""
    if path.suffix.lower() == ".zip" and not path.is_dir():
        return path.stem
    return path.name or path.absolute().name


def name_all(paths: list[Path]) -> dict[Path, str]:
    """Names for adapters that people call alike: as much of the path before a name as tells them apart.

    Args:
        paths: folders or zips, each once.

    Returns:
        Path -> its name, such as hb-kaggle-04, or anna/lora_model beside ben/lora_model.
    """
    names = {path: name_of(path) for path in paths}
    for depth in range(1, 30):
        counts = Counter(names.values())
        alike = [path for path in paths if counts[names[path]] > 1]
        if not alike:
            break
        for path in alike:
            above = path.absolute().parent.parts[-depth:]
            names[path] = "/".join([*(part.strip("/\\") for part in above if part.strip("/\\")), name_of(path)])
    counts = Counter(names.values())
    return {path: path.name if counts[name] > 1 else name for path, name in names.items()}


@contextlib.contextmanager
def unpacked(paths: list[Path]) -> Iterator[dict[Path, Path | AdapterError]]:
    """Folders for adapters that may be zips; what was unpacked is removed at the end.

    Args:
        paths: adapter folders, or zips of one.

    Yields:
        Path as given -> its folder, or the error that says why a zip is refused.
    """
    with tempfile.TemporaryDirectory(prefix="housebrain-") as scratch:
        folders: dict[Path, Path | AdapterError] = {}
        for number, path in enumerate(paths):
            if path.suffix.lower() != ".zip" or path.is_dir():
                folders[path] = path
                continue
            try:
                folders[path] = unpack_adapter(path, Path(scratch) / str(number) / name_of(path))
            except AdapterError as error:
                folders[path] = error
        yield folders


def unpack_adapter(path: Path, folder: Path) -> Path:
    """Unpacks the adapter in a zip: the one folder in it that has an adapter_config.json.

    Checkpoints beside an adapter are left aside, as is everything that is no file of an adapter; a checkpoint that
    comes alone is the adapter.

    Args:
        path: the zip.
        folder: where to; it must not exist.

    Returns:
        The folder.

    Raises:
        AdapterError: it is no zip, holds no adapter or several, or is unsafe: names that leave the folder, links,
            a name twice, encryption, or members far larger than what is packed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            use_slashes(archive)
            members = _choose_members(path, archive)
            folder.mkdir(parents=True)
            for name, member in members.items():
                with archive.open(member) as source, (folder / name).open("xb") as target:
                    shutil.copyfileobj(source, target, 2**20)
    except FileNotFoundError:
        raise AdapterError(f"{path} does not exist. Give the folders or zips that came back from training.") from None
    except UNREADABLE as error:
        raise AdapterError(f"{path} {_explain_damage(path, error)}.") from None
    return folder


def use_slashes(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Reads a zip's backslashes, which tools on Windows write between folders, as the slashes that zips should have."""
    for member in archive.infolist():
        member.filename = member.filename.replace("\\", "/")
        archive.NameToInfo[member.filename] = member
    return archive.infolist()


def _explain_damage(path: Path, error: Exception) -> str:
    """Why a zip cannot be read, and what to do."""
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    if not is_zip:
        return explain_file(path) or f"is damaged or no zip ({error}): ask for it again"
    if isinstance(error, zipfile.BadZipFile) and "not a zip file" in str(error):
        return f"is cut off after {path.stat().st_size:,} bytes: download it again, and wait for its end"
    return f"is damaged ({error}): ask for it again"


def _choose_members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The adapter's own files by name; nothing is unpacked before every member was looked at."""
    members = archive.infolist()
    if len(members) > MEMBER_LIMIT:
        raise AdapterError(f"{path} has {len(members):,} members; an adapter has about ten. Pack its folder alone.")
    names = {member: member.filename for member in members}
    problems = [f"{name!r} would leave its folder" for name in names.values() if not is_inside(name)]
    problems += [f"{name!r} is in it twice" for name, count in Counter(names.values()).items() if count > 1]
    if problems:
        raise AdapterError(f"{path} is not unpacked:\n  " + "\n  ".join(problems[:10]) + "\nAsk for it again.")
    home = _find_home(path, archive)
    wanted = {}
    for member, name in names.items():
        place = PurePosixPath(name)
        if place.parent == home and place.name in SIZE_LIMITS:
            wanted[place.name] = member
    if WEIGHTS not in wanted:
        part = DRIVE_PART.fullmatch(path.stem)
        files = _openers(archive, home)
        raise AdapterError(_explain_part(path, WEIGHTS) if part else explain_missing(path, files, [WEIGHTS]))
    problems = [problem for name, member in wanted.items() if (problem := _explain_member(name, member))]
    if problems:
        raise AdapterError(f"{path} is not unpacked:\n  " + "\n  ".join(problems))
    return wanted


def _openers(archive: zipfile.ZipFile, home: PurePosixPath | None = None) -> dict[str, Callable[[], IO[bytes]]]:
    """Name -> what opens it, of what a zip holds in a folder, or anywhere."""
    places = {PurePosixPath(member.filename): member for member in archive.infolist()}
    return {p.name: partial(archive.open, m) for p, m in places.items() if home in (None, p.parent)}


def _find_home(path: Path, archive: zipfile.ZipFile) -> PurePosixPath:
    """The folder of a zip that holds the adapter."""
    names = [member.filename for member in archive.infolist()]
    places = [PurePosixPath(name) for name in names]
    homes = order_adapters({place.parent for place in places if place.name == CONFIG})
    if len(homes) == 1:
        return homes[0]
    if homes:
        inside = ", ".join("the top" if str(home) == "." else str(home) for home in homes[:5])
        what = f"holds {len(homes)} adapters: {inside}. Unpack it, and name the one that is meant, or all of them"
    elif zips := [name for name in names if name.lower().endswith(".zip")]:
        what = f"holds no adapter but {', '.join(zips[:5])}. Unpack it, and name the zip inside"
    elif DRIVE_PART.fullmatch(path.stem):
        raise AdapterError(_explain_part(path, CONFIG))
    else:
        raise AdapterError(explain_missing(path, _openers(archive), [CONFIG]))
    raise AdapterError(f"{path} {what}.")


def _explain_part(path: Path, missing: str) -> str:
    return (
        f"{path} is one of several parts of a download, and {missing} is in another one. Unpack all parts into one "
        "folder, and name that."
    )


def _explain_member(name: str, member: zipfile.ZipInfo) -> str | None:
    """Why a file of the adapter is not unpacked, and what to do; None where nothing is wrong."""
    if (member.external_attr >> 16) & 0o170000 == 0o120000:
        return f"{name} is a link: pack the file itself"
    if member.flag_bits & 1 or member.compress_type == 99:
        return f"{name} is encrypted: unpack the zip with its password, and give the folder"
    if member.compress_type not in METHODS:
        method = METHOD_NAMES.get(member.compress_type, f"method {member.compress_type}")
        return f"{name} is packed with {method}, which Python does not read: unpack the zip, and give the folder"
    if member.file_size > min(SIZE_LIMITS[name], RATIO_LIMIT * (member.compress_size + 1000)):
        return f"{name} would unpack from {member.compress_size:,} to {member.file_size:,} bytes: ask for it again"
    return None
