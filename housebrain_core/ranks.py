"""The processes that train one model, one for each GPU, as torchrun starts them; only rank 0 writes and reports."""

import os
from typing import Any

from torch import distributed


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def gather(value: Any) -> list[Any]:
    """The values that all processes give, in order of rank; every process has to call it, or the rest hang."""
    values = [value] * world_size()
    if len(values) > 1:
        distributed.all_gather_object(values, value)
    return values
