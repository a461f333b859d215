"""What came back, sorted: adapters of the leg that is trained now, those of earlier legs, and what is refused."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from housebrain_core.adapters.adapter import Adapter, try_adapters
from housebrain_core.adapters.compatibility import check_mergeable
from housebrain_core.adapters.run import Run
from housebrain_core.errors import AdapterError
from housebrain_core.rounds.state import RoundsState

SHOWN_DIGITS = 8
"""Of a sha256, in messages."""


@dataclass(frozen=True)
class Arrivals:
    """What of the paths that were given counts now."""

    adapters: list[Adapter]
    """Of the leg that is trained now, in the order of their splits."""
    left_out: list[str]
    """Why others are left out, a line each; nothing is wrong with them."""


def sort_arrivals(folders: Mapping[Path, Path | AdapterError], state: RoundsState) -> Arrivals:
    """Sorts what came back by the leg that it belongs to.

    Args:
        folders: path as it was given -> the adapter's folder, or why a zip could not be unpacked.
        state: of the plan.

    Returns:
        The adapters of the newest leg, and why others are left out.

    Raises:
        AdapterError: with every reason for which something cannot be used at all.
    """
    sorting = _Sorting(state)
    for adapter in try_adapters(folders):
        if isinstance(adapter, AdapterError):
            sorting.problems.append(str(adapter))
        else:
            sorting.add(adapter)
    adapters = sorted(sorting.current.values(), key=lambda adapter: adapter.split.number if adapter.split else 0)
    if adapters:
        try:
            check_mergeable(adapters, accept_unfinished=True)  # these are named among the problems already
        except AdapterError as error:
            sorting.problems.append(str(error))
    if sorting.problems:
        raise AdapterError("\n".join([*sorting.problems, "Nothing was changed. Take these away, and run it again."]))
    return Arrivals(adapters, sorting.left_out())


class _Sorting:
    """Adapters by what becomes of them."""

    def __init__(self, state: RoundsState) -> None:
        self.state = state
        self.merged_in = {sent.sha256: leg.number for leg in state.legs if leg.merged_sha256 for sent in leg.sent}
        self.current: dict[str, Adapter] = {}
        self.problems: list[str] = []
        self.merged: dict[int, list[str]] = {}
        self.late: dict[int, list[str]] = {}
        self.again: list[str] = []

    def add(self, adapter: Adapter) -> None:
        """Takes an adapter in."""
        number = self.state.current.number
        leg = adapter.run.leg if adapter.run else None
        if adapter.sha256 in self.merged_in:
            self.merged.setdefault(self.merged_in[adapter.sha256], []).append(adapter.name)
        elif adapter.sha256 in self.current:
            self.again.append(f"{adapter.name} is {self.current[adapter.sha256].name} once more; it counts once")
        elif problem := next(find_problems(adapter, self.state), ""):
            self.problems.append(problem)
        elif leg is not None and (leg < number or self.state.is_finished):
            self.late.setdefault(leg, []).append(adapter.name)
        else:
            self.current[adapter.sha256] = adapter

    def left_out(self) -> list[str]:
        """A line for each leg of which something is left out."""
        merged = [f"merged already in leg {leg}: {', '.join(names)}" for leg, names in sorted(self.merged.items())]
        late = [
            f"too late for leg {leg}, which was merged without it, and left out: {', '.join(names)}. Whoever sent it "
            "may train in the next leg again"
            for leg, names in sorted(self.late.items())
        ]
        return [*merged, *late, *self.again]


def find_problems(adapter: Adapter, state: RoundsState) -> Iterator[str]:
    """Why an adapter cannot be used in the newest leg of a plan; the first reason is the one to tell.

    Args:
        adapter: checked.
        state: of the plan.

    Yields:
        Sentences; nothing for an adapter that can be used, or that is too late.
    """
    name, run, split, plan = adapter.name, adapter.run, adapter.split, state.plan
    if run is None or run.leg is None or run.plan is None:
        yield f"{name} was trained without a plan; this is plan {plan.id}. Merge it by itself with housebrain merge."
        return
    if run.plan != plan.id:
        yield f"{name} was trained for the plan {run.plan}; this is plan {plan.id}."
    if adapter.dataset != plan.dataset:
        yield f"{name} was trained on the dataset {_digits(adapter.dataset)}; the plan is for {_digits(plan.dataset)}."
    if split is None:
        yield f"{name} is of no single split: it is what a leg ended in, or was trained on other data."
    elif run.leg >= state.current.number:
        yield from _find_problems_in_leg(name, run, split.number, state)


def _find_problems_in_leg(name: str, run: Run, split_id: int, state: RoundsState) -> Iterator[str]:
    """Why an adapter of this plan cannot be used in its newest leg."""
    current, legs = state.current, len(state.plan.legs)
    if run.leg != current.number:
        yield f"{name} is of leg {run.leg}, and leg {current.number} has not ended. Is this the right rounds.json?"
    if split_id not in state.people:
        people = ", ".join(map(str, state.people))
        yield f"{name} is of split {split_id}; in leg {run.leg} the splits that train are {people}."
    if run.parent_sha256 != current.parent_sha256:
        yield (
            f"{name} started from {_describe_start(run.parent_sha256)}; leg {run.leg} starts from "
            f"{_describe_start(current.parent_sha256)}. Train it again from the leg file that everybody got."
        )
    if run.legs != legs:
        yield (
            f"{name} was trained as leg {run.leg} of {run.legs}. The plan now ends with leg {legs}, in which "
            f"the learning rate falls. Train it again from leg_{run.leg}.zip."
        )
    if not run.finished:
        yield f"{name} is not finished: {run.why_it_ended}. Let its person start it again."


def _describe_start(sha256: str | None) -> str:
    return _digits(sha256) if sha256 else "a fresh LoRA initialisation"


def _digits(sha256: str | None) -> str:
    return str(sha256)[:SHOWN_DIGITS]
