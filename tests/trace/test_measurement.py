"""Each observable against a value known by hand, by brute force, or by construction."""

import numpy as np
import pytest

from svsim.synthetic.trace import constant_acceptance
from svsim.trace import measurement as observed
from svsim.trace.token_trace import ObservableColumns, TargetColumns, TokenTrace, TraceMetadata


def ar1(rng, num, phi):
    noise, out = rng.standard_normal(num), np.empty(num)
    out[0] = noise[0]
    for i in range(1, num):
        out[i] = phi * out[i - 1] + np.sqrt(1 - phi**2) * noise[i]
    return out


def requests_with(spread, phi, seed=0, num=400, length=120):
    """Requests of known between-request deviation around an AR(1) of variance 0.04."""
    rng = np.random.default_rng(seed)
    parts = [spread * rng.standard_normal() + 0.2 * ar1(rng, length, phi) for _ in range(num)]
    values = np.concatenate(parts)
    return values - values.mean(), np.arange(num + 1) * length


@pytest.mark.parametrize(("spread", "phi"), [(0.1, 0.0), (0.1, 0.7), (0.0, 0.5)])
def test_spread_and_burstiness_of_a_known_process(spread, phi):
    """Each covariance of 400 request means of about variance v deviates by about v / sqrt(400)."""
    values, first = requests_with(spread, phi)
    between = observed.between_request_variance(values, first)
    noise = spread**2 + 0.04 * (1 + phi) / (1 - phi) / 40
    assert between == pytest.approx(spread**2, abs=4 * noise / np.sqrt(400))
    assert observed.burstiness(values, first, between) == pytest.approx(phi, abs=0.05)


def test_too_few_or_too_short_requests_have_no_spread():
    assert observed.between_request_variance(np.zeros(30), np.array([0, 30])) is None
    assert observed.between_request_variance(np.zeros(16), np.array([0, 8, 16])) is None


def test_lag_one_does_not_cross_requests():
    assert observed.lag_one_covariance(np.array([1.0, -1.0]), np.array([0, 1, 2])) == 0.0
    assert observed.lag_one_covariance(np.array([1.0, 1.0, -1.0, -1.0]), np.array([0, 2, 4])) == 1.0


def test_slope_along_the_output():
    a = np.concatenate([0.5 + 0.3 * np.linspace(0, 1, 50), 0.1 + 0.3 * np.linspace(0, 1, 20)])
    assert observed.slope_along_output(a, np.array([0, 50, 70])) == pytest.approx(0.3)
    assert observed.slope_along_output(np.ones(3), np.array([0, 1, 2, 3])) is None


def test_starts_that_fixed_length_visits():
    """By hand: jumps of num_accepted + 1 inside each request."""
    num_accepted = np.array([2, 0, 1, 0, 0, 1, 0, 3])
    assert observed.visited_starts(num_accepted, np.array([0, 5, 8])).tolist() == [0, 3, 4, 5, 7]


def test_conditional_acceptance():
    a = np.array([[0.5, 0.4], [1.0, 0.8]])
    assert observed.conditional_acceptance(a) == pytest.approx([0.75, (0.2 + 0.8) / 1.5])


def test_wrong_prefix_decay_pairs_the_same_positions():
    """Position 0 rejects its first token: depths 2, 3 sit on a wrong prefix at positions 1, 2."""
    a = np.array([[0.1, 0.3, 0.2], [0.6, 0.9, 0.9], [0.4, 0.9, 0.9]])
    got = observed.wrong_prefix_decay(a, np.array([0, 3, 3]), np.array([0, 3]))
    assert got == pytest.approx(1 - (0.3 + 0.2) / (0.6 + 0.4))
    split = observed.wrong_prefix_decay(a, np.array([0, 3, 3]), np.array([0, 2, 3]))
    assert split == pytest.approx(1 - 0.3 / 0.6)
    assert observed.wrong_prefix_decay(a, np.array([3, 3, 3]), np.array([0, 3])) is None


def test_held_out_gain_of_a_signal_that_is_the_truth():
    """a on four values that S shows: the gain is the ceiling, but for what 3 x 10^4 samples cannot tell."""
    rng = np.random.default_rng(0)
    a = rng.choice([0.1, 0.4, 0.7, 0.95], size=30_000)
    first = np.arange(0, 30_001, 100)
    gain = observed.held_out_gain_bits(a, a, rng.random(len(a)), first)
    exact = observed.information_ceiling_bits(a)
    assert exact - 0.01 < gain <= exact + 1e-9


def test_held_out_gain_of_noise_is_not_positive():
    """In the sample it would be: 108 cells learn the noise."""
    rng = np.random.default_rng(1)
    a, s, companion = rng.beta(2, 1, 2000), *rng.random((2, 2000))
    assert observed.held_out_gain_bits(a, s, companion, np.arange(0, 2001, 100)) < 0.0
    assert observed.held_out_gain_bits(a, s, companion, np.array([0, 2000])) < 0.0


def test_correlation():
    x = np.random.default_rng(2).random(100)
    assert observed.correlation(x, 3 - 2 * x) == pytest.approx(-1.0)
    assert observed.correlation(x, np.ones(100)) is None


def test_measure_of_a_trace_without_signals():
    trace = constant_acceptance(0.8, num_requests=50, num_output_tokens=200, num_speculative_tokens=4, seed=0)
    seen = observed.measure(trace)
    assert seen.acceptance == pytest.approx(0.8)
    assert seen.acceptance_by_depth == pytest.approx((0.8,) * 4)
    assert seen.request_spread == pytest.approx(0.0, abs=1e-6)
    assert seen.information_gain_bits is None and seen.draft_entropy_nats is None
    expected = sum(0.8**d for d in range(1, 5)) / 4
    assert seen.verified_acceptance == pytest.approx(expected, abs=0.02)


def test_measure_of_num_accepted_alone():
    """What an importer brings: no acceptance probabilities at all."""
    trace = TokenTrace(
        ("a", "b"),
        np.array([0, 2, 4]),
        np.array([5, 5], np.int32),
        ObservableColumns({}),
        TargetColumns(np.array([1, 2, 0, 2], np.int16)),
        TraceMetadata(2, "imported", "independent"),
        tasks=("x", "y"),
    )
    seen = observed.measure(trace)
    assert seen.verified_acceptance_by_task == {"x": 0.5, "y": 0.5}
    assert seen.acceptance is None and seen.burstiness is None
