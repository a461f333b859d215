"""Adapters as they come back from people: folders, or zips of them, unpacked one whitelisted file at a time."""

import contextlib
import re
import shutil
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from housebrain_core.errors import AdapterError
from housebrain_core.manifests import MANIFEST

WEIGHTS, CONFIG, RUN = "adapter_model.safetensors", "adapter_config.json", "run.json"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
SIZE_LIMITS = {WEIGHTS: 16 * 2**30, CONFIG: 2**20, RUN: 2**26, MANIFEST: 2**20, **dict.fromkeys(TOKENIZER, 2**27)}
"""The only files of an adapter that are ever opened, and the bytes each may have."""
MEMBER_LIMIT = 10_000
RATIO_LIMIT = 200
"""Unpacked bytes per packed byte: weights pack to about 0.9 of their size, JSON to a twentieth."""


def name_of(path: Path) -> str:
    """What the adapter in a folder or zip is called."""
    return path.stem if path.suffix.lower() == ".zip" and not path.is_dir() else path.name


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
                folders[path] = unpack_adapter(path, Path(scratch) / str(number) / path.stem)
            except AdapterError as error:
                folders[path] = error
        yield folders


def unpack_adapter(path: Path, folder: Path) -> Path:
    """Unpacks the adapter in a zip: the one folder in it that has an adapter_config.json, checkpoints left aside.

    Args:
        path: the zip.
        folder: where to; it must not exist.

    Raises:
        AdapterError: it is no zip, holds no adapter or several, or is unsafe: names that leave the folder, links,
            a name twice, encryption, or members far larger than what is packed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _check_members(path, archive.infolist())
            folder.mkdir(parents=True)
            for name, member in members.items():
                with archive.open(member) as source, (folder / name).open("xb") as target:
                    shutil.copyfileobj(source, target, 2**20)
    except FileNotFoundError:
        raise AdapterError(f"{path} does not exist. Give the folders or zips that came back from training.") from None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise AdapterError(f"{path} is damaged or no zip ({error}). Ask for it again.") from None
    return folder


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The adapter's own files by name; nothing is unpacked before every member was looked at."""
    if len(members) > MEMBER_LIMIT:
        raise AdapterError(f"{path} has {len(members)} members; an adapter has about ten.")
    names = [member.filename for member in members]
    problems = [f"{name!r} would leave its folder" for name in names if not _is_inside(name)]
    problems += [f"{name!r} is in it twice" for name, count in Counter(names).items() if count > 1]
    problems += [f"{m.filename!r} is a link" for m in members if (m.external_attr >> 16) & 0o170000 == 0o120000]
    problems += [f"{m.filename!r} is encrypted" for m in members if m.flag_bits & 1]
    homes = {PurePosixPath(name).parent for name in names if PurePosixPath(name).name == CONFIG}
    homes = {home for home in homes if not any(re.fullmatch(r"checkpoint-\d+|invalid", part) for part in home.parts)}
    inside = {PurePosixPath(m.filename).name: m for m in members if PurePosixPath(m.filename).parent in homes}
    wanted = {name: member for name, member in inside.items() if name in SIZE_LIMITS}
    for name, member in wanted.items():
        if member.file_size > min(SIZE_LIMITS[name], RATIO_LIMIT * (member.compress_size + 1000)):
            problems.append(f"{name} would unpack from {member.compress_size} to {member.file_size} bytes")
    if len(homes) != 1:
        problems.append(f"{len(homes)} folders in it have an {CONFIG}; expected one")
    if problems:
        raise AdapterError(f"{path} is not unpacked:\n  " + "\n  ".join(problems[:10]) + "\nAsk for it again.")
    return wanted


def _is_inside(name: str) -> bool:
    """Whether a member's name stays below the folder, on every system."""
    return not (name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/") or "\0" in name)
