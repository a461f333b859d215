"""Updates D = B A as factors: their exact sums, norms, angles and best approximations, without forming D.

The B's of all adapters side by side are B_cat (out, R), the A's on top of each other A_cat (R, in), R the sum of
the ranks. With the Gram matrices G_B = B_cat' B_cat and G_A = A_cat A_cat' (R x R, float64) and roots R_B' R_B = G_B,
R_A' R_A = G_A, the update of adapter i is Q_B b_i a_i Q_A' with orthonormal Q's and small cores b_i = R_B[:, i],
a_i = R_A[:, i]'. Everything linear is exact in the cores; only products touch the long dimensions. Source: the core
space of Panariello et al. 2025 (arXiv 2509.17786).
"""

from collections.abc import Iterable, Iterator
from mmap import mmap
from typing import NamedTuple

import torch

AUTO_RANKS = (8, 16, 32, 64)
AUTO_ENERGY = 0.999
"""Share of the squared singular values that `rank="auto"` keeps."""
CHUNK, TILE = 2**16, 32
"""Values in float64 at once (few enough for a core's cache), and rows of one product."""

Pair = tuple[torch.Tensor, torch.Tensor]
"""B (out_features, rank) with the scaling in it, A (rank, in_features); or the cores of such a pair."""


class Root(NamedTuple):
    """R with R'R = a Gram matrix (n, n), of k rows: null directions are dropped."""

    vectors: torch.Tensor
    """(n, k), orthonormal."""
    lengths: torch.Tensor
    """(k), the square roots of the eigenvalues."""

    def solve(self, right: torch.Tensor) -> torch.Tensor:
        """The pseudo-inverse of R times `right` (k, any)."""
        return self.vectors @ (right / self.lengths[:, None])


class Stack(NamedTuple):
    """One module of several adapters in core coordinates."""

    ranks: list[int]
    b: Root
    a: Root
    inner: torch.Tensor
    """(adapters, adapters): Frobenius inner products of the updates."""

    def cores(self) -> Iterator[Pair]:
        """b_i (k_b, rank_i) and a_i (rank_i, k_a) of each adapter."""
        rows = (root.vectors.split(self.ranks) for root in (self.b, self.a))
        for b, a in zip(*rows, strict=True):
            yield (b * self.b.lengths).T, a * self.a.lengths


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


def stack(gram_b: torch.Tensor, gram_a: torch.Tensor, ranks: list[int]) -> Stack:
    """Core coordinates of one module.

    Directions below 1e-7 of the largest are dropped, so that repeated adapters are harmless. The Gram matrices are
    overwritten: of 100 adapters each has 5 MB.

    Args:
        gram_b: B_cat' B_cat (R, R), the scalings in it; see `gram`.
        gram_a: A_cat A_cat' (R, R).
        ranks: of the adapters; their sum is R.
    """
    pairs = zip(gram_b.split(ranks), gram_a.split(ranks), strict=True)
    columns = torch.stack([(b * a).sum(0) for b, a in pairs])
    inner = torch.stack([part.sum(1) for part in columns.split(ranks, dim=1)])
    return Stack(ranks, _root(gram_b), _root(gram_a), inner)


def fit(stacked: Stack, core: torch.Tensor, keep: int | None = None) -> Fit:
    """Decomposes a merged core.

    Args:
        stacked: where the core comes from.
        core: (k_b, k_a).
        keep: coefficients of at most so many directions; all when None. All singular values are kept.

    Returns:
        Ordered by singular value; signs are fixed, so that equal input gives equal bytes.
    """
    square = torch.mm(core, core.T, out=zeros(len(core), len(core)))
    _, u = _decompose(square)  # half the time and memory of an SVD of the core
    # lengths of u' core are exact where roots of eigenvalues are not: below 1e-8 of the largest
    lengths = torch.cat([(some.T @ core).norm(dim=1) for some in u.split(TILE, dim=1)])
    values, order = lengths.sort(descending=True, stable=True)
    rank = max(1, int((values > values[:1] * 1e-7).sum())) if len(values) else 0
    values, kept = values[:rank], min(rank, keep or rank)
    u, root = u[:, order[:kept]], values[:kept].sqrt()
    if kept:
        u = u * torch.sign(u.gather(0, u.abs().argmax(0, keepdim=True)))
    rows = u.T @ core
    left = stacked.b.solve(u * root).float()
    right = stacked.a.solve((rows / root.clamp(min=1e-150)[:, None]).T).T.float()
    return Fit(values, left, right)


def combine(coefficients: torch.Tensor, blocks: Iterable[torch.Tensor], rank: int) -> torch.Tensor:
    """The merged factor of one side: coefficients (k, R) times all columns, filled up with zeros to `rank` rows.

    Args:
        coefficients: `right` of a Fit for A, `left` transposed for B; k is at most `rank`.
        blocks: columns of A_cat or of B_cat transposed, (R, columns) float32 each.
        rank: rows of the result.

    Returns:
        (rank, length): A', or B' transposed.
    """
    fill = torch.zeros(rank - len(coefficients), coefficients.shape[1])
    return torch.cat([torch.cat([coefficients, fill]) @ block for block in blocks], dim=1)


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


def gram(blocks: Iterable[torch.Tensor]) -> torch.Tensor:
    """X X' (R, R) in float64 of a matrix X that comes as blocks of columns, (R, columns) float32 each."""
    result = buffer = None
    for block in blocks:
        if result is None:
            result = zeros(len(block), len(block))
            buffer = torch.empty(len(block), min(block.shape[1], max(128, CHUNK // len(block))), dtype=torch.float64)
        for part in block.split(buffer.shape[1], dim=1):
            wide = buffer[:, : part.shape[1]].copy_(part)
            for start in range(0, len(block), TILE):  # the upper half; the other is its mirror image
                result[start : start + TILE, start:].addmm_(wide[start : start + TILE], wide[start:].T)
    for start in range(0, len(result), TILE):
        result[start + TILE :, start : start + TILE] = result[start : start + TILE, start + TILE :].T
    return result


def zeros(rows: int, columns: int) -> torch.Tensor:
    """A float64 matrix of zeros in pages of its own, which go back to the system as soon as it is freed.

    Of 100 adapters such a matrix has 5 MB; torch's allocator keeps what it frees and cannot fill all of the holes.
    """
    count = rows * columns
    return torch.frombuffer(mmap(-1, 8 * max(1, count)), dtype=torch.float64)[:count].view(rows, columns)


def _root(gram: torch.Tensor) -> Root:
    values, vectors = _decompose(gram)
    dropped = int((values <= values[-1:].clamp(min=0) * 1e-14).sum())
    return Root(vectors[:, dropped:], values[dropped:].sqrt())


def _decompose(symmetric: torch.Tensor) -> Pair:
    """Eigenvalues, ascending, and eigenvectors, which overwrite the matrix; transposed is how LAPACK stores it."""
    values = torch.empty(len(symmetric), dtype=symmetric.dtype)
    return torch.linalg.eigh(symmetric.mT, out=(values, symmetric.mT))
