"""Coins: as recorded, or redrawn from the acceptance probabilities."""

import numpy as np
import pytest

from svsim.decoding.acceptance_rules import RecordedCoins, RedrawnCoins
from svsim.errors import MissingSignalError
from svsim.trace.token_trace import TargetColumns

A = np.tile(np.array([0.9, 0.5, 0.2], np.float32), (100_000, 1))


def test_recorded_coins_are_returned():
    target = TargetColumns(np.array([0, 3, 2], np.int16))
    np.testing.assert_array_equal(RecordedCoins().resolve(target, 0), [0, 3, 2])


def test_redrawn_coins_follow_the_survival_law():
    accepted = RedrawnCoins(2, seed=5).resolve(TargetColumns(np.zeros(len(A), np.int16), A), 0)
    for depth, survival in enumerate(np.cumprod(A[0]).tolist(), 1):
        error = 4 * np.sqrt(survival * (1 - survival) / len(A))
        assert (accepted >= depth).mean() == pytest.approx(survival, abs=error)


def test_replicates_differ_and_repeat():
    target, rule = TargetColumns(np.zeros(len(A), np.int16), A), RedrawnCoins(2, seed=5)
    assert (rule.resolve(target, 0) != rule.resolve(target, 1)).any()
    np.testing.assert_array_equal(rule.resolve(target, 1), RedrawnCoins(2, seed=5).resolve(target, 1))


def test_certain_and_impossible_tokens():
    certain = np.array([[1.0, 1.0], [0.0, 1.0]], np.float32)
    accepted = RedrawnCoins(1, seed=0).resolve(TargetColumns(np.zeros(2, np.int16), certain), 0)
    np.testing.assert_array_equal(accepted, [2, 0])


def test_redraw_without_probabilities_names_the_column():
    with pytest.raises(MissingSignalError, match="accept_prob"):
        RedrawnCoins(1, seed=0).resolve(TargetColumns(np.zeros(2, np.int16)), 0)
