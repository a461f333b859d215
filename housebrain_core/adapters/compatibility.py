"""Whether adapters belong together: one base, one set of modules, one dataset, and every split once."""

from collections import Counter
from typing import Any

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.adapters.run import HASH_PREFIX
from housebrain_core.errors import AdapterError


def check_mergeable(
    adapters: list[Adapter],
    accept_unfinished: bool = False,
    accept_mixed_data: bool = False,
    accept_mixed_seeds: bool = False,
    accept_other_base_name: bool = False,
) -> None:
    """Refuses adapters that do not belong together, with all reasons at once.

    Args:
        adapters: at least one.
        accept_unfinished: merge adapters whose training ended before its last step.
        accept_mixed_data: merge adapters that were trained on different datasets.
        accept_mixed_seeds: merge adapters that started from different LoRA initialisations, or other adapters.
        accept_other_base_name: take base models of other names for one, unless their contents are known to differ.

    Raises:
        AdapterError: another base model or revision, other target modules, the same split or the same file twice,
            different plans or legs of one, datasets or starts, an unfinished adapter.
    """
    problems = [
        *_other_bases(adapters, accept_other_base_name),
        *_differences("task_type", [(a.name, a.task_type) for a in adapters if a.task_type]),
        *_other_modules(adapters),
        *_repeated("the same split", [(a.name, a.split) for a in adapters if a.split]),
        *_repeated("the same weights", [(a.name, a.sha256) for a in adapters if a.split]),
        *_other_legs(adapters),
    ]
    mixed = describe_mixed_data(adapters)
    if mixed and not accept_mixed_data:
        problems.append(f"{mixed}. If their mean is what you want, pass --accept-mixed-data")
    if not accept_mixed_seeds:
        seeds = [(a.name, a.run.settings.lora_seed) for a in adapters if a.run]
        lines = _differences("lora_seed", [(name, seed) for name, seed in seeds if seed is not None])
        lines += _differences("start", [(a.name, describe_start(a)) for a in adapters if a.run])
        problems += [f"{line}; to merge them so, pass --accept-mixed-seeds" for line in lines]
    for adapter in adapters:
        if adapter.run and not adapter.run.finished and not accept_unfinished:
            problems.append(
                f"{adapter.name} is not finished: {adapter.run.why_it_ended}. Let its person start it again, or pass "
                "--accept-unfinished"
            )
    if problems:
        raise AdapterError(
            "these adapters cannot be merged:\n  " + "\n  ".join(problems) + "\nLeave the odd ones out with --exclude."
        )


def base_keys(adapters: list[Adapter]) -> list[str]:
    """What tells base models apart, for each adapter: the contents where they are recorded, else name and revision.

    One adapter that recorded commit and contents tells the contents of that commit for all.
    """
    contents: dict[str | None, str] = {}
    for adapter in adapters:
        if adapter.revision and adapter.base_content:
            contents[adapter.revision] = adapter.base_content
    keys = []
    for adapter in adapters:
        revision = adapter.revision or ""
        content = revision if revision.startswith(HASH_PREFIX) else adapter.base_content or contents.get(revision)
        keys.append(content or adapter.base)
    return keys


def describe_doubts(adapters: list[Adapter]) -> list[str]:
    """What is not known of the base models of adapters that are merged all the same.

    Args:
        adapters: those that `check_mergeable` let pass.

    Returns:
        A line for each doubt.
    """
    lines = [f"{adapter.name}: {doubt}" for adapter in adapters for doubt in adapter.doubts]
    if len(set(base_keys(adapters))) > 1 and len({adapter.base_model for adapter in adapters}) > 1:
        bases = sorted({adapter.public_base or "none" for adapter in adapters})
        lines.append(f"the bases that they name ({', '.join(bases)}) are taken for one base model, as you said")
    revisions = sorted({adapter.revision for adapter in adapters if adapter.revision})
    unknown = [adapter.name for adapter in adapters if not adapter.revision and not adapter.doubts]
    if revisions and unknown:
        names = ", ".join(unknown)
        lines.append(f"{names}: no revision of the base is named; the others were trained on {revisions[0]}")
    return lines


def describe_mixed_data(adapters: list[Adapter]) -> str:
    """Which adapter was trained on which dataset, by the first digits of its hash; empty where it is one dataset."""
    if len({adapter.dataset for adapter in adapters if adapter.dataset}) < 2:
        return ""
    lines = []
    for adapter in adapters:
        if adapter.dataset:
            split = f"split {adapter.split.number} of {adapter.split.of} of " if adapter.split else ""
            lines.append(f"{adapter.name} on {split}{adapter.dataset[:8]}")
    return f"trained on different datasets: {', '.join(lines)}"


def describe_leg(adapter: Adapter) -> str | None:
    """Which leg of a plan an adapter was trained in, such as "leg 2 of 3"; None where there was no plan."""
    run = adapter.run
    return f"leg {run.leg} of {run.legs}" if run and run.leg else None


def describe_start(adapter: Adapter) -> str | None:
    """What training started from: "fresh", or the first digits of an adapter's sha256; None where it is not known."""
    if not adapter.run:
        return None
    return adapter.run.parent_sha256[:8] if adapter.run.parent_sha256 else "fresh"


def newest_leg(adapters: list[Adapter]) -> list[Adapter]:
    """Those of the newest leg of a plan; all where there is no plan."""
    legs = [adapter.run.leg or 0 if adapter.run else 0 for adapter in adapters]
    return [adapter for adapter, leg in zip(adapters, legs, strict=True) if leg == max(legs)]


def most_common_sizes(adapters: list[Adapter]) -> dict[str, tuple[int, int]]:
    """The modules and their sizes that most adapters have."""
    counts = Counter(tuple(adapter.sizes.items()) for adapter in adapters)
    return dict(counts.most_common(1)[0][0])


def _other_bases(adapters: list[Adapter], accept_other_base_name: bool) -> list[str]:
    """Lines for base models that are known to be others, or that only their person knows to be the same."""
    keys = base_keys(adapters)
    if len(set(keys)) < 2:
        return []
    lines = []
    if not accept_other_base_name:
        lines = _differences("base model", [(a.name, a.base_model or "no name") for a in adapters])
        lines = [f"{line}. If it is the same model, pass --accept-other-base-name" for line in lines]
    for name in sorted({adapter.base_model or "" for adapter in adapters}) if accept_other_base_name else [None]:
        alike = [a for a in adapters if a.revision and name in (None, a.base_model or "")]
        lines += _differences("revision of it", [(a.name, a.revision) for a in alike])
    contents = [(a.name, key) for a, key in zip(adapters, keys, strict=True) if key.startswith(HASH_PREFIX)]
    return lines or _differences("content of it", contents)


def _other_legs(adapters: list[Adapter]) -> list[str]:
    runs = [(adapter.name, adapter.run) for adapter in adapters if adapter.run]
    lines = _differences("plan", [(name, run.plan) for name, run in runs])
    lines += _differences("leg", [(name, f"{run.leg} of {run.legs}") for name, run in runs])
    return [f"{line}. Each leg is merged by itself, with housebrain round" for line in lines]


def _other_modules(adapters: list[Adapter]) -> list[str]:
    problems, common = [], most_common_sizes(adapters)
    for adapter in adapters:
        differing = sorted(set(adapter.sizes.items()) ^ set(common.items()))
        if differing:
            module, (out_features, in_features) = differing[0]
            problems.append(
                f"{adapter.name} adapts other modules ({len({name for name, _ in differing})} differ, such as "
                f"{module} of {out_features}x{in_features})"
            )
    return problems


def _differences(what: str, values: list[tuple[str, Any]]) -> list[str]:
    """One line when the values are not all equal: the minority, by name."""
    distinct = [value for _, value in values]
    if all(value == distinct[0] for value in distinct):
        return []
    most_common = max(distinct, key=distinct.count)
    odd = [f"{name} has {value}" for name, value in values if value != most_common]
    return [f"another {what}: {', '.join(odd)}; the others have {most_common}"]


def _repeated(what: str, values: list[tuple[str, Any]]) -> list[str]:
    groups: dict[Any, list[str]] = {}
    for name, value in values:
        groups.setdefault(value, []).append(name)
    return [f"{what} twice: {' and '.join(names)}" for names in groups.values() if len(names) > 1]
