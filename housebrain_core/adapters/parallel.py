"""Work on many modules at once in bounded memory: few threads, results in order, one torch thread each."""

import ctypes
import gc
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

T, R = TypeVar("T"), TypeVar("R")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""The C library's numbers of two settings (malloc.h)."""


@cache
def settle_process() -> None:
    """Once per process, settings of Python and the GNU C library under which long work takes less time and memory.

    Collections of garbage no longer look through the half million objects of the imports, a tenth of a merge. Memory
    in pieces of 4 MB and more goes back to the system as soon as it is freed: the C library raises that limit to the
    largest piece freed so far, up to 32 MB, and what lies below stays with the process, with holes in it. Smaller
    pieces are kept, up to 16 MB: fetching them again would cost page faults. See mallopt(3).
    """
    gc.freeze()
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 4 * 2**20)
        ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, 16 * 2**20)


def release_memory() -> None:
    """Gives what this process has freed back to the system, where the C library can. See malloc_trim(3)."""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def map_ahead(function: Callable[[T], R], items: Iterable[T], threads: int = 0) -> Iterator[R]:
    """Like map, a few items ahead of the consumer, so that reading and computing overlap.

    Small matrices get slower with more than one thread of torch or NumPy each, up to a thousand times on a busy
    machine, so each worker has one, and the caller's settings are restored at the end.

    Args:
        function: releases the interpreter lock most of the time (reads, matrix products).
        items: any iterable.
        threads: workers; by default one per core, at most 4. With 1 everything runs in the caller's thread.
    """
    threads = threads or min(4, os.cpu_count() or 1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    limits = threadpool_limits(1, user_api="blas")
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    waiting = deque()
    try:
        if threads == 1:
            yield from map(function, items)
            return
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        limits.restore_original_limits()
        torch.set_num_threads(before)
