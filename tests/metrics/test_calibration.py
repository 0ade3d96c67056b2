"""Calibration: what is believed against what happens."""

import numpy as np
import pytest

from svsim.metrics.calibration import bins_of_equal_count, calibration_of, clustered_standard_error

REQUEST = np.repeat(np.arange(200), 50)


def test_a_constant_error_is_found_in_every_bin():
    rng = np.random.default_rng(0)
    belief = rng.uniform(0.1, 0.6, 10_000)
    found = calibration_of(belief + 0.1, belief, REQUEST)
    assert found.error == pytest.approx(0.1) and found.noise == pytest.approx(0, abs=1e-9)
    assert [b.num_tokens for b in found.bins] == [1000] * 10
    assert all(b.mean_acceptance - b.mean_belief == pytest.approx(0.1) for b in found.bins)


def test_a_perfect_belief_errs_by_the_stated_noise():
    """Mean over 100 draws of coins: the error is its expectation, to 5 %."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(100):
        belief = rng.uniform(0.2, 0.9, 2000)
        coin = (rng.random(2000) < belief).astype(float)
        found.append(calibration_of(coin, belief, np.arange(2000)))
    assert np.mean([f.error for f in found]) == pytest.approx(np.mean([f.noise for f in found]), rel=0.05)


def test_equal_beliefs_share_a_bin():
    belief = np.repeat([0.2, 0.8], [100, 900])
    found = calibration_of(belief, belief, np.arange(1000))
    assert [(b.num_tokens, b.mean_belief) for b in found.bins] == [
        (100, pytest.approx(0.2)),
        (900, pytest.approx(0.8)),
    ]
    assert bins_of_equal_count(np.full(9, 0.5), 10).tolist() == [0] * 9


def test_tokens_of_one_request_count_once():
    """Fifty equal tokens per request are as uncertain as one."""
    each = np.random.default_rng(2).standard_normal(200)
    repeated = clustered_standard_error(np.repeat(each, 50), REQUEST)
    assert repeated == pytest.approx(clustered_standard_error(each, np.arange(200)))
    assert repeated == pytest.approx(each.std() / np.sqrt(200))
