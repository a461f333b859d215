"""Updates D = B A as factors: their exact sums, norms, angles and best approximations, without forming D.

The B's of all adapters side by side are B_cat (out, R), the A's on top of each other A_cat (R, in), R the sum of
the ranks; every merge is B_cat C A_cat with coefficients C (R, R). With the Gram matrices G_B = B_cat' B_cat and
G_A = A_cat A_cat' (R x R, float64) and a root X of G_B, X' X = G_B, the eigenvalues of X C G_A C' X' are its squared
singular values, and what remains of the eigenvectors is small too. Only products touch the long dimensions. Source of
the core space, in which TIES works: Panariello et al. 2025 (arXiv 2509.17786).
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from housebrain_core.merge.shelf import put_aside

AUTO_RANKS = (8, 16, 32, 64)
AUTO_ENERGY = 0.999
"""Share of the squared singular values that `rank="auto"` keeps."""
ROUNDING = 2e-8
"""The square root of the float64 spacing: what an eigenvalue of zero can look like as a singular value."""
CHUNK = 2**18
"""Values in float64 at once."""

Pair = tuple[torch.Tensor, torch.Tensor]
"""B (out_features, rank) with the scaling in it, A (rank, in_features); or the cores of such a pair."""


class Root(NamedTuple):
    """X with X'X = a Gram matrix (R, R), of k rows: null directions are dropped."""

    vectors: torch.Tensor
    """(R, k), orthonormal."""
    lengths: torch.Tensor
    """(k), the square roots of the eigenvalues."""

    def solve(self, right: torch.Tensor) -> torch.Tensor:
        """The pseudo-inverse of X times `right` (k, any)."""
        return self.vectors @ (right / self.lengths[:, None])


class Stack(NamedTuple):
    """One module of several adapters, the scaling alpha / rank of each in its B."""

    ranks: list[int]
    scales: torch.Tensor
    """(R): the scalings, one for each column of B_cat, which blocks of columns come without."""
    gram_b: torch.Tensor
    gram_a: torch.Tensor
    inner: torch.Tensor
    """(adapters, adapters): Frobenius inner products of the updates."""

    def selections(self) -> Iterator[Pair]:
        """B_i and A_i of each adapter in terms of B_cat and A_cat: (R, rank_i) and (rank_i, R), of zeros and ones."""
        for number, rank in enumerate(self.ranks):
            rows = torch.zeros(rank, sum(self.ranks), dtype=torch.float64)
            start = sum(self.ranks[:number])
            rows[:, start : start + rank].fill_diagonal_(1)
            yield rows.T, rows

    def diagonal(self, weights: list[float]) -> torch.Tensor:
        """(R): C of the weighted sum of the updates, which is diagonal."""
        return torch.tensor(weights, dtype=torch.float64).repeat_interleave(torch.tensor(self.ranks))

    def cores(self, b: Root, a: Root) -> Iterator[Pair]:
        """B_i and A_i of each adapter in orthonormal coordinates: (k_b, rank_i) and (rank_i, k_a)."""
        rows = (root.vectors.split(self.ranks) for root in (b, a))
        for some_b, some_a in zip(*rows, strict=True):
            yield (some_b * b.lengths).T, some_a * a.lengths

    def square_norm(self, coefficients: torch.Tensor) -> float:
        """Squared Frobenius norm of B_cat C A_cat."""
        return float(((self.gram_b @ coefficients) * (coefficients @ self.gram_a)).sum())


class Spectrum(NamedTuple):
    """All singular values of an update, the largest first."""

    values: torch.Tensor

    @property
    def energy(self) -> float:
        """Squared Frobenius norm of the update."""
        return float(self.values.square().sum())

    def lost(self, rank: int) -> float:
        """Squared Frobenius norm of what truncation to `rank` loses (Eckart and Young 1936)."""
        return float(self.values[rank:].square().sum())

    def share_lost(self, rank: int) -> float:
        """What truncation loses of the energy, 0 to 1."""
        return self.lost(rank) / self.energy if self.energy else 0.0


class Fit(NamedTuple):
    """The singular value decomposition of a merged update, as coefficients on the stacked factors without scaling.

    B' = B_cat @ left is (out_features, k), A' = right @ A_cat is (k, in_features).
    """

    spectrum: Spectrum
    left: torch.Tensor
    right: torch.Tensor


def stack(gram_b: torch.Tensor, gram_a: torch.Tensor, ranks: list[int], scalings: list[float]) -> Stack:
    """One module of several adapters.

    Args:
        gram_b: B_cat' B_cat (R, R) without scaling, which is brought into it; see `gram`.
        gram_a: A_cat A_cat' (R, R).
        ranks: of the adapters; their sum is R.
        scalings: alpha / rank of each.
    """
    scales = torch.tensor(scalings, dtype=torch.float64).repeat_interleave(torch.tensor(ranks))
    gram_b.mul_(scales).mul_(scales[:, None])
    pairs = zip(gram_b.split(ranks), gram_a.split(ranks), strict=True)
    columns = torch.stack([(b * a).sum(0) for b, a in pairs])
    inner = torch.stack([part.sum(1) for part in columns.split(ranks, dim=1)])
    return Stack(ranks, scales, gram_b, gram_a, inner)


def fit(stacked: Stack, coefficients: torch.Tensor, keep: int | None = None) -> Fit:
    """Decomposes a merged update, without an inverse of anything, so that adapters may be alike or the same.

    The Gram matrices are overwritten, and lie on disk while they are not needed: of 100 adapters each has 5 MB.

    Args:
        stacked: the adapters.
        coefficients: C (R, R) of the update B_cat C A_cat, or its diagonal (R) where it has no more.
        keep: directions that are kept; all when None. All singular values are kept.

    Returns:
        Ordered by singular value, those below 1e-7 of the largest dropped; signs are fixed, so that equal input gives
        equal bytes.
    """
    limit = coefficients.square().sum() * stacked.gram_a.norm()
    if coefficients.dim() == 1:
        inner = stacked.gram_a.mul_(coefficients).mul_(coefficients[:, None])
    else:
        inner = torch.mm(coefficients @ stacked.gram_a, coefficients.T, out=stacked.gram_a)
    with put_aside(inner):
        found = root(stacked.gram_b)
    x = found.vectors.T.mul_(found.lengths[:, None])
    core = x @ inner @ x.T
    with put_aside(inner, x):
        squares, u = _decompose(core)
    values = squares.flip(0).clamp(min=0).sqrt()
    if len(values) and values[0] <= ROUNDING * (limit.sqrt() * found.lengths.norm()):
        values = torch.zeros_like(values)  # what is left of updates that cancel is rounding
    rank = max(1, int((values > values[:1] * 1e-7).sum())) if len(values) else 0
    values, kept = values[:rank], min(rank, keep or rank)
    u = u[:, len(x) - kept :].flip(1)
    if kept:
        u = u * torch.sign(u.gather(0, u.abs().argmax(0, keepdim=True)))
    rows = u.T @ x
    inverse = torch.where(values[:kept] > 0, 1 / values[:kept].sqrt(), 0)
    left = stacked.scales[:, None] * (inner @ rows.T) * inverse**3
    right = (rows * coefficients if coefficients.dim() == 1 else rows @ coefficients) * inverse[:, None]
    return Fit(Spectrum(values), left.float(), right.float())


def combine(coefficients: torch.Tensor, blocks: Iterable[torch.Tensor], out: torch.Tensor) -> None:
    """The merged factor of one side: coefficients (k, R) times all columns.

    Args:
        coefficients: `right` of a Fit for A, `left` transposed for B; k is at most the rank of `out`.
        blocks: columns of A_cat or of B_cat transposed, (R, columns) float32 each.
        out: (rank, length), which becomes A', or B' transposed; rows from k on become zero.
    """
    out[len(coefficients) :] = 0
    start, left = 0, coefficients.numpy()
    for block in blocks:
        part = out[: len(left), start : start + block.shape[1]].numpy()
        np.matmul(left, block.numpy(), out=part)  # three times as fast as torch where out lies column by column
        start += block.shape[1]


def choose_rank(rank: int | str, spectra: list[Spectrum]) -> int:
    """One rank for the whole adapter.

    Args:
        rank: a number, "full" (the largest rank any module has), or "auto" (the smallest of 8, 16, 32, 64 that
            keeps 99.9 % of the energy of all modules together, else full). Beyond full there would be zeros only.
        spectra: of each module.
    """
    full = max(1, *(len(spectrum.values) for spectrum in spectra))
    if rank != "auto":
        return full if rank == "full" else min(rank, full)
    total = sum(spectrum.energy for spectrum in spectra)
    for candidate in AUTO_RANKS:
        kept = total - sum(spectrum.lost(candidate) for spectrum in spectra)
        if candidate < full and kept >= AUTO_ENERGY * total:
            return candidate
    return full


def gram(blocks: Iterable[torch.Tensor]) -> torch.Tensor:
    """X X' (R, R) in float64 of a matrix X that comes as blocks of columns, (R, columns) float32 each."""
    total = torch.zeros(())
    for block in blocks:
        total = total if total.dim() else torch.zeros(len(block), len(block), dtype=torch.float64)
        for part in block.split(max(128, CHUNK // len(block)), dim=1):
            wide = part.numpy().astype(np.float64)  # in the same layout, rows or columns first
            with np.errstate(all="ignore"):  # who reads the diagonal finds NaN and infinity
                total += torch.from_numpy(wide @ wide.T)  # NumPy, unlike torch, knows the symmetry: half the work
    return total


def root(gram: torch.Tensor) -> Root:
    """The root of a Gram matrix (R, R), which is overwritten; directions below 1e-7 of the largest are dropped."""
    values, vectors = _decompose(gram)
    dropped = int((values <= values[-1:].clamp(min=0) * 1e-14).sum())
    return Root(vectors[:, dropped:], values[dropped:].sqrt())


def _decompose(symmetric: torch.Tensor) -> Pair:
    """Eigenvalues, ascending, and eigenvectors, which overwrite the matrix; transposed is how LAPACK stores it."""
    values = torch.empty(len(symmetric), dtype=symmetric.dtype)
    return torch.linalg.eigh(symmetric.mT, out=(values, symmetric.mT))
