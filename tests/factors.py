"""Factors of invented adapters, and their updates as dense matrices, for the tests of the algebra."""

import numpy as np

from housebrain_core.adapters.updates import ModuleUpdates, decompose, gram


def random_pairs(seed: int, ranks: tuple[int, ...] = (2, 3, 1), size: tuple[int, int] = (12, 9)) -> list:
    """(B, A) of each adapter in float32."""
    generator = np.random.default_rng(seed)

    def draw(*shape):
        return generator.standard_normal(shape).astype(np.float32)

    return [(draw(size[0], rank), draw(rank, size[1])) for rank in ranks]


def together(pairs) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([b for b, _ in pairs], axis=1), np.concatenate([a for _, a in pairs])


def updates_of(pairs) -> ModuleUpdates:
    b, a = together(pairs)
    return ModuleUpdates([len(one) for _, one in pairs], gram(b), gram(a.T))


def dense(pair) -> np.ndarray:
    return pair[0].astype(np.float64) @ pair[1].astype(np.float64)


def merged_by(combine, pairs, weights, density=1.0) -> np.ndarray:
    """Through the cores, back as a matrix."""
    updates = updates_of(pairs)
    return product_of(decompose(updates, combine(updates, weights, density)), pairs)


def product_of(found, pairs, rank: int | None = None) -> np.ndarray:
    """The merged update in float64, truncated to a rank; its factors are in float32, as they are written."""
    b, a = together(pairs)
    return dense((b @ found.left[:, :rank], found.right[:rank] @ a))


def assert_close(found: np.ndarray, exact: np.ndarray) -> None:
    assert np.linalg.norm(found - exact) <= 1e-6 * np.linalg.norm(exact)
