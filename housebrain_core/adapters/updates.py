"""One module's updates D = B A of several adapters in small matrices: sums, norms and best approximations without D.

The B's of all adapters side by side are B (out, R), the A's on top of each other A (R, in), R the sum of the ranks;
every merge is B C A with coefficients C (R, R). With X'X = B'B and Y'Y = AA', both from the eigenvectors of a Gram
matrix (R, R) in float64, B = Q X and A = Y' P' for some Q and P with orthonormal columns, which are never formed. The
singular value decomposition X C Y' = U S V' of the small core is that of the merged update, whose factors are

    B' = B (C Y' V S^-1/2) and A' = (S^-1/2 U' X C) A.

Nothing is inverted but singular values that are kept, so that adapters may be nearly alike. Source of the core space,
in which TIES works: Panariello et al. 2025 (arXiv 2509.17786).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from housebrain_core.adapters.adapter import Adapter

AUTO_RANKS = (8, 16, 32, 64)
AUTO_ENERGY = 0.999
"""Share of the squared singular values that `rank="auto"` keeps."""
ROUNDING = 1e-7
"""Of the largest singular value: what eigenvalues of a Gram matrix in float64 cannot tell from zero."""
ROWS = 2048
"""Rows that are in float64 at once."""


@dataclass(frozen=True)
class ModuleUpdates:
    """The updates of one module of several adapters, in float64; R is the sum of their ranks."""

    ranks: list[int]
    """Of each adapter."""
    gram_b: np.ndarray
    """B'B (R, R), the scaling alpha / rank of each adapter included."""
    gram_a: np.ndarray
    """AA' (R, R)."""

    @property
    def inner(self) -> np.ndarray:
        """Frobenius inner products of the updates, (adapters, adapters)."""
        starts = np.cumsum([0, *self.ranks[:-1]])
        return np.add.reduceat(np.add.reduceat(self.gram_b * self.gram_a, starts, axis=0), starts, axis=1)

    def weighted_sum(self, weights: list[float]) -> np.ndarray:
        """Coefficients C (R, R) of the weighted sum of the updates."""
        return np.diag(np.repeat(np.asarray(weights, np.float64), self.ranks))

    def square_norm(self, coefficients: np.ndarray) -> float:
        """Squared Frobenius norm of the update B C A."""
        return float(((self.gram_b @ coefficients) * (coefficients @ self.gram_a)).sum())


@dataclass(frozen=True)
class Spectrum:
    """All singular values of an update, the largest first."""

    values: np.ndarray

    @property
    def energy(self) -> float:
        """Squared Frobenius norm of the update."""
        return float(np.square(self.values).sum())

    def lost(self, rank: int) -> float:
        """Squared Frobenius norm of what truncation to `rank` loses (Eckart and Young 1936)."""
        return float(np.square(self.values[rank:]).sum())

    def share_lost(self, rank: int) -> float:
        """What truncation loses of the energy, 0 to 1."""
        return self.lost(rank) / self.energy if self.energy else 0.0


@dataclass(frozen=True)
class Decomposition:
    """The singular value decomposition of a merged update, as coefficients on the factors of the adapters."""

    spectrum: Spectrum
    left: np.ndarray
    """(R, k): B' = B left."""
    right: np.ndarray
    """(k, R): A' = right A."""


def read_factors(adapters: list[Adapter], module: str) -> tuple[np.ndarray, np.ndarray]:
    """All B's of a module side by side (out, R), the scaling included, and all A's on top of each other (R, in).

    Raises:
        AdapterError: a value is not finite, or beyond what training can give.
    """
    pairs = [adapter.factors(module) for adapter in adapters]
    return np.concatenate([b for b, _ in pairs], axis=1), np.concatenate([a for _, a in pairs])


def read_updates(adapters: list[Adapter], module: str) -> ModuleUpdates:
    """A module of all adapters in small matrices.

    Raises:
        AdapterError: a value is not finite, or beyond what training can give.
    """
    b, a = read_factors(adapters, module)
    return ModuleUpdates([adapter.shapes[module][2] for adapter in adapters], gram(b), gram(a.T))


def gram(matrix: np.ndarray) -> np.ndarray:
    """M'M (R, R) in float64 of a matrix M (any, R) in float32."""
    total = np.zeros((matrix.shape[1],) * 2)
    for start in range(0, len(matrix), ROWS):
        part = matrix[start : start + ROWS].astype(np.float64)
        total += part.T @ part
    return total


def root(gram_matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """X (k, R) with X'X = a Gram matrix (R, R), without directions of length zero; and its pseudo-inverse (R, k)."""
    values, vectors = np.linalg.eigh(gram_matrix)
    kept = values > max(values[-1], 0) * ROUNDING**2
    lengths = np.sqrt(values[kept])
    return (vectors[:, kept] * lengths).T, vectors[:, kept] / lengths


def decompose(updates: ModuleUpdates, coefficients: np.ndarray, keep: int | None = None) -> Decomposition:
    """The singular value decomposition of a merged update.

    Args:
        updates: of the adapters.
        coefficients: C (R, R) of the merged update B C A.
        keep: directions that are kept at most; all when None. All singular values are kept.

    Returns:
        Ordered by singular value, those below 1e-7 of the largest dropped; signs are fixed, so that equal input gives
        equal bytes.
    """
    x, _ = root(updates.gram_b)
    y, _ = root(updates.gram_a)
    u, values, v = np.linalg.svd(x @ coefficients @ y.T, full_matrices=False)
    largest = np.linalg.norm(x) * np.abs(coefficients).max() * np.linalg.norm(y)
    if values.size and values[0] <= ROUNDING * largest:
        values = np.zeros_like(values)  # what is left of updates that cancel is rounding
    rank = max(1, np.count_nonzero(values > values[:1] * ROUNDING)) if values.size else 0
    kept = min(rank, keep or rank)
    u, v = u[:, :kept], v[:kept]
    signs = np.sign(u[np.abs(u).argmax(0), np.arange(kept)]) if u.size else np.ones(kept)
    roots = np.sqrt(values[:kept])
    scale = signs * np.divide(1, roots, out=np.zeros_like(roots), where=roots > 0)
    left = coefficients @ y.T @ v.T * scale
    right = scale[:, None] * (u.T @ x @ coefficients)
    return Decomposition(Spectrum(values[:rank]), left.astype(np.float32), right.astype(np.float32))


def choose_rank(rank: int | str, spectra: list[Spectrum]) -> int:
    """One rank for the whole adapter.

    Args:
        rank: a number, "full" (the largest rank any module has), or "auto" (the smallest of 8, 16, 32, 64 that
            keeps 99.9 % of the energy of all modules together, else full). Beyond full there would be zeros only.
        spectra: of each module.
    """
    full = max(1, *(len(spectrum.values) for spectrum in spectra))
    if not isinstance(rank, str):
        return min(rank, full)
    total = sum(spectrum.energy for spectrum in spectra)
    for candidate in AUTO_RANKS if rank == "auto" else ():
        kept = total - sum(spectrum.lost(candidate) for spectrum in spectra)
        if candidate < full and kept >= AUTO_ENERGY * total:
            return candidate
    return full


def mean_spectrum(spectra: list[Spectrum]) -> list[float]:
    """Root of the summed squares of the k-th singular values over modules, relative to the first; none of zeros."""
    totals = np.zeros(max(len(spectrum.values) for spectrum in spectra))
    for spectrum in spectra:
        totals[: len(spectrum.values)] += np.square(spectrum.values)
    roots = np.sqrt(totals)
    return (roots / max(roots[:1].sum(), 1e-300)).tolist()


class Rewritten(NamedTuple):
    """An adapter's update in factors of another rank."""

    factors: dict[str, tuple[np.ndarray, np.ndarray]]
    """Module -> B (out_features, rank) and A (rank, in_features) in float32, as adapter_model.safetensors has them."""
    kept: float
    """Share of the update's energy (squared Frobenius norm over all modules) that the rank keeps, in [0, 1]."""


def rewrite_update(adapter: Adapter, rank: int, alpha: int) -> Rewritten:
    """Writes an adapter's update at another rank and alpha, so that training can go on from it.

    Each module's update is cut to its best approximation of the rank, in balanced factors: B and A have the same
    singular values, the roots of the update's. Directions that the update does not have are zero in both.

    Args:
        adapter: checked.
        rank: of the new factors.
        alpha: of the new factors; the update is alpha / rank x B @ A.

    Returns:
        The factors, and what the rank keeps.

    Raises:
        AdapterError: a value is not finite, or beyond what training can give.
    """
    factors = {}
    energy, lost = 0.0, 0.0
    root_of_scaling = np.float32(np.sqrt(alpha / rank))
    with threadpool_limits(1):  # more threads make small matrices slower
        for module in adapter.shapes:
            updates = read_updates([adapter], module)
            whole = decompose(updates, updates.weighted_sum([1.0]), rank)
            b, a = read_factors([adapter], module)
            missing = rank - whole.left.shape[1]
            b = np.pad(b @ whole.left / root_of_scaling, ((0, 0), (0, missing)))
            a = np.pad(whole.right @ a / root_of_scaling, ((0, missing), (0, 0)))
            factors[module] = (b, a)
            energy += whole.spectrum.energy
            lost += whole.spectrum.lost(rank)
    return Rewritten(factors, 1 - lost / energy if energy else 1.0)
