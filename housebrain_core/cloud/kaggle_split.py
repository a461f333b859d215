"""A split on its person's own Kaggle account: pushed, looked after, and its adapter fetched, one command each.

What is pushed are the folders that `housebrain split --owner` wrote. Which of the notebook's folders it is follows from
what Kaggle says: the first run, one that goes on from the checkpoints of the run before, or the next leg of a plan.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.adapters.archives import unpack_adapter
from housebrain_core.adapters.folders import RUN
from housebrain_core.adapters.run import Run, read_run
from housebrain_core.cloud.kaggle_account import Account, KaggleError, open_account
from housebrain_core.cloud.settings import KaggleConfig
from housebrain_core.contents import read_json
from housebrain_core.errors import AdapterError, ConfigError
from housebrain_core.manifests import sha256_of, write_atomically
from housebrain_core.outputs import staged_output
from housebrain_core.splits.leg_file import find_inputs
from housebrain_core.splits.parts import Inputs, adapter_in_leg
from housebrain_core.texts import say

Report = Callable[[str], None]
BUSY = ("queued", "running", "cancel_requested")
NEVER_RAN = (None, "new_script")
PUSHED = "pushed_leg.json"
"""Beside the folders: which leg file was uploaded last, so that nothing is uploaded twice."""
CODE = "https://www.kaggle.com/code/"


@dataclass(frozen=True)
class OwnersFolder:
    """The folder kaggle/split_NN of a person."""

    path: Path
    split_id: int
    inputs: Inputs
    """What is trained now."""

    @property
    def dataset(self) -> str:
        """OWNER/SLUG of the bundle's dataset."""
        return self._metadata("dataset/dataset")["id"]

    @property
    def legs(self) -> str:
        """OWNER/SLUG of the leg files' dataset."""
        return self._metadata("leg/dataset")["id"]

    @property
    def kernel(self) -> str:
        """OWNER/SLUG of the notebook."""
        return self._metadata("kernel/kernel")["id"]

    @property
    def adapter(self) -> str:
        """What comes back from the leg that is trained now, such as hb-kaggle-04-leg-2."""
        return adapter_in_leg(f"hb-kaggle-{self.split_id:02d}", self.inputs.place)

    def _metadata(self, name: str) -> dict[str, Any]:
        return read_json(self.path / f"{name}-metadata.json")


def run_kaggle(config: KaggleConfig, report: Report = say) -> None:
    """Pushes a split to its person's Kaggle account, says how it is doing there, or fetches its adapter.

    Args:
        config: which split, and what is wanted.
        report: gets lines of what is done, and what to do next.

    Raises:
        ConfigError: there is no folder for this split, it is somebody else's, or what is wanted cannot be done now.
        MachineError: Kaggle refused something, or cannot be reached.
        AdapterError: the adapter that came back is damaged.
    """
    folder = find_folder(config)
    account = open_account(report)
    owner = folder.kernel.partition("/")[0]
    if account.user.lower() != owner.lower():
        raise ConfigError(
            f"{folder.path} is for the Kaggle user {owner}, and you are logged in as {account.user}. One person, one "
            f"account: {owner} pushes it, or housebrain split --owner {config.split}={account.user} makes one for you."
        )
    {"push": push, "status": show_status, "fetch": fetch}[config.action](account, folder, config, report)


def find_folder(config: KaggleConfig) -> OwnersFolder:
    """The folder of a split, with the newest leg file in it.

    Raises:
        ConfigError: there is none.
        DataError: bundle or leg file are damaged.
    """
    name = f"split_{config.split:02d}"
    places = (config.splits / "kaggle" / name, config.splits)
    path = next((place for place in places if (place / "kernel" / "kernel-metadata.json").is_file()), None)
    bundle = path and path / "dataset" / f"{name}.zip"
    if path is None or bundle is None or not bundle.is_file():
        raise ConfigError(
            f"{places[0]} is not there, or not for split {config.split}. housebrain split --owner {config.split}=NAME "
            "writes it for the Kaggle user NAME; or name the folder that you were sent with --splits."
        )
    legs = path / "leg"
    candidates = [*legs.glob("leg_*.zip"), *config.rounds.glob("leg_*.zip")]
    inputs = find_inputs(bundle, candidates)
    if inputs.leg_file and inputs.leg_file.parent != legs and legs.is_dir():
        inputs = inputs._replace(leg_file=Path(shutil.copy2(inputs.leg_file, legs)))
    return OwnersFolder(path, config.split, inputs)


def push(account: Account, folder: OwnersFolder, config: KaggleConfig, report: Report) -> None:
    """Uploads what Kaggle does not have yet, and starts the first run or the next one."""
    place = folder.inputs.place
    if place and not place.load_of(folder.split_id):
        turn = place.next_leg(folder.split_id)
        wait = f"Put leg_{turn}.zip into {folder.path / 'leg'} when you are sent it." if turn else "You are done."
        raise ConfigError(f"split {folder.split_id} is not trained in {place.describe()}. {wait}")
    state, failure = account.kernel_state(folder.kernel)
    if state in BUSY:
        raise ConfigError(f"{CODE}{folder.kernel} is {state} already. See: housebrain kaggle status {_flag(folder)}")
    if failure:
        report(f"the run before failed: {failure}")
    run = None if state in NEVER_RAN else _last_run(account, folder)
    if run and run.finished:
        raise ConfigError(f"{folder.adapter} is finished. Take it home: housebrain kaggle fetch {_flag(folder)}")
    report(account.describe_quota())
    _upload(account, folder, report)
    name = _choose_kernel(folder, state)
    report(f"pushing {folder.path / name}")
    address = account.push_kernel(folder.path / name, config.run)
    report(f"{'It runs' if config.run else 'It is saved, and has not run'}: {address or CODE + folder.kernel}")
    rehearse = "Open it there and click Run All for the rehearsal of five minutes. Then: housebrain kaggle push"
    report(f"{'How far it is: housebrain kaggle status' if config.run else rehearse} {_flag(folder)}")


def _flag(folder: OwnersFolder) -> str:
    return f"--split {folder.split_id}"


def _choose_kernel(folder: OwnersFolder, state: str | None) -> str:
    """Which of the notebook's folders is pushed; they differ in the inputs that they attach."""
    has_leg_file = folder.inputs.leg_file is not None
    attached = read_json(folder.path / "kernel" / "kernel-metadata.json")
    if state in NEVER_RAN and has_leg_file == (len(attached["dataset_sources"]) > 1):
        return "kernel"
    return "kernel_leg" if has_leg_file else "kernel_resume"


def _upload(account: Account, folder: OwnersFolder, report: Report) -> None:
    """Uploads bundle and leg file where Kaggle does not have them, and waits until they can be attached."""
    if account.dataset_state(folder.dataset) is None:
        report(f"uploading {folder.path / 'dataset'} as {folder.dataset}, private")
        account.create_dataset(folder.path / "dataset", folder.dataset)
    wanted = [folder.dataset]
    if folder.inputs.leg_file:
        _upload_leg(account, folder, folder.inputs.leg_file, report)
        wanted.append(folder.legs)
    for reference in wanted:
        report(f"waiting until {reference} is ready")
        account.wait_until_ready(reference)


def _upload_leg(account: Account, folder: OwnersFolder, leg_file: Path, report: Report) -> None:
    record = folder.path / PUSHED
    digest = json.dumps({"leg_sha256": sha256_of(leg_file)})
    there = account.dataset_state(folder.legs)
    if there and record.is_file() and record.read_text(encoding="utf-8") == digest:
        return
    report(f"uploading {leg_file} as {folder.legs}, private")
    if there:
        account.update_dataset(folder.path / "leg", folder.legs, leg_file.stem)
    else:
        account.create_dataset(folder.path / "leg", folder.legs)
    write_atomically(record, digest)


def _last_run(account: Account, folder: OwnersFolder) -> Run | None:
    """What the newest run has recorded of the adapter that is trained now; None where it has nothing of it."""
    with tempfile.TemporaryDirectory(prefix="housebrain-") as scratch:
        pattern = rf"(^|/){folder.adapter}/{RUN}$"
        files = account.fetch_output(folder.kernel, Path(scratch), pattern)
        return read_run(files[0]) if files else None


def show_status(account: Account, folder: OwnersFolder, config: KaggleConfig, report: Report) -> None:
    """Says the state of datasets and notebook, how much quota is left, and what to do next."""
    state, failure = account.kernel_state(folder.kernel)
    report(f"{account.dataset_state(folder.dataset) or 'not there'}: dataset {folder.dataset}")
    if folder.inputs.leg_file:
        report(f"{account.dataset_state(folder.legs) or 'not there'}: dataset {folder.legs}")
    report(f"{state or 'not there'}: notebook {CODE}{folder.kernel}")
    if failure:
        report(f"it failed: {failure}")
    report(account.describe_quota())
    report(f"Next: {_next_step(account, folder, state)}")


def _next_step(account: Account, folder: OwnersFolder, state: str | None) -> str:
    """What to do, by the state of the notebook."""
    push_it = f"housebrain kaggle push {_flag(folder)}"
    if state in BUSY:
        return "nothing; it runs without you. Ask again later."
    if state in NEVER_RAN:
        return push_it
    run = _last_run(account, folder)
    if run is None:
        return f"look at the notebook's last output, where something may have failed; then {push_it}"
    if run.finished:
        return f"housebrain kaggle fetch {_flag(folder)}"
    return f"{push_it} (it goes on: {run.why_it_ended} at step {run.steps} of {run.planned_steps})"


def fetch(account: Account, folder: OwnersFolder, config: KaggleConfig, report: Report) -> None:
    """Downloads the finished adapter, checks it as anything that comes from outside, and puts it into its folder."""
    target = config.models / folder.adapter
    with tempfile.TemporaryDirectory(prefix="housebrain-") as scratch:
        pattern = rf"(^|/){folder.adapter}\.zip$"
        try:
            files = account.fetch_output(folder.kernel, Path(scratch), pattern)
        except KaggleError as error:
            if error.code in (403, 404):
                raise ConfigError(f"{folder.kernel} has no output yet. {_say_how(account, folder)}") from None
            raise
        if not files:
            raise ConfigError(f"{folder.adapter} is not finished. {_say_how(account, folder)}")
        report(f"{files[0].name}: {files[0].stat().st_size / 1e6:.1f} MB, sha256 {sha256_of(files[0])}")
        unpacked = unpack_adapter(files[0], Path(scratch) / "unpacked" / folder.adapter)
        adapter = read_adapter(unpacked, given=files[0].name)
        _check_split(folder, adapter.run)
        if target.is_dir() and read_adapter(target).sha256 == adapter.sha256:
            report(f"{target} holds this very adapter already")
            return
        with staged_output(target, "adapter") as staging:
            shutil.copytree(unpacked, staging, dirs_exist_ok=True)
    report(f"{target}: every file is as its manifest says. Next: housebrain inspect {target}")


def _say_how(account: Account, folder: OwnersFolder) -> str:
    """What to do instead of fetching."""
    state, _ = account.kernel_state(folder.kernel)
    return f"The notebook is {state or 'not there'}. Next: {_next_step(account, folder, state)}"


def _check_split(folder: OwnersFolder, run: Run | None) -> None:
    """Refuses an adapter that says itself that it is of another split, or not finished."""
    trained = run.data.split_id if run else None
    if trained != folder.split_id or run is None or not run.finished:
        raise AdapterError(
            f"what lies in the output of {folder.kernel} is not the finished adapter of split {folder.split_id}: its "
            f"record says split {trained}. Look at the notebook's settings, and push it again."
        )
