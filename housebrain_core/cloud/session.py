"""What a session on Kaggle or Colab starts from: the bundle, an earlier run, Drive and its copies, a secret token."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import shorten

from housebrain_core.errors import DataError
from housebrain_core.manifests import MANIFEST, read_manifest
from housebrain_core.platforms import ROOT, WORKING, Platform
from housebrain_core.train.checkpoints import KEEP, checkpoint_step, list_checkpoints

DRIVE = ROOT / "content/drive/MyDrive"
DEPTH = 7
"""Folders below /kaggle/input that are searched: both of Kaggle's layouts, and a folder or two inside."""
MOUNT_SECONDS = 60 if Path("/") == ROOT else 1
"""How long Kaggle may take to mount an input; simulated sessions don't wait that long."""
ADD = {
    "kaggle": "In the panel on the right: Add Input > Datasets > your upload of {name}.zip, wait a minute, then "
    "Run > Run all.",
    "colab": "Click the folder symbol on the left, drag {name}.zip into the list, and when it is there: Runtime > "
    "Run all.",
    "local": "Give its path as `bundle`.",
}
"""How a bundle comes to be found."""


def find_bundle(split_id: int, given: str, platform: Platform, drive: Path | None = None) -> Path:
    """The bundle of a split, still a zip or unpacked by Kaggle, wherever the platform put it.

    Args:
        split_id: which split.
        given: path of a bundle; empty to search.
        platform: where we are.
        drive: folder on Drive to search as well.

    Raises:
        DataError: it is not there; the message shows what is, and how to add it.
    """
    if given:
        if Path(given).exists():
            return Path(given)
        raise DataError(f"bundle = {given!r} does not exist. Leave it empty to have it searched for.")
    places = [ROOT / "kaggle/input"] if platform == "kaggle" else [WORKING[platform]]
    places += [drive] if drive else []
    last = time.monotonic() + (MOUNT_SECONDS if platform == "kaggle" else 0)
    while not (found := _search(split_id, places, DEPTH if platform == "kaggle" else 1)):
        if time.monotonic() >= last:
            name, there = f"split_{split_id:02d}", "\n".join(line for place in places for line in tree(place))
            raise DataError(f"{name}.zip is not here. {ADD[platform].format(name=name)}\nWhat is here:\n{there}")
        time.sleep(min(5, MOUNT_SECONDS))
    return found


def _search(split_id: int, places: list[Path], depth: int) -> Path | None:
    """A split's bundle below some folders: unpacked, or the newest of its zips, however a browser named them."""
    name = f"split_{split_id:02d}"
    for folder in (folder for place in places for folder in walk(place, depth)):
        if holds_split(folder, split_id):
            return folder
        zips = [path for path in folder.glob(f"{name}*.zip") if path.stem[len(name) :].strip()[:1] in ("", "(")]
        if zips:
            return max(sorted(zips), key=lambda path: path.stat().st_mtime)
    return None


def holds_split(folder: Path, split_id: int) -> bool:
    """Whether a folder is the unpacked bundle of a split."""
    try:
        return read_manifest(folder, "bundle").get("split_id") == split_id
    except DataError:
        return False


def walk(place: Path, depth: int) -> Iterator[Path]:
    """A folder and those below it, shallow ones first; hidden ones and Drive's are left out."""
    level = [place] if place.is_dir() else []
    for _ in range(depth + 1):
        yield from level
        folders = (path for folder in level for path in sorted(folder.iterdir()) if path.is_dir())
        level = [
            path for path in folders if not path.name.startswith(".") and path.name not in ("drive", "sample_data")
        ]


def tree(place: Path, lines: int = 40) -> list[str]:
    """What lies in a folder, three levels deep, a line each."""
    shown = [str(place) if place.is_dir() else f"{place} does not exist"]
    for folder in walk(place, 2):
        shown += [f"  {path.relative_to(place)}" for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    return shown if len(shown) <= lines else [*shown[:lines], f"  and {len(shown) - lines} more"]


def bring_back(output: Path, platform: Platform, drive: Path | None, report: Callable[[str], None] = print) -> None:
    """Copies an earlier session's run to where training looks for it, unless this session has one.

    It is found in a Kaggle output that was attached as input, or on Drive. Whether it is whole and of the same
    settings is for training to check.
    """
    places = [ROOT / "kaggle/input"] if platform == "kaggle" else []
    places += [drive] if drive else []
    found = [folder for place in places for folder in walk(place, DEPTH) if folder.name == output.name]
    earlier = max((folder for folder in found if progress_of(folder) >= 0), key=progress_of, default=None)
    if progress_of(output) >= 0:
        report(f"this session has a run in {output} already; training goes on from it")
    elif earlier is None:
        report("no earlier run is attached; training starts at step 0")
    else:
        report(f"an earlier run is in {earlier}, at step {progress_of(earlier)}; it is copied to {output}")
        shutil.copytree(earlier, output, dirs_exist_ok=True, copy_function=shutil.copyfile)


def progress_of(folder: Path) -> int:
    """The newest sealed step of a run's folder; -1 without any."""
    sealed = [checkpoint_step(path) for path in list_checkpoints(folder) if (path / MANIFEST).is_file()]
    return max(sealed, default=0 if (folder / MANIFEST).is_file() else -1)


def mount_drive(folder: str, platform: Platform, report: Callable[[str], None] = print) -> Path | None:
    """A folder on Google Drive for copies of checkpoints; None elsewhere, without a name, or when Drive says no.

    Args:
        folder: below My Drive; empty for no Drive.
    """
    if platform != "colab" or not folder:
        return None
    from google.colab import drive, errors  # exist on Colab only

    try:
        drive.mount(str(DRIVE.parent))
        (DRIVE / folder).mkdir(parents=True, exist_ok=True)
    except (errors.Error, OSError, ValueError, NotImplementedError) as error:
        report(f"Drive is not used ({error}): when this session ends early, its checkpoints are lost")
        return None
    return DRIVE / folder


def use_token(platform: Platform, report: Callable[[str], None] = print) -> None:
    """Lets this process fetch from the Hub with the secret HF_TOKEN, where a person has stored one.

    Only a gated base model needs it. It is never printed, written to a file, or made a setting: settings are saved
    with the notebook.
    """
    token = _read_secret("HF_TOKEN", platform)
    if token:
        os.environ["HF_TOKEN"] = token
    report("the secret HF_TOKEN is used for the Hub" if token else "no secret HF_TOKEN; open base models need none")


def _read_secret(name: str, platform: Platform) -> str | None:
    """A secret's value; None where there is none, or the notebook was not given access to it."""
    if platform == "colab":
        from google.colab import errors, userdata

        slow = getattr(userdata, "TimeoutException", errors.Error)  # newer versions, outside their own page
        refused = (errors.Error, userdata.NotebookAccessError, userdata.SecretNotFoundError, slow)
        ask = userdata.get
    elif platform == "kaggle":
        import kaggle_secrets

        refused = (kaggle_secrets.CredentialError, kaggle_secrets.BackendError, OSError)

        def ask(label: str) -> str:
            return kaggle_secrets.UserSecretsClient().get_secret(label)
    else:
        return None
    try:
        return ask(name)
    except refused:
        return None


class DriveCopies:
    """Copies each sealed checkpoint to Drive while training runs; trouble with Drive never stops training.

    >>> with DriveCopies(output, drive):
    ...     trainer.train()
    """

    def __init__(self, output: Path, drive: Path | None, every: float = 20.0, report: Callable[[str], None] = print):
        self.output, self.every, self.report = output, every, report
        self.target = drive / output.name if drive else None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        if self.target:
            self.thread.start()
        return self

    def __exit__(self, *exception):
        self.ended.set()
        if self.target:
            self.thread.join()
            self.copy()

    def _watch(self) -> None:
        while not self.ended.wait(self.every):
            self.copy()

    def copy(self) -> None:
        """Copies what is sealed here and not yet there, by rename, and keeps the newest there."""
        for folder in sorted(list_checkpoints(self.output), key=checkpoint_step):
            place = self.target / folder.name
            staging = self.target / f".{folder.name}"
            try:
                if (place / MANIFEST).is_file() or not (folder / MANIFEST).is_file():
                    continue
                shutil.rmtree(staging, ignore_errors=True)
                shutil.copytree(folder, staging, copy_function=shutil.copyfile)
                staging.rename(place)
                for old in sorted(list_checkpoints(self.target), key=checkpoint_step)[:-KEEP]:
                    shutil.rmtree(old)
            except (OSError, shutil.Error) as error:  # pruned here meanwhile, or Drive is full or gone
                self.report(f"{folder.name} was not copied to Drive ({shorten(str(error), 160)}); training goes on")
            else:
                self.report(f"copied {folder.name} to Drive")


def interrupt_at_checkpoint(line: str) -> None:
    """Reports a line of a rehearsal, and asks training to stop, as a platform would, at a checkpoint."""
    print(line)
    if line.startswith("saved checkpoint-"):
        signal.raise_signal(signal.SIGTERM)
