"""Work on many samples in a process for each core; the processes end with the work, and with their parent."""

import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing import get_context, parent_process
from typing import Any, NamedTuple, TypeVar

from housebrain_core.data.fields import Fields, Sample
from housebrain_core.data.samples import BadSample, Item, Part, ReadLog, open_item
from housebrain_core.errors import DataError, MachineError

CHUNK = 2_000
"""Samples that a process gets at once."""
FEW = 5_000
"""Samples below which starting processes takes longer than they save."""
T = TypeVar("T")


class Chunk(NamedTuple):
    """What a process makes of some items."""

    results: list[tuple[int, tuple[Any, ...] | BadSample]]
    """In order, position among the items, and a sample (its part and its id first) or why it is bad; a file with an
    array of samples is one item with many results."""
    notes: Counter[str]
    """What was left aside or changed in samples -> in how many."""


def read_chunk(
    items: list[Item], fields: Fields, make_row: Callable[[Part, Sample, Item], tuple[Any, ...] | None]
) -> Chunk:
    """Reads some items, and makes a row of each good sample.

    Args:
        items: that were found.
        fields: which fields are input and output.
        make_row: a sample -> its part, its id and what else is wanted; None where it is not wanted.
    """
    chunk = Chunk([], Counter())
    for position, item in enumerate(items):
        for one in open_item(item):
            try:
                part, sample, notes = one.read(fields)
                chunk.notes.update(notes)
                row = make_row(part, sample, one)
            except DataError as error:
                row = BadSample(one.origin, str(error))
            if row:
                chunk.results.append((position, row))
    return chunk


def note_chunk(items: list[Item], chunk: Chunk, log: ReadLog) -> list[tuple[Any, ...]]:
    """Takes note of bad items and repeated ids, in order; returns the good samples."""
    good = []
    log.notes.update(chunk.notes)
    for position, result in chunk.results:
        if isinstance(result, BadSample):
            log.refuse(*result)
            continue
        try:
            log.add(result[1])
            good.append(result)
        except DataError as error:
            log.refuse(items[position].origin, str(error))
    return good


def map_chunks(function: Callable[[list[Item]], T], items: Iterator[Item]) -> Iterator[tuple[list[Item], T]]:
    """Applies a function to chunks of items, in order; in other processes when there are many items.

    Args:
        function: of a module, so that another process can import it (or a partial of one).
        items: read as the work goes on, a few chunks ahead of it.

    Returns:
        Pairs of a chunk and what the function made of it.

    Raises:
        MachineError: a process was killed, or could not start.
    """
    first = list(islice(items, FEW))
    rest = chain(first, items)
    chunks = iter(lambda: list(islice(rest, CHUNK)), [])
    if len(first) < FEW:
        yield from ((chunk, function(chunk)) for chunk in chunks)
    else:
        yield from _map_in_processes(function, chunks)


def _map_in_processes(
    function: Callable[[list[Item]], T], chunks: Iterator[list[Item]]
) -> Iterator[tuple[list[Item], T]]:
    cores = os.cpu_count() or 1
    pool = ProcessPoolExecutor(cores, get_context("spawn"), _prepare_process)
    waiting: deque = deque()
    try:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(function, chunk)))
            if len(waiting) > 2 * cores:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()
    except BrokenProcessPool:
        raise MachineError(
            "A process that reads samples was killed, or could not start. Memory may be short: close other programs. "
            'A script that calls this has to do so under `if __name__ == "__main__":`, which Python needs there.'
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_process() -> None:
    """Leaves Ctrl-C to the parent, and ends the process when the parent is gone, even one that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
