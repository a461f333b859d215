"""Checkpoints that can be trusted: sealed by a manifest written last, used when every file matches it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from housebrain_core.display.progress import FILE
from housebrain_core.errors import CheckpointError, ConfigError, DataError
from housebrain_core.manifests import MANIFEST, check_files, read_manifest, seal, sha256_of, sync_folder, to_json
from housebrain_core.outputs import check_own_folder
from housebrain_core.texts import say

KEEP = 2
"""Sealed checkpoints that are kept; the second is for when the newest is damaged."""
SET_ASIDE = "invalid"
"""Folder for damaged checkpoints: nothing is deleted silently."""
SEALED_ONCE = ".sealed-once"
"""File that says that there was a sealed checkpoint: a run that lost them all stops instead of starting over."""


def seal_checkpoint(folder: Path, step: int, fingerprint: dict) -> None:
    """Makes a written checkpoint count: syncs its files to disk, then writes the manifest by rename."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    seal(folder, "checkpoint", step=step, fingerprint=fingerprint, digest=_digest(step, fingerprint))
    (folder.parent / SEALED_ONCE).touch()
    sync_folder(folder.parent)


def check_run_folder(output: Path) -> None:
    """Refuses a folder that holds something but no run, since files of the adapter's names would be replaced in it.

    Raises:
        ConfigError: naming what it holds.
    """
    check_own_folder(output)
    names = sorted(path.name for path in output.iterdir() if not path.name.startswith(".")) if output.exists() else []
    if not names or (output / FILE).exists() or SET_ASIDE in names or list_checkpoints(output):
        return
    try:
        ours = "fingerprint" in read_manifest(output, "adapter")
    except DataError:
        ours = False
    if not ours:
        raise ConfigError(
            f"output = {output}: {', '.join(names[:3])} in it is of no training run, and could be replaced. Choose "
            "another --output, such as a folder that is not there yet."
        )


def find_checkpoint(output: Path, fingerprint: dict, report: Callable[[str], None] = say) -> Path | None:
    """Finds the newest sealed, whole checkpoint; unsealed and damaged ones are moved to `invalid/`.

    Args:
        output: the run's folder.
        fingerprint: what has to be equal in all sessions of a run.
        report: gets a line for each checkpoint that is moved.

    Returns:
        Its folder; None where there is none yet.

    Raises:
        CheckpointError: every sealed one is damaged, or the newest belongs to another run.
    """
    lost = (output / SEALED_ONCE).exists()
    for folder in reversed(list_checkpoints(output)):
        try:
            manifest = read_manifest(folder, "checkpoint")
            if manifest.get("digest") != _digest(checkpoint_step(folder), manifest.get("fingerprint")):
                raise DataError(f"{folder} is damaged: {MANIFEST} has changed since it was written.")
            check_files(folder, manifest)
        except DataError as error:
            lost = lost or (folder / MANIFEST).exists()
            report(f"{error} It is moved to {SET_ASIDE}/; going back to the one before.")
            _set_aside(folder)
        else:
            refuse_other_run(manifest["fingerprint"], fingerprint, folder)
            return folder
    if lost:
        raise CheckpointError(
            f"every checkpoint in {output} is damaged or missing; what was found lies in {output / SET_ASIDE}, "
            "nothing was deleted. Restore one, or start again with another output folder."
        )
    return None


def _set_aside(folder: Path) -> None:
    """Moves a checkpoint to `invalid/`, under a name that is not taken."""
    place = folder.parent / SET_ASIDE
    place.mkdir(exist_ok=True)
    folder.rename(place / f"{folder.name}.{len(list(place.iterdir())) + 1}")


def _digest(step: int, fingerprint: dict | None) -> str:
    """Hash of what a manifest says beside its files: with one flipped bit it may still be JSON, of another run."""
    return sha256_of(to_json([step, fingerprint]).encode())


def refuse_other_run(recorded: dict, current: dict, where: Path) -> None:
    """Raises CheckpointError naming each setting in which two runs differ."""
    values = {name: (recorded.get(name), current.get(name)) for name in sorted(recorded.keys() | current.keys())}
    changes = [f"{name} was {old!r} and is now {new!r}" for name, (old, new) in values.items() if old != new]
    if changes:
        raise CheckpointError(
            f"{where} belongs to another run: {'; '.join(changes)}. "
            "Go on with the settings it was started with, or choose another output folder."
        )


def prune_checkpoints(output: Path, keep: int = KEEP) -> None:
    """Removes all but the newest sealed checkpoints: the manifest first, so that a half-removed one never counts."""
    sealed = [folder for folder in list_checkpoints(output) if (folder / MANIFEST).exists()]
    for folder in sealed[:-keep]:
        (folder / MANIFEST).unlink()
        shutil.rmtree(folder)


def list_checkpoints(output: Path) -> list[Path]:
    """The checkpoint-N folders of a run, sealed or not, in order of their steps."""
    return sorted((path for path in output.glob("checkpoint-*") if path.name[11:].isdecimal()), key=checkpoint_step)


def checkpoint_step(folder: Path) -> int:
    """The optimizer step in a checkpoint's name."""
    return int(folder.name.rpartition("-")[2])
