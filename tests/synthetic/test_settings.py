"""What may be asked for, and what the message says where it may not."""

import numpy as np
import pytest

from svsim.errors import InputError
from svsim.synthetic.settings import (
    LengthLaw,
    SyntheticSettings,
    TaskSettings,
    decaying_acceptance,
    fresh_chain_acceptance,
)


def test_length_law_has_its_mean_and_variation():
    law, scores = LengthLaw(200, 0.5), np.random.default_rng(0).standard_normal(40_000)
    tokens = np.array([law.tokens(z) for z in scores])
    assert tokens.mean() == pytest.approx(200, rel=0.01)
    assert tokens.std() / tokens.mean() == pytest.approx(0.5, rel=0.03)
    assert LengthLaw(200, 0.5, 150, 250).tokens(9.0) == 250
    assert LengthLaw(200, 0.5, 150, 250).tokens(-9.0) == 150
    assert LengthLaw(64).tokens(1.7) == 64


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: LengthLaw(0.5), "mean tokens is 0.5"),
        (lambda: LengthLaw(9, -1), "variation of tokens is -1"),
        (lambda: LengthLaw(9, 0, 8, 4), r"token limits is 8\.\.4"),
        (TaskSettings, "is 0 of acceptance, verified_acceptance, expected one"),
        (lambda: TaskSettings(0.5, 0.5), "is 2 of acceptance, verified_acceptance, expected one"),
        (lambda: TaskSettings(1.01), "acceptance is 1.01, expected a probability in 0..1"),
        (lambda: TaskSettings(float("nan")), "acceptance is nan"),
        (lambda: TaskSettings(0.5, share=0), "task share is 0"),
        (lambda: TaskSettings(0.5, name=""), "task name is an empty text"),
        (lambda: SyntheticSettings(num_requests=0), "num_requests is 0"),
        (lambda: SyntheticSettings(num_speculative_tokens=0), "num_speculative_tokens is 0"),
        (lambda: SyntheticSettings(tasks=()), "tasks is none"),
        (lambda: SyntheticSettings(tasks=(TaskSettings(0.5),) * 2), "distinct names"),
        (lambda: SyntheticSettings(information_measure="x"), "information_measure is x"),
        (lambda: SyntheticSettings(information_gain_bits=1.5), "information_gain_bits is 1.5"),
        (lambda: SyntheticSettings(overlap_correlation=-0.1), "overlap_correlation is -0.1"),
        (lambda: SyntheticSettings(burstiness=1.0), "burstiness is 1.0"),
        (lambda: SyntheticSettings(tasks=(TaskSettings((0.8, 0.8)),)), "2 values, expected K = 7 values"),
    ],
)
def test_refusals(bad, message):
    with pytest.raises(InputError, match=message):
        bad()


def test_acceptance_by_depth_has_a_floor():
    """After r at one depth the next cannot be below 2 - 1/r: the floor itself is allowed."""
    TaskSettings((0.8, 0.75, 2 - 1 / 0.75))
    with pytest.raises(InputError, match=r"acceptance at depth 2 is 0.74, expected at least .* = 0.7500"):
        TaskSettings((0.8, 0.74))


def test_acceptance_after_a_rejection_gives_back_the_depths():
    """A renewal stream with hazards 1 - f_n has the conditional acceptances it was made from, exactly."""
    asked = decaying_acceptance(0.85, 0.98, 6)
    fresh = fresh_chain_acceptance(asked)
    runs = np.cumprod(np.concatenate([[1.0], fresh, np.full(3000, fresh[-1])]))
    at_least = runs[::-1].cumsum()[::-1] / runs.sum()
    assert at_least[1:7] / at_least[:6] == pytest.approx(asked, abs=1e-9)


def test_constant_acceptance_stays_constant_after_a_rejection():
    assert fresh_chain_acceptance((0.7,) * 4) == pytest.approx([0.7] * 4)
