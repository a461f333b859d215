"""One module's factors of all adapters on top of each other, read from their files a block at a time.

A block has at most 4 MB, however many adapters there are and however large the module is.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from housebrain_core.adapters.adapter import VALUE_LIMIT, Adapter
from housebrain_core.adapters.algebra import Stack, gram, stack
from housebrain_core.adapters.parallel import release_memory
from housebrain_core.merge.shelf import put_aside

BLOCK = 2**20
"""Values of a block: all of a module's for ten adapters of rank 8. Where the small matrices are large, a quarter."""
MANY_FACTORS = 256
"""Sum of ranks from which on one module at a time is worked on: the small matrices are no longer small."""


class Side(NamedTuple):
    """A_cat (R, in_features) of a module, or B_cat transposed (R, out_features), R being the sum of the ranks."""

    adapters: list[Adapter]
    module: str
    name: str
    """A or B."""

    @property
    def ranks(self) -> list[int]:
        return [adapter.shapes[self.module][2] for adapter in self.adapters]

    @property
    def length(self) -> int:
        """in_features or out_features."""
        return self.adapters[0].shapes[self.module]["BA".index(self.name)]

    def blocks(self) -> Iterator[torch.Tensor]:
        """All columns in order, (R, columns) in float32 at a time, laid out in memory as in the files; without scaling.

        A block is overwritten by the next.
        """
        total = sum(self.ranks)
        step = min(self.length, max(1, (BLOCK if total < MANY_FACTORS else BLOCK // 4) // total))
        memory = torch.empty(total * step)
        for start in range(0, self.length, step):
            stop = min(start + step, self.length)
            parts = [adapter.read_part(self.module, self.name, start, stop) for adapter in self.adapters]
            block = memory[: total * (stop - start)]
            if self.name == "A":
                yield torch.cat(parts, out=block.view(-1, stop - start))
            else:
                yield torch.cat(parts, dim=1, out=block.view(stop - start, -1)).T


def read_stack(adapters: list[Adapter], module: str) -> Stack:
    """A module of all adapters in small matrices.

    Raises:
        AdapterError: a value is not finite, or beyond what training can give.
    """
    sides = [Side(adapters, module, name) for name in "BA"]
    many = sum(sides[0].ranks) >= MANY_FACTORS
    if many:
        release_memory()  # of what was worked on last
    grams = [gram(sides[0].blocks())]
    with put_aside(*grams):
        grams.append(gram(sides[1].blocks()))
    # A diagonal is a sum of squares: small means that every value is, NaN and infinity are never small.
    if not all((found.diagonal() <= VALUE_LIMIT**2).all() for found in grams):
        for adapter in adapters:
            adapter.factors(module)  # looks at every value
    if many:
        release_memory()  # of the blocks, before large matrices are worked on
    return stack(*grams, sides[0].ranks, [adapter.scaling[module] for adapter in adapters])


def threads_for(adapters: list[Adapter]) -> int:
    """Modules worked on at once, 0 for one per core."""
    most = sum(max(rank for _, _, rank in adapter.shapes.values()) for adapter in adapters)
    return 1 if most >= MANY_FACTORS else 0
