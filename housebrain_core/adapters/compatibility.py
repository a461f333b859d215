"""Whether adapters belong together: one base, one set of modules, one dataset, and every split once."""

from collections import Counter
from typing import Any

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.errors import AdapterError


def check_mergeable(
    adapters: list[Adapter],
    accept_unfinished: bool = False,
    accept_mixed_data: bool = False,
    accept_mixed_seeds: bool = False,
) -> None:
    """Refuses adapters that do not belong together, with all reasons at once.

    Args:
        adapters: at least one.
        accept_unfinished: merge adapters whose training ended before its plan did.
        accept_mixed_data: merge adapters that were trained on different datasets.
        accept_mixed_seeds: merge adapters that started from different LoRA initialisations.

    Raises:
        AdapterError: another base model or revision, other target modules, the same split or the same file twice,
            different datasets or LoRA initialisations, an unfinished adapter.
    """
    problems = []
    for what, value in (("base model", lambda a: a.base_model), ("revision of it", lambda a: a.revision)):
        problems += _differences(what, [(adapter.name, value(adapter)) for adapter in adapters])
    common = usual_sizes(adapters)
    for adapter in adapters:
        odd = sorted(set(adapter.sizes.items()) ^ set(common.items()))
        if odd:
            (module, (out, inner)), _ = odd[0], odd
            problems.append(
                f"{adapter.name} adapts other modules ({len({name for name, _ in odd})} differ, such as {module} "
                f"of {out}x{inner})"
            )
    problems += _repeated("the same split", [(a.name, a.split) for a in adapters if a.split])
    problems += _repeated("the same weights", [(a.name, a.sha256) for a in adapters])
    mixed = describe_mixed_data(adapters)
    if mixed and not accept_mixed_data:
        problems.append(f"{mixed}. If their mean is what you want, pass --accept-mixed-data")
    if not accept_mixed_seeds:
        settings = [(adapter.name, (adapter.run or {}).get("settings") or {}) for adapter in adapters]
        told = [(name, values["lora_seed"]) for name, values in settings if "lora_seed" in values]
        problems += [f"{line}; to merge them so, pass --accept-mixed-seeds" for line in _differences("lora_seed", told)]
    if not accept_unfinished:
        problems += [
            f"{a.name} is not finished: {a.run['why_it_ended']}. Let its person start it again, or pass "
            "--accept-unfinished"
            for a in adapters
            if a.run and not a.run["finished"]
        ]
    if problems:
        raise AdapterError(
            "these adapters cannot be merged:\n  " + "\n  ".join(problems) + "\nLeave the odd ones out with --exclude."
        )


def describe_mixed_data(adapters: list[Adapter]) -> str:
    """Which adapter was trained on which dataset, by the first digits of its hash; empty where it is one dataset."""
    told = [(adapter, adapter.dataset) for adapter in adapters if adapter.dataset]
    if len({dataset for _, dataset in told}) < 2:
        return ""
    shown = [
        f"{adapter.name} on " + (f"split {adapter.split[2]} of {adapter.split[1]} of " * bool(adapter.split))
        + dataset[:8] for adapter, dataset in told
    ]  # fmt: skip
    return f"trained on different datasets: {', '.join(shown)}"


def usual_sizes(adapters: list[Adapter]) -> dict[str, tuple[int, int]]:
    """The modules and their sizes that most adapters have."""
    counts = Counter(tuple(adapter.sizes.items()) for adapter in adapters)
    return dict(counts.most_common(1)[0][0])


def _differences(what: str, values: list[tuple[str, Any]]) -> list[str]:
    """One line when the values are not all equal: the minority, by name."""
    distinct = [value for _, value in values]
    if all(value == distinct[0] for value in distinct):
        return []
    usual = max(distinct, key=distinct.count)
    odd = [f"{name} has {value}" for name, value in values if value != usual]
    return [f"another {what}: {', '.join(odd)}; the others have {usual}"]


def _repeated(what: str, values: list[tuple[str, Any]]) -> list[str]:
    groups: dict[Any, list[str]] = {}
    for name, value in values:
        groups.setdefault(value, []).append(name)
    return [f"{what} twice: {' and '.join(names)}" for names in groups.values() if len(names) > 1]
