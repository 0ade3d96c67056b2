"""Verification lengths per request, by hand."""

import numpy as np
import pytest
from support.request_records import record

from svsim.metrics.fairness import fairness_of, verification_lengths


def test_lengths_are_per_step_and_a_request_without_steps_is_left_out() -> None:
    lengths = verification_lengths(record([10.0, 0.0, 9.0], [4.0, 0.0, 3.0]).sums)
    assert lengths.tolist() == [2.5, 3.0]


def test_ends_spread_and_neglect() -> None:
    fairness = fairness_of(record([10.0, 0.0, 9.0, 5.0], [2.0, 2.0, 3.0, 5.0]), num_shown=2)
    assert fairness.lowest == (0.0, 1.0)
    assert fairness.highest == (5.0, 3.0)
    assert fairness.never_verified == 1
    assert fairness.mean == pytest.approx(2.25)
    assert fairness.standard_deviation == pytest.approx(np.std([5, 0, 3, 1]))
    assert fairness.to_dict()["num_requests"] == 4
