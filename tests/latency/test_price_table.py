from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from svsim.errors import LatencyError
from svsim.latency.linear import LinearLatency
from svsim.latency.price_table import RELATIVE_TOLERANCE, lay_out
from svsim.latency.shape import Role, StepShape

LINE = {"fixed_s": 1e-2, "per_new_token_s": 2e-5, "per_kv_token_s": 4e-8}
LINEAR = LinearLatency.from_json({"kind": "linear", "target": LINE, "overhead_per_step_s": 0}, "x")
TOKENS = np.arange(8, 73)


@dataclass
class CurvedLatency:
    """A smooth curve in context: 1 ms + 10 ps * mean context^2. Counts its calls."""

    calls: int = 0

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        self.calls += 1
        sequences, tokens, kv = shape.broadcast()
        return 1e-3 + 1e-11 * (kv / sequences) ** 2 + 1e-6 * tokens


def test_a_linear_model_needs_two_knots_and_is_exact_between() -> None:
    prices = lay_out(LINEAR, Role.TARGET, 8, TOKENS, 100, 3000)
    assert prices.num_knots == 2
    assert prices.seconds.shape == (2, len(TOKENS))
    assert prices.seconds.flags.c_contiguous
    contexts = np.array([100.0, 777.5, 3000.0])
    expected = LINEAR.predict_s(StepShape(Role.TARGET, 8, TOKENS, 8 * contexts[:, None]))
    np.testing.assert_allclose(prices.at(contexts), expected, rtol=1e-12)


def test_refinement_doubles_until_the_midpoints_agree() -> None:
    model = CurvedLatency()
    prices = lay_out(model, Role.TARGET, 8, TOKENS, 500, 2500)
    assert 3 <= prices.num_knots <= 65
    assert (prices.num_knots - 1) & (prices.num_knots - 2) == 0  # a power of two plus one
    # the knots themselves, then one call per refinement, whether it was needed or not
    assert model.calls == 2 + int(np.log2(prices.num_knots - 1))
    assert prices.max_relative_error <= RELATIVE_TOLERANCE
    contexts = np.random.default_rng(0).uniform(500, 2500, 100)
    expected = model.predict_s(StepShape(Role.TARGET, 8, TOKENS, 8 * contexts[:, None]))
    np.testing.assert_allclose(prices.at(contexts), expected, rtol=RELATIVE_TOLERANCE)


def test_the_error_left_at_the_largest_table_is_reported() -> None:
    prices = lay_out(CurvedLatency(), Role.TARGET, 8, TOKENS, 0, 8000, max_knots=5)
    assert prices.num_knots == 5
    assert prices.max_relative_error > RELATIVE_TOLERANCE


def test_one_context_gives_two_equal_rows() -> None:
    prices = lay_out(LINEAR, Role.TARGET, 4, TOKENS, 640, 640)
    assert prices.context_step == 1
    np.testing.assert_array_equal(prices.seconds[0], prices.seconds[1])
    expected = LINEAR.predict_s(StepShape(Role.TARGET, 4, TOKENS, 4 * 640))
    np.testing.assert_allclose(prices.at(640.0), expected, rtol=1e-12)


@pytest.mark.parametrize("contexts", [(-1, 5), (5, 4), (0, np.inf), (np.nan, 4)])
def test_impossible_contexts(contexts: tuple[float, float]) -> None:
    with pytest.raises(LatencyError, match="mean context"):
        lay_out(LINEAR, Role.TARGET, 4, TOKENS, *contexts)


def test_no_tokens() -> None:
    with pytest.raises(LatencyError, match="new_tokens has shape"):
        lay_out(LINEAR, Role.TARGET, 4, [], 0, 10)
