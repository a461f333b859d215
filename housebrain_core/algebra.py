"""Updates D = B A as factors: their exact sums, norms, angles and best approximations, without forming D.

The B's of all adapters side by side are B_cat (out, R), the A's on top of each other A_cat (R, in), R the sum of
the ranks. With the Gram matrices G_B = B_cat' B_cat and G_A = A_cat A_cat' (R x R, float64) and roots R_B' R_B = G_B,
R_A' R_A = G_A, the update of adapter i is Q_B b_i a_i Q_A' with orthonormal Q's and small cores b_i = R_B[:, i],
a_i = R_A[:, i]'. Everything linear is exact in the cores; only products touch the long dimensions. Source: the core
space of Panariello et al. 2025 (arXiv 2509.17786).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

AUTO_RANKS = (8, 16, 32, 64)
AUTO_ENERGY = 0.999
"""Share of the squared singular values that `rank="auto"` keeps."""
CHUNK = 512
"""Rows of a long dimension that are in float64 at once: few enough to stay in a core's cache."""

Pair = tuple[torch.Tensor, torch.Tensor]
"""B (out_features, rank) with the scaling in it, A (rank, in_features); or the cores of such a pair."""


@dataclass(frozen=True)
class Stack:
    """One module of several adapters in core coordinates.

    root_b is (k, R) and inverse_b (R, k), with k the number of independent columns; root_a, inverse_a likewise.
    """

    ranks: list[int]
    root_b: torch.Tensor
    inverse_b: torch.Tensor
    root_a: torch.Tensor
    inverse_a: torch.Tensor
    inner: torch.Tensor
    """(adapters, adapters): Frobenius inner products of the updates."""

    @property
    def cores(self) -> list[Pair]:
        """b_i (k_b, rank_i) and a_i (rank_i, k_a) of each adapter."""
        columns = zip(self.root_b.split(self.ranks, dim=1), self.root_a.split(self.ranks, dim=1), strict=True)
        return [(b, a.T) for b, a in columns]


class Fit(NamedTuple):
    """The singular value decomposition of a merged update, as coefficients on the stacked factors.

    B' = B_cat @ left is (out_features, k), A' = right @ A_cat is (k, in_features); values are all singular values.
    """

    values: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor

    @property
    def energy(self) -> float:
        """Squared Frobenius norm of the exact update."""
        return float(self.values.square().sum())

    def lost(self, rank: int) -> float:
        """Squared Frobenius norm of what truncation to `rank` loses (Eckart and Young 1936)."""
        return float(self.values[rank:].square().sum())


def stack(pairs: list[Pair]) -> Stack:
    """Brings the factors of one module into core coordinates.

    Directions below 1e-7 of the largest are dropped, so that repeated adapters are harmless.
    """
    gram_b = _gram([b for b, _ in pairs], dim=0)
    gram_a = _gram([a for _, a in pairs], dim=1)
    ranks = [b.shape[1] for b, _ in pairs]
    del pairs  # what follows is small, unless a hundred adapters are merged
    owner = torch.zeros(sum(ranks), len(ranks), dtype=torch.float64)
    owner[torch.arange(sum(ranks)), torch.arange(len(ranks)).repeat_interleave(torch.tensor(ranks))] = 1
    inner = owner.T @ (gram_b * gram_a) @ owner
    return Stack(ranks, *_gram_root(gram_b), *_gram_root(gram_a), inner)


def fit(stacked: Stack, core: torch.Tensor, keep: int | None = None) -> Fit:
    """Decomposes a merged core.

    Args:
        stacked: where the core comes from.
        core: (k_b, k_a).
        keep: coefficients of at most so many directions; all when None. All singular values are kept.

    Returns:
        Ordered by singular value; signs are fixed, so that equal input gives equal bytes.
    """
    u, values, vt = torch.linalg.svd(core, full_matrices=False)
    rank = max(1, int((values > values[:1] * 1e-7).sum())) if len(values) else 0
    values, kept = values[:rank], min(rank, keep or rank)
    u, vt, root = u[:, :kept], vt[:kept], values[:kept].sqrt()
    if kept:
        signs = torch.sign(u.gather(0, u.abs().argmax(0, keepdim=True)))
        u, vt = u * signs, vt * signs.T
    left = (stacked.inverse_b @ u * root).float()
    right = ((root[:, None] * vt) @ stacked.inverse_a.T).float()
    return Fit(values, left, right)


def apply_fit(found: Fit, pairs: list[Pair], rank: int) -> Pair:
    """The merged factors at exactly this rank: truncated, or filled up with zeros.

    Returns:
        B (out_features, rank) and A (rank, in_features), float32.
    """
    kept = min(rank, found.left.shape[1])
    b, a = torch.zeros(pairs[0][0].shape[0], rank), torch.zeros(rank, pairs[0][1].shape[1])
    ranks = [pair[0].shape[1] for pair in pairs]
    coefficients = zip(found.left[:, :kept].split(ranks), found.right[:kept].split(ranks, dim=1), strict=True)
    for (own_b, own_a), (left, right) in zip(pairs, coefficients, strict=True):
        b[:, :kept].addmm_(own_b, left)
        a[:kept].addmm_(right, own_a)
    return b, a


def choose_rank(rank: int | str, spectra: list[torch.Tensor]) -> int:
    """One rank for the whole adapter.

    Args:
        rank: a number, "full" (the largest rank any module has), or "auto" (the smallest of 8, 16, 32, 64 that
            keeps 99.9 % of the energy of all modules together, else full).
        spectra: singular values of each module.
    """
    full = max(1, *(len(values) for values in spectra))
    if rank == "full":
        return full
    if rank != "auto":
        return int(rank)
    total = sum(float(values.square().sum()) for values in spectra)
    for candidate in AUTO_RANKS:
        kept = sum(float(values[:candidate].square().sum()) for values in spectra)
        if candidate < full and kept >= AUTO_ENERGY * total:
            return candidate
    return full


def _gram(factors: list[torch.Tensor], dim: int) -> torch.Tensor:
    """Inner products, in float64, of the vectors that run along the long dimension `dim`, a chunk of it at a time."""
    total, length = sum(factor.shape[1 - dim] for factor in factors), factors[0].shape[dim]
    gram = torch.zeros(total, total, dtype=torch.float64)
    shape = (CHUNK, total) if dim == 0 else (total, CHUNK)
    buffer = torch.empty(shape, dtype=torch.float64)
    for start in range(0, length, CHUNK):
        part = buffer.narrow(dim, 0, min(CHUNK, length - start))
        torch.cat([factor.narrow(dim, start, part.shape[dim]) for factor in factors], dim=1 - dim, out=part)
        gram.addmm_(*((part.T, part) if dim == 0 else (part, part.T)))
    return gram


def _gram_root(gram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """R with R'R = gram, and its pseudo-inverse; null directions dropped. (k, R) and (R, k)."""
    values, vectors = torch.linalg.eigh(gram)
    keep = values > values[-1:].clamp(min=0) * 1e-14
    root = values[keep].sqrt()
    return root[:, None] * vectors[:, keep].T, vectors[:, keep] / root
