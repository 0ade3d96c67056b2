"""Estimates from sums per request, and their intervals."""

import numpy as np
import pytest

from svsim.limits import MAX_BOOTSTRAP_GROUPS
from svsim.metrics.request_sums import RequestSums, request_of_rows


def mean(n, x):
    return x / n


def sums_of(values, request, num_requests):
    return RequestSums({"n": np.ones(len(values)), "x": values}, request, num_requests, seed=0)


def test_a_ratio_of_sums_and_its_interval():
    """Request means of deviation 1 over 400 requests: the interval is about 2 x 1.96 / 20 wide."""
    rng = np.random.default_rng(0)
    values = np.repeat(rng.standard_normal(400), 25) + rng.standard_normal(10_000)
    found = sums_of(values, np.arange(10_000) // 25, 400).estimate(("n", "x"), mean)
    assert found.value == pytest.approx(values.mean())
    assert found.ci_high - found.ci_low == pytest.approx(2 * 1.96 * np.sqrt(1.04) / 20, rel=0.15)


def test_one_request_has_no_interval():
    found = sums_of(np.arange(5.0), np.zeros(5, np.int64), 1).estimate(("n", "x"), mean)
    assert (found.value, found.ci_low, found.ci_high) == (2.0, None, None)


def test_undefined_is_none():
    sums = sums_of(np.zeros(4), np.arange(4), 4)
    assert sums.estimate(("n", "x"), lambda n, x: n / x).value is None


def test_an_interval_is_none_where_some_resample_is_undefined():
    """Only one of three requests holds anything: 30 % of the resamples miss it."""
    sums = sums_of(np.array([0.0, 0.0, 2.0]), np.arange(3), 3)
    found = sums.estimate(("n", "x"), lambda n, x: n / x)
    assert found.value == 1.5 and found.ci_low is None and found.ci_high is None


def test_many_requests_share_groups():
    num = 3 * MAX_BOOTSTRAP_GROUPS
    values = np.random.default_rng(1).standard_normal(num)
    found = sums_of(values, np.arange(num), num).estimate(("n", "x"), mean)
    assert found.value == pytest.approx(values.mean())
    assert found.ci_high - found.ci_low == pytest.approx(2 * 1.96 / np.sqrt(num), rel=0.15)


def test_requests_of_rows():
    assert request_of_rows(np.array([0, 2, 3, 6])).tolist() == [0, 0, 1, 2, 2, 2]
