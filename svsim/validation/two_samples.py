"""Do two sets of generated texts follow one law? An exact permutation test, and what it can see.

Statistic: chi-squared of token counts at every output position, summed over positions. Whole texts are
permuted between the sets, so tokens of one text may depend on each other as they like; under one law every
permutation is equally likely and the p-value is exact.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LawTest:
    """p_value of "both sets follow one law".

    power: share of simulated experiments of this size in which the test at 5 % finds a law that differs
    from the first one by a total variation of ``detectable`` at every position.
    """

    p_value: float
    num_texts: tuple[int, int]
    num_positions: int
    detectable: float
    power: float


def compare_laws(
    first: Tokens,
    second: Tokens,
    rng: np.random.Generator,
    *,
    detectable: float = 0.1,
    num_permutations: int = 999,
    num_simulations: int = 40,
) -> LawTest:
    """Test texts [N, T] against texts [M, T]; its power is simulated with the first set's own tokens."""
    p_value = permutation_p_value(first, second, rng, num_permutations)
    found = 0
    for _ in range(num_simulations):
        mine, other = (first[rng.integers(0, len(first), size)] for size in (len(first), len(second)))
        found += permutation_p_value(mine, shifted(other, detectable, rng), rng, 99) <= 0.05
    power = found / num_simulations
    return LawTest(p_value, (len(first), len(second)), first.shape[1], detectable, power)


def permutation_p_value(
    first: Tokens, second: Tokens, rng: np.random.Generator, num_permutations: int
) -> float:
    """Share of permutations, the identity included, whose statistic is at least the observed one."""
    counts = _one_hot(np.concatenate([first, second]))
    total = len(counts)
    labels = np.zeros((num_permutations + 1, total), np.float32)
    labels[0, : len(first)] = 1.0
    labels[1:] = rng.permuted(np.repeat(labels[:1], num_permutations, axis=0), axis=1)
    observed = labels @ counts
    everywhere = counts.sum(axis=0)
    expected = everywhere * (len(first) / total)
    # with fixed margins this is chi-squared up to a constant factor
    statistic = ((observed - expected) ** 2 / everywhere).sum(axis=1)
    return float((statistic >= statistic[0] * (1 - 1e-6)).mean())


def shifted(texts: Tokens, distance: float, rng: np.random.Generator) -> Tokens:
    """Texts whose law at every position is ``distance`` away in total variation, as far as that goes.

    Mass moves from all tokens alike to the most frequent one: nothing occurs that did not occur before.
    """
    moved = texts.copy()
    for position in range(texts.shape[1]):
        tokens, counts = np.unique(texts[:, position], return_counts=True)
        others = 1.0 - counts.max() / len(texts)
        share = min(1.0, distance / others) if others > 0 else 0.0
        moved[rng.random(len(texts)) < share, position] = tokens[counts.argmax()]
    return moved


def _one_hot(texts: Tokens) -> NDArray[np.float32]:
    """[texts, cells]: one cell per (position, token) that occurs."""
    cells = texts + (np.arange(texts.shape[1]) * (texts.max() + 1))[None, :]
    _, place = np.unique(cells, return_inverse=True)
    place = place.reshape(texts.shape)
    hot = np.zeros((len(texts), place.max() + 1), np.float32)
    np.put_along_axis(hot, place, 1.0, axis=1)
    return hot
