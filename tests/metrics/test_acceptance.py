"""Acceptance by depth, by fixed length and along the output: by hand, by brute force, against the replay."""

from itertools import product

import numpy as np
import pytest
from support.small_traces import StairLatency, independent_trace

from svsim.api import replay
from svsim.metrics.acceptance import (
    acceptance_by_depth,
    autocorrelation,
    fixed_length,
    law_of_emitted,
    probability_below,
)
from svsim.speculation_math import constant_acceptance_tokens
from svsim.synthetic.trace import constant_acceptance
from svsim.trace.measurement import measure
from svsim.trace.token_trace import ObservableColumns, TargetColumns, TokenTrace, TraceMetadata


def trace_of(num_accepted, lengths, k, accept_prob=None):
    return TokenTrace(
        tuple(f"r{i}" for i in range(len(lengths))),
        np.concatenate([[0], np.cumsum(lengths)]),
        np.full(len(lengths), 5, np.int32),
        ObservableColumns({}),
        TargetColumns(np.array(num_accepted, np.int16), accept_prob),
        TraceMetadata(k, "imported", "independent"),
    )


def test_acceptance_by_depth_by_hand():
    trace = trace_of([0, 1, 2, 2], [4], 2, np.array([[0.5, 1.0], [1.0, 0.5]] * 2, np.float32))
    one, two = acceptance_by_depth(trace)
    assert (one.depth, one.num_reached, one.conditional, one.cumulative) == (1, 4, 0.75, 0.75)
    assert (two.num_reached, two.conditional, two.cumulative) == (3, pytest.approx(2 / 3), 0.5)
    assert (one.expected_conditional, one.expected_cumulative) == (0.75, 0.75)
    assert (two.expected_conditional, two.expected_cumulative) == (pytest.approx(2 / 3), 0.5)


def test_a_depth_nobody_reaches_has_no_acceptance():
    one, two = acceptance_by_depth(trace_of([0, 0], [2], 2))
    assert one.conditional == 0.0 and two.conditional is None and two.cumulative == 0.0
    assert one.expected_conditional is None


def test_fixed_length_by_hand():
    """Starts of k = 2: rows 0, 3 of the first request and 4, 5 of the second."""
    trace = trace_of([3, 0, 0, 1, 0, 3], [4, 2], 3)
    found = fixed_length(trace, 2, seed=0)
    assert found.num_steps == 4
    assert found.mean_acceptance_length.value == 1 + (2 + 1 + 0 + 2) / 4
    assert found.verified_acceptance_rate.value == 5 / 8
    assert found.rejected_share.value == 3 / 8
    # the step at row 3 has one token left, the one at row 5 too
    assert law_of_emitted(trace, 2).tolist() == [0, 3 / 4, 0, 1 / 4]


def test_constant_acceptance_is_the_closed_form():
    trace = constant_acceptance(
        0.7, num_requests=300, num_output_tokens=400, num_speculative_tokens=6, seed=0
    )
    for k in (1, 3, 6):
        found = fixed_length(trace, k, seed=0).mean_acceptance_length
        error = (found.ci_high - found.ci_low) / 4
        assert found.value == pytest.approx(constant_acceptance_tokens(0.7, k), abs=4 * error)


def test_fixed_lengths_are_those_of_the_replay():
    """Two ways to the same steps: a walk, and the closed loop over the whole trace."""
    trace = independent_trace(30, 5, seed=4)
    table = replay(trace, methods=["sd:k=1", "sd:k=4", "sd:k=5"], batch_sizes=[1, 8], latency=StairLatency())
    for row in table.rows:
        found = fixed_length(trace, row.params["k"], seed=0)
        assert row.mean_acceptance_length == pytest.approx(found.mean_acceptance_length.value, abs=1e-12)
        assert row.rejected_share_of_verified == pytest.approx(found.rejected_share.value, abs=1e-12)


@pytest.mark.parametrize("least", [0.0, 3.0, 4.5, 6.0, 9.0, 100.0])
def test_probability_below_by_enumeration(least):
    law = np.array([0.0, 0.5, 0.2, 0.3])
    expected = sum(
        np.prod(law[list(counts)]) for counts in product(range(4), repeat=3) if sum(counts) < least
    )
    assert probability_below(law, 3, least) == pytest.approx(expected, abs=1e-12)


def ar1(rng, num, phi):
    noise, out = rng.standard_normal(num), np.empty(num)
    out[0] = noise[0]
    for i in range(1, num):
        out[i] = phi * out[i - 1] + np.sqrt(1 - phi**2) * noise[i]
    return out


def test_autocorrelation_of_a_known_process():
    """Requests of deviation 0.2 around an AR(1) of deviation 0.2 and phi 0.6: within phi^lag."""
    rng = np.random.default_rng(0)
    parts = [0.2 * rng.standard_normal() + 0.2 * ar1(rng, 150, 0.6) for _ in range(500)]
    found = autocorrelation(np.concatenate(parts), np.arange(501) * 150, np.zeros(75_000, np.int64))
    for lag in found:
        assert lag.within == pytest.approx(0.6**lag.lag, abs=0.05)
        assert lag.total == pytest.approx((1 + 0.6**lag.lag) / 2, abs=0.05)


def test_the_first_lag_is_the_burstiness_of_synthetic_settings():
    trace = independent_trace(60, 3, seed=2, heterogeneous=True)
    a = trace.target.accept_prob[:, 0].astype(float)
    a = a + np.random.default_rng(0).normal(0, 0.1, len(a))
    trace.target.accept_prob[:, 0] = np.clip(a, 0, 1)
    a = trace.target.accept_prob[:, 0].astype(float)
    found = autocorrelation(a, trace.first_position, np.zeros(len(a), np.int64))
    assert found[0].within == pytest.approx(measure(trace).burstiness, abs=1e-12)


def test_requests_too_short_for_a_lag_leave_it_out():
    found = autocorrelation(np.array([0.0, 1.0, 1.0, 0.0]), np.array([0, 2, 4]), np.zeros(4, np.int64))
    assert found[0].total is not None and found[0].within is None
    assert all(lag.total is None for lag in found[1:])


def test_pairs_do_not_cross_requests():
    found = autocorrelation(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 2, 4]), np.zeros(4, np.int64))
    assert found[0].total == pytest.approx(1.0)
