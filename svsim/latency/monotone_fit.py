"""Two small convex fits: never-decreasing values, and non-negative least squares.

SciPy has both (``isotonic_regression``, ``nnls``) and the tests compare with it; importing
``scipy.optimize`` alone takes longer than a whole replay may spend on start-up.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def isotonic_fit(values: Floats, weights: Floats) -> Floats:
    """The never-decreasing float64 [N] closest in weighted squares (pool adjacent violators)."""
    level: list[float] = []
    weight: list[float] = []
    size: list[int] = []
    for value, mass in zip(values.tolist(), weights.tolist(), strict=True):
        count = 1
        while level and level[-1] >= value:
            total = weight[-1] + mass
            value = (level.pop() * weight[-1] + value * mass) / total  # noqa: PLW2901 - the pooled block
            mass = total  # noqa: PLW2901
            weight.pop()
            count += size.pop()
        level.append(value)
        weight.append(mass)
        size.append(count)
    return np.repeat(np.asarray(level, np.float64), size)


def nonnegative_least_squares(gram: Floats, moment: Floats) -> Floats:
    """x >= 0 that minimizes x'Gx/2 - m'x, for a positive definite G [P, P] and m [P].

    Block principal pivoting (Portugal, Judice and Vicente 1994): swap all infeasible variables at
    once while that reduces their number, else only the last one, which cannot cycle.
    """
    num = len(moment)
    free = np.ones(num, np.bool_)
    fewest, patience = num + 1, 3
    scale = np.abs(moment).max(initial=0.0)
    x = np.zeros(num)
    for _ in range(50 + 10 * num):
        x = np.zeros(num)
        x[free] = np.linalg.solve(gram[np.ix_(free, free)], moment[free])
        gradient = gram @ x - moment
        infeasible = np.flatnonzero((free & (x < 0)) | (~free & (gradient < -1e-12 * scale)))
        if not infeasible.size:
            break
        if infeasible.size < fewest:
            fewest, patience = infeasible.size, 3
        elif patience > 0:
            patience -= 1
        else:
            infeasible = infeasible[-1:]
        free[infeasible] = ~free[infeasible]
    return np.maximum(x, 0.0)
