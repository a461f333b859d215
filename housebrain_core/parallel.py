"""Work on many modules at once in bounded memory: few threads, results in order, one torch thread each."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T, R = TypeVar("T"), TypeVar("R")


def map_ahead(function: Callable[[T], R], items: Iterable[T], threads: int = 0) -> Iterator[R]:
    """Like map, a few items ahead of the consumer, so that reading and computing overlap.

    Small matrices get slower with more than one torch thread each, up to a thousand times on a busy machine, so
    each worker has one, and the caller's setting is restored at the end.

    Args:
        function: releases the interpreter lock most of the time (reads, matrix products).
        items: any iterable.
        threads: workers; by default one per core, at most 4. With 1 everything runs in the caller's thread.
    """
    threads = threads or min(4, os.cpu_count() or 1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
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
        torch.set_num_threads(before)
