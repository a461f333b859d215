"""The end of a leg: its adapters become one, and the next leg gets a file to start from."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from housebrain_core.adapters.adapter import Adapter, read_adapter
from housebrain_core.adapters.updates import rewrite_update
from housebrain_core.config import MergeConfig, RoundConfig
from housebrain_core.errors import AdapterError, DataError
from housebrain_core.legs import Place
from housebrain_core.manifests import read_manifest, sync_folder
from housebrain_core.merge.merge import merge_output, write_merge
from housebrain_core.merge.merged_files import write_adapter
from housebrain_core.merge.result import MergeResult
from housebrain_core.rounds.state import LegLosses, RoundsState, leg_file, leg_folder
from housebrain_core.splits.bundle import read_package_manifest
from housebrain_core.splits.leg_file import KIND, read_place, read_start, write_leg_file
from housebrain_core.splits.parts import read_splits

Report = Callable[[str], None]


def first_parent(splits: Path) -> str | None:
    """sha256 of the weights that the first leg starts from; None for a fresh LoRA initialisation.

    Raises:
        DataError: the splits folder or its first bundle is damaged.
    """
    return read_package_manifest(_first_bundle(splits)).get("parent_sha256")


def end_leg(
    config: RoundConfig, state: RoundsState, adapters: list[Adapter], report: Report
) -> tuple[RoundsState, MergeResult]:
    """Makes one adapter of those of the newest leg, and writes it: to rounds/leg_N, after the last leg to `merged`.

    Args:
        config: where to, and whether to measure.
        state: of the plan, with these adapters as what was sent.
        adapters: of the newest leg, checked; at least one.
        report: gets lines of progress.

    Returns:
        The state in which the leg has ended, and the contents of merge.json.
    """
    target = config.merged if state.place.is_last else leg_folder(config.output, state.current.number)
    merge_config = _merge_config(config, state, adapters, target)
    rate = 1.0 if state.place.is_last or len(adapters) == 1 else state.plan.outer_rate
    with _opened_start(config, state, adapters) as start, merge_output(merge_config, "adapter") as staging:
        result = write_merge(merge_config, adapters, staging, report, start, rate)
    merged = read_adapter(target)
    floors = {adapter.run.floor for adapter in adapters if adapter.run and adapter.run.floor is not None}
    ended = state.with_current(merged_sha256=merged.sha256, losses=_losses_of(result), warning=result.warning)
    return ended.model_copy(update={"floor": floors.pop() if len(floors) == 1 else state.floor}), result


def write_next_leg(rounds: Path, place: Place, report: Report) -> str:
    """Writes rounds/leg_N.zip from what the leg before ended in, unless the very same is there.

    Args:
        rounds: their folder.
        place: the leg, from the second on.
        report: gets lines of progress.

    Returns:
        sha256 of the weights that the leg starts from.

    Raises:
        DataError: the leg started from other weights than those that can be made.
    """
    path = leg_file(rounds, place.leg)
    if place.parent_sha256 and path.is_file() and read_place(read_package_manifest(path, KIND), path) == place:
        return place.parent_sha256
    before = read_adapter(leg_folder(rounds, place.leg - 1))
    scratch = rounds / f".leg_{place.leg}.partial"
    shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
    (scratch / "init").mkdir(parents=True)
    try:
        rewritten = rewrite_update(before, place.plan.lora_r, place.plan.lora_alpha)
        factors = rewritten.factors.__getitem__
        write_adapter(scratch / "init", [before], place.plan.lora_r, factors, place.plan.lora_alpha)
        written = write_leg_file(scratch, place, scratch / "init")
        parent_sha256 = read_start(written).parent_sha256
        if place.parent_sha256 not in (None, parent_sha256):
            raise DataError(
                f"{path} is missing or for another plan, and cannot be made again: it started from "
                f"{place.parent_sha256[:8]}, and {before.folder} gives {parent_sha256[:8]}. Put the file back."
            )
        written.replace(path)
        sync_folder(rounds)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    report(
        f"{path}: starts from {before.folder} at rank {place.plan.lora_r}, "
        f"which loses {1 - rewritten.kept:.3%} of its energy"
    )
    return parent_sha256


@contextmanager
def _opened_start(config: RoundConfig, state: RoundsState, adapters: list[Adapter]) -> Iterator[Adapter | None]:
    """What the newest leg started from; None for a fresh LoRA initialisation, whose update is zero."""
    place = state.place
    if place.parent_sha256 is None:
        yield None
        return
    path = _first_bundle(config.splits) if place.leg == 1 else leg_file(config.output, place.leg)
    scratch = config.output / ".start.partial"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        read_start(path).write_to(scratch)
        start = read_adapter(scratch, accept_plain=True, given=path)
        if start.sizes != adapters[0].sizes:
            raise AdapterError(f"{adapters[0].name} adapts other modules than what it started from, {path}.")
        yield start
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _first_bundle(splits: Path) -> Path:
    return splits / read_splits(splits)[0].bundle


def _merge_config(config: RoundConfig, state: RoundsState, adapters: list[Adapter], target: Path) -> MergeConfig:
    """How the adapters of a leg are merged."""
    measured = {"run_validation": True, "data": config.splits, "base_model": config.base_model}
    again = state.place.is_last and _is_this_merge(target, adapters)
    return MergeConfig(
        models=[adapter.folder for adapter in adapters],
        output=target,
        overwrite=config.overwrite or again or not state.place.is_last,
        **(measured if config.run_validation else {}),
    )


def _is_this_merge(target: Path, adapters: list[Adapter]) -> bool:
    """Whether a folder holds what these adapters become: a process that was killed had come so far."""
    if not target.is_dir():
        return False
    try:
        return read_manifest(target, "adapter").get("merged_from") == [adapter.sha256 for adapter in adapters]
    except DataError:
        return False


def _losses_of(result: MergeResult) -> LegLosses | None:
    """What was measured, as the state holds it."""
    if not result.validation:
        return None
    losses = result.validation.losses
    splits = {entry.name: losses[entry.name] for entry in result.inputs}
    alone = len(splits) == 1
    return LegLosses(
        base=losses["base"],
        splits=splits,
        merged=losses["merged"],
        exact={name: result.validation.exact[name] for name in (*splits, "merged")},
        best_split=result.validation.best_split,
        verdict="one person's adapter; nothing was merged" if alone else result.validation.verdict,
    )
