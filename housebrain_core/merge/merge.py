"""Many adapters into one, exactly, straight from the files and without the base model.

Adapters are checked (`read_adapters`), the merge is computed in small matrices (compute.py) and written
(merged_files.py). Where weights or scale are chosen by validation loss, the base model is needed (validation.py).
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from housebrain_core.adapters.adapter import Adapter, try_adapters
from housebrain_core.adapters.archives import name_all, unpacked
from housebrain_core.adapters.compatibility import check_mergeable
from housebrain_core.adapters.folders import RUN
from housebrain_core.config import MergeConfig
from housebrain_core.display.results import say
from housebrain_core.errors import AdapterError, ConfigError
from housebrain_core.manifests import MANIFEST, seal, to_json, write_atomically
from housebrain_core.merge.compute import ComputedMerge, Recipe, compute_merge
from housebrain_core.merge.merged_files import (
    describe_merged_adapter,
    merged_run,
    reference_adapter,
    write_adapter,
)
from housebrain_core.merge.result import MergeResult, describe_merge
from housebrain_core.merge.strategies import STRATEGIES
from housebrain_core.outputs import check_replaceable, staged_output

Report = Callable[[str], None]


def merge_adapters(config: MergeConfig, report: Report = say) -> MergeResult:
    """Merges adapter folders into one adapter folder.

    Args:
        config: which adapters, how, and where to. `into_base` is for `export.merge_into_base`.
        report: gets lines of progress.

    Returns:
        The contents of merge.json.

    Raises:
        AdapterError: an adapter is damaged, or they do not belong together; with all reasons.
        ConfigError: the output exists, or nothing is left to merge.
    """
    if config.into_base:
        raise ConfigError("into_base is for housebrain_core.export.merge_into_base, which writes full weights.")
    output = merge_output(config, "adapter")  # asked for before the work, made only once the adapters are right
    with opened_adapters(config, report) as adapters, output as staging:
        result = write_merge(config, adapters, staging, report)
    for notice in result.notices:
        report(notice)
    report(f"done: {config.output}")
    return result


@contextlib.contextmanager
def opened_adapters(config: MergeConfig, report: Report) -> Iterator[list[Adapter]]:
    """The checked adapters of a merge, those in zips unpacked until the end of the block.

    Raises:
        AdapterError: naming everything that is wrong with any of them.
        ConfigError: nothing is left to merge.
    """
    paths = choose_models(config.models, config.exclude)
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        report(f"WARNING: {path} is given {paths.count(path)} times; it counts once")
    with unpacked(paths) as folders:
        yield read_adapters(folders, config)


def read_adapters(folders: dict[Path, Path | AdapterError], config: MergeConfig) -> list[Adapter]:
    """Reads and checks adapters, in an order that does not depend on the order of arguments.

    Raises:
        AdapterError: naming everything that is wrong with any of them.
    """
    adapters, problems = [], []
    names = name_all(list(dict.fromkeys([*config.models, *folders])))
    for result in try_adapters(folders, config.accept_plain, names):
        if isinstance(result, Adapter):
            adapters.append(result)
        else:
            problems.append(str(result))
    if adapters:
        try:
            check_mergeable(
                adapters,
                config.accept_unfinished,
                config.accept_mixed_data,
                config.accept_mixed_seeds,
                config.accept_other_base_name,
            )
        except AdapterError as error:
            problems.append(str(error))
    if problems:
        raise AdapterError("\n".join(problems))
    return sorted(adapters, key=lambda adapter: (str(adapter.split or ""), adapter.sha256))


def merge_output(config: MergeConfig, kind: str) -> contextlib.AbstractContextManager[Path]:
    """A staged folder for the result of a merge; see `outputs.staged_output`.

    Raises:
        ConfigError: the output is there and must stay.
    """
    check_output(config, kind)
    return staged_output(config.output, kind, config.overwrite)


def check_output(config: MergeConfig, kind: str) -> None:
    """Refuses an output unless it is new, or a whole folder that an earlier merge wrote, with nothing else in it.

    Raises:
        ConfigError: naming what is in the way.
    """
    output = config.output
    manifest = check_replaceable(output, kind, config.overwrite)
    if manifest is None:
        return
    if output.resolve() in [path.resolve() for path in config.models]:
        raise ConfigError(f"{output} is one of the models to merge. Choose another --output.")
    if "merged_from" not in manifest:
        raise ConfigError(f"{output} is not what an earlier merge wrote, so it stays. Choose another --output.")
    strange = sorted(path.name for path in output.iterdir() if path.name not in {MANIFEST, *manifest["files"]})
    if strange:
        raise ConfigError(f"{output} holds {', '.join(strange[:5])}, which no merge wrote. Choose another --output.")


def needs_choice(config: MergeConfig) -> bool:
    """Whether weights or scale are to be chosen by validation loss."""
    return STRATEGIES[config.strategy].measured or config.scale == "auto"


def report_computed(merge: ComputedMerge, report: Report) -> None:
    """Says what was computed: the recipe, and how far it is from the exact mean where it is none."""
    report(merge.recipe.describe(merge.adapters))
    if not STRATEGIES[merge.recipe.strategy].is_sum:
        report(f"{merge.recipe.strategy} is {merge.mean_error:.1%} away from the exact mean of the updates")


def write_merge(
    config: MergeConfig,
    adapters: list[Adapter],
    staging: Path,
    report: Report,
    start: Adapter | None = None,
    outer_rate: float = 1.0,
) -> MergeResult:
    """Computes, writes and, where it is asked for, measures; the folder is sealed and complete at the end.

    Args:
        config: how to merge.
        adapters: checked.
        staging: an empty folder.
        report: gets lines of progress.
        start: what the adapters were trained from, where it is at hand.
        outer_rate: how far the merge moves from there; 1 is to the mean of the adapters.

    Returns:
        The contents of merge.json.

    Raises:
        AdapterError: an adapter is untrained, or two are the same.
    """
    weights = STRATEGIES[config.strategy].weigh(adapters, config)
    scale = 1.0 if config.scale == "auto" else config.scale
    bench = None
    with contextlib.ExitStack() as cleanup:
        if config.run_validation or needs_choice(config):
            from housebrain_core.merge.validation import Bench

            bench = cleanup.enter_context(Bench(config, adapters, needs_choice(config), report))
            if needs_choice(config):
                weights, scale = bench.choose(config.strategy, weights, config.scale)
        recipe = Recipe(config.strategy, weights, scale, config.density, outer_rate)
        merge = compute_merge(adapters, recipe, config.rank, start)
        report_computed(merge, report)
        write_adapter(staging, adapters, merge.rank, merge.factors)
        result = describe_merge(config, merge)
        for line in result.warnings:
            report(f"WARNING: {line}")
        report(_describe_rank(config, result))
        if bench:
            result = describe_merge(config, merge, bench.judge(staging, merge.recipe))
    if result.warning:
        run = merged_run(adapters).model_copy(update={"warning": result.warning[:500]})
        write_atomically(staging / RUN, to_json(run.to_dict()))
    write_atomically(staging / "merge.json", to_json(result.to_dict()))
    write_atomically(staging / "README.md", describe_merged_adapter(reference_adapter(adapters).public_base, result))
    seal(staging, "adapter", finished=True, merged_from=[adapter.sha256 for adapter in adapters], **result.place)
    return result


def _describe_rank(config: MergeConfig, result: MergeResult) -> str:
    line = f"rank {result.rank}: {result.retained_energy:.4%} of the energy kept"
    if isinstance(config.rank, int) and config.rank > result.rank:
        line += f"; {config.rank} were asked for, but the sum has no more directions"
    return line


def choose_models(models: list[Path], exclude: list[Path]) -> list[Path]:
    """The models that are not excluded.

    Args:
        models: as they were given.
        exclude: those to leave out, by their path or as the table of `inspect` names them.

    Raises:
        ConfigError: one is none of the models, or nothing is left.
    """
    left = list(models)
    names = name_all(list(dict.fromkeys(models)))
    for given in exclude:
        named = [path for path in models if given.resolve() == path.resolve() or str(given) == names[path]]
        if not named:
            raise ConfigError(f"--exclude {given} is none of the models; they are {', '.join(names.values())}.")
        left = [path for path in left if path not in named]
    if not left:
        raise ConfigError("every adapter is excluded, so nothing is left to merge.")
    return left
