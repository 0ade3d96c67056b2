"""Percentiles over pieces equal NumPy's over all numbers at once, to the bit."""

import numpy as np
import pytest

from svsim.metrics.quantiles import mean_and_percentiles, order_statistics

PERCENTILES = (50.0, 90.0, 95.0, 99.0)


@pytest.mark.parametrize("num", [2, 3, 17, 1000, 4001])
def test_percentiles_of_pieces_are_those_of_the_whole(num: int) -> None:
    rng = np.random.default_rng(num)
    values = np.round(rng.lognormal(size=num), 2)  # with ties
    values[: num // 3] = 0.0
    pieces = [piece for piece in np.array_split(values, 7) if len(piece)]
    mean, *found = mean_and_percentiles(lambda: iter(pieces), PERCENTILES)
    assert mean == pytest.approx(values.mean(), rel=1e-12)
    assert found == np.percentile(values, PERCENTILES).tolist()


def test_one_piece_is_numpys_own() -> None:
    values = np.random.default_rng(0).random(100)
    assert mean_and_percentiles(lambda: [values], PERCENTILES) == [
        values.mean(),
        *np.percentile(values, PERCENTILES),
    ]
    assert np.isnan(mean_and_percentiles(lambda: [], PERCENTILES)).all()


def test_order_statistics_of_what_has_no_end() -> None:
    values = np.array([np.inf, 1.0, -0.0, 1e-300, 3.0])
    assert order_statistics(lambda: [values[:2], values[2:]], np.arange(5)) == sorted(abs(values))
