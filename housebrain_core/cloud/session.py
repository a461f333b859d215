"""What a session on Kaggle or Colab starts from: the bundle, an earlier run, Drive and its copies, a secret token."""

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from textwrap import shorten
from typing import Self

from housebrain_core.errors import DataError
from housebrain_core.manifests import MANIFEST
from housebrain_core.platforms import ROOT, WORKING, Platform, detect_platform
from housebrain_core.splits.bundle import hash_source, read_bundle, read_package_manifest, read_source
from housebrain_core.splits.leg_file import find_inputs
from housebrain_core.splits.parts import Inputs
from housebrain_core.texts import say
from housebrain_core.train.checkpoints import KEEP, checkpoint_step, list_checkpoints

DRIVE = ROOT / "content/drive/MyDrive"
DEPTH = 7
"""Folders below /kaggle/input that are searched: both of Kaggle's layouts, and a folder or two inside."""
ADD = {
    "kaggle": "In the panel on the right: Add Input > Datasets > your upload of {name}.zip, wait a minute, then "
    "Run > Run all.",
    "colab": "Click the folder symbol on the left, drag {name}.zip into the list, and when it is there: Runtime > "
    "Run all.",
    "local": "Give its path as `bundle`.",
}
"""How a bundle comes to be found."""


def choose_bundle(split_id: int, paths: Iterable[Path], report: Callable[[str], None] = say) -> Path:
    """The bundle of a split among those within reach, once it is known to be whole.

    Of several, one that holds this very code counts before others, and then the newest.

    Args:
        split_id: which split.
        paths: zips and folders; what is no bundle is passed over.
        report: gets a line about the bundle.

    Returns:
        The bundle.

    Raises:
        DataError: it is not there, or damaged; the message says which splits are there, and how to add it.
    """
    code = hash_source(read_source())
    bundles: list[tuple[bool, float, Path]] = []
    others: list[str] = []
    for path in paths:
        try:
            manifest = read_package_manifest(path)
        except DataError:  # another zip; the cell that looked for bundles has named it if it was damaged
            continue
        if manifest.get("split_id") == split_id:
            bundles.append((manifest.get("code_sha256") == code, path.stat().st_mtime, path))
        else:
            others.append(f"  split {manifest.get('split_id')}: {path}")
    if not bundles:
        name = f"split_{split_id:02d}"
        add = ADD[detect_platform()].format(name=name)
        raise DataError("\n".join([f"{name}.zip is not here. {add} What is here:", *sorted(others)]))
    *_, chosen = max(bundles)
    samples = read_bundle(chosen).train.num_rows
    report(f"{chosen}: {samples:,} samples, whole and unchanged")
    return chosen


def choose_inputs(
    split_id: int, paths: Iterable[Path], bundle: str = "", leg: int = 1, report: Callable[[str], None] = say
) -> Inputs:
    """The bundle of a split and the leg file that its training starts from, among what is within reach.

    Args:
        split_id: which split.
        paths: zips and folders; what is neither is passed over.
        bundle: path of the bundle; empty to choose it among them.
        leg: that the notebook is for.
        report: gets a line about each of them.

    Returns:
        Both, and the leg.

    Raises:
        DataError: the bundle is not there, or one of them is damaged; or the leg file is missing, so that an earlier
            leg would be trained again.
    """
    paths = list(paths)
    bundles = [Path(bundle).resolve()] if bundle else paths
    inputs = find_inputs(choose_bundle(split_id, bundles, report), paths)
    if inputs.place and inputs.place.leg < leg <= len(inputs.place.plan.legs):  # a plan that ended early has fewer
        add = ADD[detect_platform()].format(name=f"leg_{leg}")
        raise DataError(
            f"leg_{leg}.zip is not here, and this notebook is for leg {leg} of {len(inputs.place.plan.legs)}. Without "
            f"it leg {inputs.place.leg} would be trained again, for nothing. {add}"
        )
    if inputs.place:
        start = f"{inputs.leg_file}: the adapter to start from" if inputs.leg_file else "no leg file is needed"
        report(f"{inputs.place.describe()}, {start}")
    return inputs


def walk(place: Path, depth: int) -> Iterator[Path]:
    """A folder and those below it, shallow ones first; hidden ones and Drive's are left out."""
    level = [place] if place.is_dir() else []
    for _ in range(depth + 1):
        yield from level
        folders = (path for folder in level for path in sorted(folder.iterdir()) if path.is_dir())
        level = [
            path for path in folders if not path.name.startswith(".") and path.name not in ("drive", "sample_data")
        ]


def bring_back(adapter: str, platform: Platform, drive: Path | None, report: Callable[[str], None] = say) -> Path:
    """Copies an earlier session's run to where training looks for it, unless this session has one.

    It is found in a Kaggle output that was attached as input, or on Drive. Whether it is whole and of the same
    settings is for training to check.

    Args:
        adapter: name of the run's folder, such as hb-kaggle-04.
        platform: where we are.
        drive: folder on Drive to look in; None without Drive.
        report: gets a line about what there is.

    Returns:
        The run's folder, which may not exist yet.
    """
    output = WORKING[platform] / adapter
    places = [ROOT / "kaggle/input"] if platform == "kaggle" else []
    places += [drive] if drive else []
    folders = [folder for place in places for folder in walk(place, DEPTH) if folder.name == adapter]
    earlier = max((folder for folder in folders if progress_of(folder) >= 0), key=progress_of, default=None)
    if progress_of(output) >= 0:
        report(f"this session has a run in {output} already; training goes on from it")
    elif earlier is None:
        report("no earlier run is attached; training starts at step 0")
    else:
        report(f"an earlier run is in {earlier}, at step {progress_of(earlier)}; it is copied to {output}")
        shutil.copytree(earlier, output, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return output


def progress_of(folder: Path) -> int:
    """The newest sealed step of a run's folder; -1 without any."""
    sealed = [checkpoint_step(path) for path in list_checkpoints(folder) if (path / MANIFEST).is_file()]
    return max(sealed, default=0 if (folder / MANIFEST).is_file() else -1)


def mount_drive(folder: str, platform: Platform, report: Callable[[str], None] = say) -> Path | None:
    """Mounts Google Drive for copies of checkpoints.

    Args:
        folder: below My Drive, made where it is missing; empty for no Drive.
        platform: where we are.
        report: gets a line when Drive refuses.

    Returns:
        The folder; None elsewhere than on Colab, without a name, or when Drive refuses.
    """
    if platform != "colab" or not folder:
        return None
    from google.colab import drive, errors  # pyright: ignore[reportMissingImports] - exist on Colab only

    try:
        drive.mount(str(DRIVE.parent))
        (DRIVE / folder).mkdir(parents=True, exist_ok=True)
    except (errors.Error, OSError, ValueError, NotImplementedError) as error:
        report(f"Drive is not used ({error}): when this session ends early, its checkpoints are lost")
        return None
    return DRIVE / folder


def use_token(platform: Platform, report: Callable[[str], None] = say) -> None:
    """Lets this process fetch from the Hub with the secret HF_TOKEN, where a person has stored one.

    Only a gated base model needs it. It is never printed, written to a file, or made a setting: settings are saved
    with the notebook.

    Args:
        platform: where we are.
        report: gets a line that says whether there is one.
    """
    token = _read_secret("HF_TOKEN", platform)
    if token:
        os.environ["HF_TOKEN"] = token
    report("the secret HF_TOKEN is used for the Hub" if token else "no secret HF_TOKEN; open base models need none")


def _read_secret(name: str, platform: Platform) -> str | None:
    """A secret's value; None where there is none, or the notebook was not given access to it."""
    if platform == "colab":
        from google.colab import errors, userdata  # pyright: ignore[reportMissingImports]

        slow = getattr(userdata, "TimeoutException", errors.Error)  # newer versions, outside their own page
        refused = (errors.Error, userdata.NotebookAccessError, userdata.SecretNotFoundError, slow)
        ask = userdata.get
    elif platform == "kaggle":
        import kaggle_secrets  # pyright: ignore[reportMissingImports]

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
    ...     HouseBrainFineTuner(config).train()

    Args:
        output: the run's folder.
        drive: folder on Drive; None for no copies.
        every: seconds between looks at the run's folder.
        report: gets a line for each copy.
    """

    def __init__(
        self, output: Path, drive: Path | None, every: float = 20.0, report: Callable[[str], None] = say
    ) -> None:
        self.output = output
        self.every = every
        self.report = report
        self.target = drive / output.name if drive else None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self.target:
            self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended.set()
        if self.target:
            self.thread.join()
            self.copy()

    def _watch(self) -> None:
        while not self.ended.wait(self.every):
            self.copy()

    def copy(self) -> None:
        """Copies what is sealed here and not yet there, by rename, and keeps the newest there."""
        if self.target is None:
            return
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


def interrupt_at_checkpoint() -> Callable[[str], None]:
    """Makes what a rehearsal reports to: it asks training once to stop, as a platform would, at the first checkpoint.

    Returns:
        What takes the lines of training's progress, and prints them.
    """
    asked: list[str] = []

    def report(line: str) -> None:
        if line.startswith("To go on,"):  # it does so at once
            return
        say(line)
        if line.startswith("saved checkpoint-") and not asked:
            asked.append(line)
            say("the rehearsal stops here on purpose; then it goes on from this checkpoint, as a real run would")
            signal.raise_signal(signal.SIGTERM)

    return report
