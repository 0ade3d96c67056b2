"""Price sheets look up what the latency model says."""

import numpy as np
import pytest
from support.small_traces import StairLatency

from svsim.engines.prices import growing_passes_s, lay_out_sheet, pass_row_s, pass_s
from svsim.latency.shape import Role, StepShape

RANGES = {n: (n, 5 * n) for n in (1, 3, 8)}


@pytest.fixture(scope="module")
def sheet():
    return lay_out_sheet(StairLatency(pad=4), Role.TARGET, RANGES, (10.0, 500.0))


@pytest.mark.parametrize("count", RANGES)
def test_every_laid_out_pass(sheet, count):
    model = StairLatency(pad=4)
    for tokens in range(count, 5 * count + 1):
        for kv in (10 * count, 77 * count + 1, 500 * count):
            exact = model.predict_s(StepShape(Role.TARGET, count, tokens, kv))
            assert pass_s(sheet, count, tokens, kv) == pytest.approx(float(exact), rel=1e-12)


def test_rows_equal_single_lookups(sheet):
    row = np.zeros(13)
    pass_row_s(sheet, 3, 400, row)
    assert row.tolist() == [pass_s(sheet, 3, n, 400) for n in range(3, 16)]


@pytest.mark.parametrize("kv", [30, 700, 1480])
def test_growing_passes_equal_single_lookups(sheet, kv):
    expected = sum(pass_s(sheet, 3, 3, kv + 3 * j) for j in range(6))
    assert growing_passes_s(sheet, 3, kv, 6) == pytest.approx(expected, rel=1e-12)


def test_more_tokens_than_laid_out_follow_the_mean_slope(sheet):
    first, last = pass_s(sheet, 3, 3, 400), pass_s(sheet, 3, 15, 400)
    assert pass_s(sheet, 3, 27, 400) == pytest.approx(last + (last - first))
