"""How a stage writes its result: asked for before the work, one writer at a time, whole or not at all.

`staged_output` is for a folder, `lock_output` for a file or for a folder that grows in place, as training's does.
"""

import errno
import os
import re
import secrets
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from housebrain_core.contents import LIMIT, read_json
from housebrain_core.errors import ConfigError, DataError, HouseBrainError
from housebrain_core.manifests import MANIFEST, read_manifest, sync_folder

MARKS = (b"<title>HouseBrain ", b"Software\0HouseBrain")
"""What is in a page and in a picture that HouseBrain wrote."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
FULL = 2**16
"""Bytes below which a disk is full."""


def check_file(
    path: Path, keys: Iterable[str] = (), inputs: Iterable[Path] = (), overwrite: bool | None = None
) -> None:
    """Refuses a file name that cannot be written to, or at which something lies that HouseBrain did not write.

    A report that an earlier run wrote (a page, a picture, JSON of the same keys) is replaced; any other file stays.

    Args:
        path: the file that will be written.
        keys: what the JSON of an earlier run has, at the top or in its first line.
        inputs: what is read meanwhile, and must not be replaced.
        overwrite: whether the person allows the replacement of any other file; None where no setting asks.

    Raises:
        ConfigError: it is a folder or device, an input, below a file, or holds something else.
    """
    if path.is_dir():
        raise ConfigError(f"output = {path}: that is a folder; name a file, such as {path / 'result'}{path.suffix}.")
    _check_folder_above(path)
    if not path.exists():
        return
    if not path.is_file():
        raise ConfigError(f"output = {path}: that is no file that can be written anew. Choose another --output.")
    if any(source.exists() and path.samefile(source) for source in inputs):
        raise ConfigError(f"output = {path}: that is what is read. Choose another --output.")
    if path.stat().st_size and not overwrite and not _is_report(path, set(keys)):
        raise ConfigError(
            f"{path} holds something that no earlier run of this command wrote, so it stays. Choose another --output, "
            f"or {'move it away' if overwrite is None else 'replace it with --overwrite'}."
        )


def _is_report(path: Path, keys: set[str]) -> bool:
    """Whether a file is what an earlier run wrote, by the keys of its JSON, or by the mark of a page or picture."""
    with path.open("rb") as file:
        data = file.read(LIMIT)
    if not keys:
        return any(mark in data for mark in MARKS)
    first = next((line for line in data.split(b"\n", 50) if line.strip()), b"")
    return keys <= _keys_of(data) or keys <= _keys_of(first)


def check_folder(path: Path) -> None:
    """Refuses a folder name that is a file's, or below one.

    Raises:
        ConfigError: naming it.
    """
    if path.is_file():
        raise ConfigError(f"output = {path}: that is a file; name a folder.")
    _check_folder_above(path)


def check_own_folder(path: Path) -> None:
    """Refuses that too, and a folder without a name of its own, beside which a stage cannot write.

    Raises:
        ConfigError: naming it.
    """
    check_folder(path)
    if path.name in ("", ".."):
        raise ConfigError(f"output = {path}: name a folder of its own, such as {path / 'result'}.")


def check_replaceable(output: Path, kind: str, overwrite: bool) -> dict[str, Any] | None:
    """Refuses an existing folder, unless it may be replaced and is a whole one that the same stage wrote.

    Args:
        output: the folder that will be written.
        kind: of its manifest, such as "splits" or "adapter".
        overwrite: whether the person allows a replacement.

    Returns:
        The manifest of what will be replaced; None where nothing will be.

    Raises:
        ConfigError: the folder must stay.
    """
    check_own_folder(output)
    if not output.exists():
        return None
    if not overwrite:
        raise ConfigError(f"{output} exists already. Choose another --output, or replace it with --overwrite.")
    try:
        return read_manifest(output, kind)
    except DataError:
        raise ConfigError(
            f"{output} is not a whole folder that this command wrote, and --overwrite replaces nothing else. "
            "Choose another --output, or move it away yourself."
        ) from None


@contextmanager
def staged_output(output: Path, kind: str, overwrite: bool = False) -> Iterator[Path]:
    """Yields an empty hidden folder beside `output` that becomes `output` when the block ends without an error.

    The block writes its manifest (`manifests.seal`) last. Nobody else can write the same output meanwhile, and after
    an error or an interruption the output is what it was before.

    Args:
        output: the folder to write; it is checked before the block begins.
        kind: of its manifest.
        overwrite: replace a folder that the same stage wrote; it stays whole until the new one takes its place.

    Raises:
        ConfigError: the output exists and may not be replaced, or another process is writing it.
    """
    check_replaceable(output, kind, overwrite)  # before anything is made; again once nobody else can write
    with lock_output(output):
        aside = output.with_name(f".{output.name}.replaced")
        _clean_up(output, aside)
        replaced = check_replaceable(output, kind, overwrite) is not None
        staging = output.with_name(f".{output.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
        staging.mkdir()
        try:
            yield staging
            assert (staging / MANIFEST).is_file(), f"{staging} has no {MANIFEST}"
            if replaced:
                output.rename(aside)
            elif output.exists():
                raise ConfigError(f"{output} was made by somebody else during the work, so it stays. Start again.")
            staging.rename(output)
            sync_folder(output.absolute().parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def lock_output(output: Path) -> Iterator[None]:
    """Holds an output for this process or thread; the lock ends with the process, however that ends.

    Args:
        output: a file or folder, which need not exist; the lock is a hidden file beside it while it is held. Folders
            above it that are made for it go again where nothing comes to lie in them.

    Raises:
        ConfigError: another process holds it.
    """
    made = [folder for folder in output.absolute().parents if not folder.exists()]
    output.absolute().parent.mkdir(parents=True, exist_ok=True)
    path = output.with_name(f".{output.name}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
        while not path.exists():  # whoever held it before removed it between our opening and locking it
            lock.release()
            lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"another process is writing {output}. Wait for it, stop it, or choose another --output."
        ) from None
    try:
        with _as_os_error(output):
            yield
    finally:
        with suppress(OSError):  # Windows does not remove an open file
            path.unlink()
        lock.release()
        with suppress(OSError):  # something lies in it
            for folder in made:
                folder.rmdir()


@contextmanager
def _as_os_error(output: Path) -> Iterator[None]:
    """Makes an OSError that names the output of whatever libraries raise when a file of it cannot be written.

    Writing to a full disk is a SafetensorError, a RuntimeError of torch, a plain Exception of tokenizers, a list of
    shutil, or an OSError that names no file, or the one that was copied.
    """
    folder = output.absolute().parent
    try:
        yield
    except Exception as error:
        if not folder.is_dir():
            raise ConfigError(f"{folder} was removed while {output.name} was written there. Start again.") from error
        code = _find_code(error, folder)
        if code is None:
            raise
        raise OSError(code, os.strerror(code), str(output)) from error


def _find_code(error: Exception, folder: Path) -> int | None:
    """The system's number of a failure to write into a folder; None for an error that says by itself what is wrong."""
    if isinstance(error, HouseBrainError):
        return None
    if isinstance(error, OSError) and not isinstance(error, shutil.Error):
        place = error.filename2 or error.filename
        if place is None:
            return error.errno
        inside = Path(os.fsdecode(place)).absolute().is_relative_to(folder)
        return error.errno if inside and error.errno in NO_SPACE else None
    pattern = r"\[Errno (\d+)\]" if isinstance(error, shutil.Error) else r"\(os error (\d+)\)"
    if found := re.search(pattern, str(error)):
        return int(found[1])
    return errno.ENOSPC if shutil.disk_usage(folder).free < FULL else None


def _clean_up(output: Path, aside: Path) -> None:
    """Removes what a process that died left beside the output; needs the lock, without which it may still run."""
    if aside.exists() and not output.exists():
        aside.rename(output)  # it died between two renames
    shutil.rmtree(aside, ignore_errors=True)
    staging = re.compile(rf"\.{re.escape(output.name)}\.\d+-[0-9a-f]{{8}}\.partial")
    for path in output.absolute().parent.iterdir():
        if staging.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _check_folder_above(path: Path) -> None:
    wrong = next((parent for parent in path.absolute().parents if parent.exists() and not parent.is_dir()), None)
    if wrong:
        raise ConfigError(f"output = {path}: {wrong} is a file, so that nothing can be written below it.")


def _keys_of(data: bytes) -> set[str]:
    try:
        return set(read_json(data))
    except DataError:
        return set()


COMPRESSED = (".parquet",)
"""Endings of files that are compressed already; a zip stores them as they are."""


def write_zip(path: Path, members: Iterable[tuple[str, Path | bytes]]) -> None:
    """Writes a zip with fixed dates and modes: the same members in the same order give the same bytes.

    Args:
        path: of the zip; a file there is replaced.
        members: name in the zip, and a file or the contents themselves.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in members:
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            member.compress_type = zipfile.ZIP_STORED if name.endswith(COMPRESSED) else zipfile.ZIP_DEFLATED
            data = contents.read_bytes() if isinstance(contents, Path) else contents
            archive.writestr(member, data, compresslevel=9)
