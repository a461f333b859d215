"""Worker processes, one for each core, for work on many samples: started when first wanted, ended with their parent."""

import gc
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import chain, islice
from typing import Any, TypeVar

from housebrain_core.data.samples import Item

CHUNK = 2_000
"""Samples that a worker gets at once."""
FEW = 5_000
"""Samples below which starting workers takes longer than they save."""
T = TypeVar("T")


def map_chunks(function: Callable, items: Iterator[Item]) -> Iterator[tuple[list[Item], Any]]:
    """(items, function(items)) for chunks of items, in order; in worker processes when there are many."""
    first = list(islice(items, FEW))
    rest = chain(first, items)
    chunks = iter(lambda: list(islice(rest, CHUNK)), [])
    if len(first) < FEW:
        yield from ((chunk, function(chunk)) for chunk in chunks)
        return
    workers, pool = os.cpu_count() or 1, start()
    waiting: deque = deque()
    for chunk in chunks:
        waiting.append((chunk, pool.submit(_work, function, tuple(zip(*chunk, strict=True)))))
        if len(waiting) > 2 * workers:
            done, future = waiting.popleft()
            yield done, future.result()
    yield from ((done, future.result()) for done, future in waiting)


def in_worker(samples: int, function: Callable[..., T], *args) -> "Future[T]":
    """Starts function(*args) in a worker process when there are many samples, else runs it; for the main thread."""
    if samples >= FEW:
        return start().submit(function, *args)
    done: Future[T] = Future()
    done.set_result(function(*args))
    return done


def _work(function: Callable, items: tuple[tuple, ...]):
    """What a worker runs; items travel field by field, at a tenth of the cost of named tuples."""
    return function([*map(Item._make, zip(*items, strict=True))])


def start():
    """A process for each core, or those that run already; idle ones end after ten seconds."""
    from loky import get_reusable_executor  # unlike the standard library's, it needs no guarded main module

    return get_reusable_executor(os.cpu_count(), initializer=_prepare_worker, initargs=(os.getpid(),), env=_SETTINGS)


_SETTINGS = {
    "OPENBLAS_NUM_THREADS": "1",  # its threads would wait in a loop for work that never comes
    "MALLOC_MMAP_THRESHOLD_": str(2**25),  # the C library keeps the memory of one block for the next; see mallopt(3)
    "MALLOC_TRIM_THRESHOLD_": str(2**26),
}
"""Environment of workers."""


def _prepare_worker(parent: int) -> None:
    """Lets a worker end with its parent, even one that was killed; idle ones would stay for ever."""
    gc.disable()  # samples have no reference cycles, and looking for them costs a tenth of the time
    if os.name == "posix":
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:  # a process whose parent is gone gets another
        time.sleep(0.1)  # far sooner than another run comes to where this one writes
    os._exit(1)
