"""Many adapters into one, exactly, straight from the files and without the base model.

An adapter's update of a module is D = s B A, with s = alpha / rank. The merge is a mean of these updates, never of
A and B apart: mean(B) mean(A) is another matrix. First each module's factors are read and brought into small core
matrices (algebra.py), where the merge, its rank and its error are worked out; then they are read again and the
merged factors are written one module at a time. Memory does not grow with the number of
modules, and by a tenth from 7 adapters to 100.
"""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from housebrain_core.adapters.adapter import Adapter, try_adapters
from housebrain_core.adapters.archives import name_of, unpacked
from housebrain_core.adapters.compatibility import check_mergeable, describe_mixed_data
from housebrain_core.adapters.inspection import judge_updates, mean_spectrum, missing_splits
from housebrain_core.adapters.parallel import settle_process
from housebrain_core.config import MergeConfig
from housebrain_core.errors import AdapterError, ConfigError
from housebrain_core.manifests import MANIFEST, seal, to_json, write_atomically
from housebrain_core.merge.merge_card import describe_merged_adapter
from housebrain_core.merge.planning import (
    Plan,
    Recipe,
    merged_factors,
    merged_run,
    plan_merge,
    trained_in_4bit,
    write_adapter,
)
from housebrain_core.merge.strategies import STRATEGIES
from housebrain_core.outputs import check_replaceable, staged_output


def merge_adapters(config: MergeConfig, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Merges adapter folders into one adapter folder, or with `into_base` into a full model.

    Args:
        config: which adapters, how, and where to.
        report: gets lines of progress.

    Returns:
        The contents of merge.json.

    Raises:
        AdapterError: an adapter is damaged, or they do not belong together; with all reasons.
        ConfigError: the output exists, or nothing is left to merge.
    """
    _refuse_existing(config)
    settle_process()
    paths = _without_excluded(config)
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        report(f"WARNING: {path} is given {paths.count(path)} times; it counts once")
    with unpacked(paths) as folders:
        adapters = read_adapters(folders, config)
        with staged_output(config.output, _kind(config), config.overwrite) as staging:
            if config.into_base:
                from housebrain_core.export.into_base import merge_into_base

                result = merge_into_base(config, adapters, staging, report)
            else:
                result = _merge_to_adapter(config, adapters, staging, report)
    report(f"done: {config.output}")
    return result


def read_adapters(folders: dict[Path, Path | AdapterError], config: MergeConfig) -> list[Adapter]:
    """Reads and checks adapters, in an order that does not depend on the order of arguments.

    Raises:
        AdapterError: naming everything that is wrong with any of them.
    """
    read = list(try_adapters(folders.values(), config.accept_plain))
    adapters = [found for found in read if isinstance(found, Adapter)]
    problems = [str(found) for found in read if isinstance(found, AdapterError)]
    given: dict[str, list[str]] = {}
    for path in folders:
        given.setdefault(name_of(path), []).append(str(path))
    twice = [paths for paths in given.values() if len(paths) > 1]
    problems += [f"{' and '.join(paths)} have one name; leave one out, or rename it" for paths in twice]
    if adapters:
        try:
            check_mergeable(adapters, config.accept_unfinished, config.accept_mixed_data, config.accept_mixed_seeds)
        except AdapterError as error:
            problems.append(str(error))
    if problems:
        raise AdapterError("\n".join(problems))
    return sorted(adapters, key=lambda adapter: (str(adapter.split or ""), adapter.sha256))


def describe_merge(config: MergeConfig, adapters: list[Adapter], plan: Plan) -> dict[str, Any]:
    """merge.json: inputs by sha256, weights, rank, and what truncation cost in each module."""
    energy = sum(spectrum.energy for spectrum in plan.spectra.values())
    lost = sum(spectrum.lost(plan.rank) for spectrum in plan.spectra.values())
    names = [adapter.name for adapter in adapters]
    _, odd = judge_updates(names, plan.geometry)
    return {
        "strategy": config.strategy,
        "rank": plan.rank,
        "rank_setting": config.rank,
        "scale": plan.recipe.scale,
        "inputs": [
            {"name": a.name, "sha256": a.sha256, "weight": weight, "split": a.split, "checked": a.run is not None,
             "norm": norm, "cosine_to_others": cosine}
            for a, weight, norm, cosine in zip(
                adapters, plan.recipe.weights, plan.geometry.norms, plan.geometry.cosines_to_others, strict=True)
        ],
        "cosines": plan.geometry.cosines.tolist(),
        "warnings": _warnings(adapters, odd),
        "retained_energy": 1 - lost / energy if energy else 1.0,
        "relative_error": math.sqrt(lost / energy) if energy else 0.0,
        "error_of_strategy": plan.mean_error,
        "density": config.density if config.strategy == "ties" else None,
        "spectrum": mean_spectrum(list(plan.spectra.values())),
        "modules": {
            module: {
                "norm": math.sqrt(spectrum.energy),
                "retained_energy": 1 - spectrum.share_lost(plan.rank),
                "relative_error": math.sqrt(spectrum.share_lost(plan.rank)),
            }
            for module, spectrum in plan.spectra.items()
        },
    }  # fmt: skip


def find_recipe(config: MergeConfig, adapters: list[Adapter], bench) -> Recipe:
    """Weights and scale as the settings say, measured on the validation sample where they ask for it."""
    strategy = STRATEGIES[config.strategy]
    weights, scale = strategy.weigh(adapters, config), 1.0 if config.scale == "auto" else config.scale
    if strategy.measured or config.scale == "auto":
        weights, scale = bench.choose(config.strategy, weights, config.scale)
    return Recipe(config.strategy, weights, scale, config.density)


def _merge_to_adapter(config: MergeConfig, adapters: list[Adapter], staging: Path, report) -> dict[str, Any]:
    """Plan, write and, where it is asked for, measure; the folder is sealed and complete at the end."""
    measured = STRATEGIES[config.strategy].measured or config.scale == "auto"
    bench = None
    with contextlib.ExitStack() as cleanup:
        if config.run_validation or measured:
            from housebrain_core.merge.validation import Bench

            bench = cleanup.enter_context(Bench(config, adapters, measured, report))
        recipe = find_recipe(config, adapters, bench)
        report(recipe.describe(adapters))
        plan = plan_merge(adapters, recipe, config.rank)
        result = describe_merge(config, adapters, plan)
        for line in result["warnings"]:
            report(f"WARNING: {line}")
        written = write_adapter(staging, adapters, plan.rank, lambda module: merged_factors(adapters, plan, module))
        more = isinstance(config.rank, int) and config.rank > plan.rank
        all_there_are = f"; {config.rank} were asked for, but the sum has no more directions" if more else ""
        report(f"rank {plan.rank}: {result['retained_energy']:.4%} of the energy kept{all_there_are}")
        for line in plan.describe_distance():
            report(line)
        if bench:
            result["validation"] = bench.judge(staging, recipe)
    write_atomically(staging / "merge.json", to_json(result))
    write_atomically(staging / "run.json", to_json(merged_run(adapters)))
    write_atomically(staging / "README.md", describe_merged_adapter(adapters[0].base_model, result))
    seal(staging, "adapter", known=written, finished=True, merged_from=[adapter.sha256 for adapter in adapters])
    return result


def _warnings(adapters: list[Adapter], odd: list[list[str]]) -> list[str]:
    """What a person should look at though it does not stop the merge."""
    lines = [f"{adapter.name}: {why}" for adapter, reasons in zip(adapters, odd, strict=True) for why in reasons]
    plain = [adapter.name for adapter in adapters if not adapter.run]
    if plain:
        lines.append(f"{', '.join(plain)}: no manifest, so split, data, tokens and 4-bit settings were not checked")
    if missing := missing_splits(adapters):
        lines.append(f"nothing of split {', '.join(map(str, missing))} is in this merge")
    if mixed := describe_mixed_data(adapters):
        lines.append(mixed)
    in_4bit = [a.name for a in adapters if trained_in_4bit([a])]
    if 0 < len(in_4bit) < len(adapters):
        lines.append(f"{', '.join(in_4bit)}: trained on the base in 4 bits, the others on the base as it is")
    return lines


def _without_excluded(config: MergeConfig) -> list[Path]:
    """The models but those of `exclude`, which may be named by their path or as the table of `inspect` names them."""
    left = list(config.models)
    for given in config.exclude:
        named = [path for path in config.models if given.resolve() == path.resolve() or str(given) == name_of(path)]
        if not named:
            names = ", ".join(map(name_of, config.models))
            raise ConfigError(f"--exclude {given} is none of the models; they are {names}.")
        left = [path for path in left if path not in named]
    if not left:
        raise ConfigError("every adapter is excluded, so nothing is left to merge.")
    return left


def _refuse_existing(config: MergeConfig) -> None:
    """Only a whole folder that an earlier merge wrote, with nothing else in it, is ever replaced."""
    output = config.output
    manifest = check_replaceable(output, _kind(config), config.overwrite)
    if manifest is None:
        return
    if output.resolve() in [path.resolve() for path in config.models]:
        raise ConfigError(f"{output} is one of the models to merge. Choose another --output.")
    if "merged_from" not in manifest:
        raise ConfigError(f"{output} is not what an earlier merge wrote, so it stays. Choose another --output.")
    strange = sorted(path.name for path in output.iterdir() if path.name not in {MANIFEST, *manifest["files"]})
    if strange:
        raise ConfigError(f"{output} holds {', '.join(strange[:5])}, which no merge wrote. Choose another --output.")


def _kind(config: MergeConfig) -> str:
    """What the manifest of the output says that it is."""
    return "model" if config.into_base else "adapter"
