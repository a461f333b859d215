"""A progress bar on a terminal; elsewhere (files, notebooks) the stage's own lines are enough."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def with_bar(
    steps: Iterable[T], total: Callable[[], int | None], text: str, size: Callable = lambda step: 1
) -> Iterator[T]:
    """Yields the steps, with a bar on standard error while they last when that is a terminal.

    Args:
        steps: anything to iterate over.
        total: sum of the sizes of all steps, or None where it is not known; asked for only when there is a bar.
        text: what is going on.
        size: units that a step counts for.
    """
    if not sys.stderr.isatty():
        yield from steps
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=total())
        for step in steps:
            yield step
            bar.advance(task, size(step))
