"""Checkpoints that can be trusted: sealed, verified, pruned; and one trainer per folder.

transformers writes straight into checkpoint-N and resumes from the highest number whatever state it is in.
Here a checkpoint counts only once its manifest is there, and is used only when every file still matches it.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from housebrain_core.errors import CheckpointError, DataError
from housebrain_core.manifests import MANIFEST, check_files, read_manifest, seal, sync_folder

KEEP = 2
"""Sealed checkpoints kept; the second is for when the newest is damaged."""
SET_ASIDE = "invalid"
"""Folder for damaged checkpoints: nothing is deleted silently."""
SEALED_ONCE = ".sealed-once"
"""Says that a checkpoint was sealed here: a run that lost them all stops instead of starting over silently."""


def seal_checkpoint(folder: Path, step: int, fingerprint: dict) -> None:
    """Makes a written checkpoint count: syncs its files to disk, then writes the manifest by rename."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    for name in names:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    seal(folder, "checkpoint", names, step=step, fingerprint=fingerprint)
    (folder.parent / SEALED_ONCE).touch()
    sync_folder(folder.parent)


def find_checkpoint(output: Path, fingerprint: dict, report: Callable[[str], None] = print) -> Path | None:
    """The newest sealed checkpoint whose files are all as they were written; None when the run has none yet.

    Damaged and unsealed ones are moved to `invalid/` with a message.

    Raises:
        CheckpointError: every sealed checkpoint is damaged, or the newest belongs to another run.
    """
    damaged = False
    for folder in sorted(list_checkpoints(output), key=checkpoint_step, reverse=True):
        if not (folder / MANIFEST).exists():
            report(f"{folder.name} was never finished, so it is not used; moved to {SET_ASIDE}/")
            _set_aside(folder)
            continue
        try:
            manifest = read_manifest(folder, "checkpoint")
            check_files(folder, manifest)
        except DataError as error:
            damaged = True
            report(f"{error} It is moved to {SET_ASIDE}/; going back to the one before.")
            _set_aside(folder)
            continue
        refuse_other_run(manifest["fingerprint"], fingerprint, folder)
        return folder
    if damaged or (output / SEALED_ONCE).exists():
        raise CheckpointError(
            f"every checkpoint in {output} is damaged or missing; what was found lies in "
            f"{output / SET_ASIDE}, nothing was deleted. "
            "Restore one, or start again with another output folder."
        )
    return None


def refuse_other_run(recorded: dict, current: dict, where: Path) -> None:
    """Raises CheckpointError naming each setting in which two runs differ."""
    changes = [
        f"{name} was {recorded.get(name)!r} and is now {current.get(name)!r}"
        for name in sorted(recorded.keys() | current.keys())
        if recorded.get(name) != current.get(name)
    ]
    if changes:
        raise CheckpointError(
            f"{where} belongs to another run: {'; '.join(changes)}. "
            "Go on with the settings it was started with, or choose another output folder."
        )


def prune_checkpoints(output: Path, keep: int = KEEP) -> None:
    """Removes all but the newest sealed checkpoints: the manifest first, so that a half-removed one never counts."""
    sealed = [folder for folder in list_checkpoints(output) if (folder / MANIFEST).exists()]
    for folder in sorted(sealed, key=checkpoint_step)[:-keep]:
        (folder / MANIFEST).unlink()
        shutil.rmtree(folder)


def list_checkpoints(output: Path) -> list[Path]:
    """The checkpoint-N folders of a run, sealed or not."""
    return [path for path in output.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]


def checkpoint_step(folder: Path) -> int:
    """The optimizer step in a checkpoint's name."""
    return int(folder.name.rpartition("-")[2])


@contextlib.contextmanager
def lock_folder(output: Path) -> Iterator[None]:
    """Holds a folder for one trainer; the lock ends with the process, however that ends.

    Raises:
        CheckpointError: another process holds it.
    """
    output.mkdir(parents=True, exist_ok=True)
    if os.name != "posix":  # flock is POSIX; the notebooks' platforms are
        yield
        return
    import fcntl

    with (output / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"another process is training into {output}. Wait for it, stop it, or choose another output folder."
            ) from None
        yield


def _set_aside(folder: Path) -> None:
    """Moves a checkpoint out of the way under a free name."""
    place = folder.parent / SET_ASIDE
    place.mkdir(exist_ok=True)
    number = sum(1 for _ in place.iterdir()) + 1
    folder.rename(place / f"{folder.name}.{number}")
