"""Synthetic acceptance of a panel: the published rate is met, signals tell what they are asked to."""

import numpy as np
import pytest

from svsim.metrics.acceptance import fixed_length
from svsim.papers.sv_paper.acceptance import (
    LITTLE,
    PUBLISHED,
    RATE_TOLERANCE,
    panel_trace,
    verified_acceptance_rate,
    with_perfect_signals,
)

RATES = (0.134, 0.814)


@pytest.mark.parametrize("rate", RATES)
def test_sd_5_has_the_published_rate_and_signals_half_of_what_can_be_known(rate: float) -> None:
    made = panel_trace(rate)
    assert made.trace.metadata.acceptance_kind == "synthetic"
    assert made.verified_acceptance == pytest.approx(rate, abs=RATE_TOLERANCE)
    share = made.information_gain_bits / made.information_ceiling_bits
    assert share == pytest.approx(PUBLISHED.share_of_ceiling, abs=0.06)
    assert made.overlap_correlation == pytest.approx(PUBLISHED.overlap_correlation, abs=0.02)


def test_the_pair_with_a_published_gain_has_it() -> None:
    """Table 7: 0.49 bits for llama-68m and llama-160m; the base assumption was not fitted to more digits."""
    assert panel_trace(0.134).paper_gain_bits == pytest.approx(0.49, abs=0.03)


def test_signals_that_tell_less_leave_acceptance_alone() -> None:
    less = panel_trace(RATES[0], LITTLE)
    assert less.information_gain_bits < 0.5 * panel_trace(RATES[0]).information_gain_bits
    assert less.verified_acceptance == pytest.approx(RATES[0], abs=RATE_TOLERANCE)


def test_perfect_signals_are_the_target_s_own() -> None:
    perfect = with_perfect_signals(panel_trace(RATES[0]))
    signals = perfect.trace.observable.signals
    assert np.array_equal(signals["similarity"], perfect.trace.target.accept_prob)
    assert perfect.information_gain_bits == perfect.information_ceiling_bits


def test_the_rate_is_that_of_svsim_info() -> None:
    trace = panel_trace(RATES[0]).trace
    five = fixed_length(trace, 5, seed=0)
    assert verified_acceptance_rate(trace, 5) == pytest.approx(five.verified_acceptance_rate.value)
