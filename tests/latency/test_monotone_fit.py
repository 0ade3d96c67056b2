import numpy as np
import pytest
from scipy.optimize import isotonic_regression, nnls

from svsim.latency.monotone_fit import isotonic_fit, nonnegative_least_squares


@pytest.mark.parametrize("num", [1, 2, 50, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_isotonic_fit_is_scipys(num: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.round(np.linspace(0, 1, num) + rng.standard_normal(num), 1)
    weights = rng.uniform(0.1, 5, num)
    expected = isotonic_regression(values, weights=weights).x
    np.testing.assert_allclose(isotonic_fit(values, weights), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [(3, 1), (30, 5), (200, 60)])
@pytest.mark.parametrize("seed", range(5))
def test_nonnegative_least_squares_is_scipys(size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns, values = rng.standard_normal(size), rng.standard_normal(size[0])
    ours = nonnegative_least_squares(columns.T @ columns, columns.T @ values)
    np.testing.assert_allclose(ours, nnls(columns, values)[0], rtol=1e-6, atol=1e-8)


def test_nonnegative_least_squares_with_badly_scaled_columns() -> None:
    rng = np.random.default_rng(0)
    columns = np.abs(rng.standard_normal((100, 20))) * 10.0 ** rng.uniform(-2, 2, 20)
    values = columns @ np.maximum(rng.standard_normal(20), 0)
    ours = nonnegative_least_squares(columns.T @ columns, columns.T @ values)
    theirs = nnls(columns, values)[0]
    assert (ours >= 0).all()
    np.testing.assert_allclose(columns @ ours, columns @ theirs, rtol=1e-6)
