"""Rates that queueing theory knows: one request at a time, every step of the same length."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest

import svsim
from svsim.latency.linear import LinearLatency
from svsim.serving.lengths import LengthLaw

STEP_S = 0.1


def steps_of(fixed_s: float) -> LinearLatency:
    """Every step takes the same time."""
    target = {"fixed_s": fixed_s, "per_new_token_s": 0.0, "per_kv_token_s": 0.0}
    return LinearLatency.from_json({"kind": "linear", "target": target, "overhead_per_step_s": 0.0}, "test")


@cache
def best_of(
    slo: str, lengths: str, step_s: float = STEP_S, num_seqs: int = 1, seed: int = 0
) -> dict[str, Any]:
    found = svsim.plan(
        slo=slo, lengths=lengths, latency=steps_of(step_s), max_num_seqs=num_seqs, seed=seed, jobs=2
    )
    return found.best


def agrees(best: dict[str, Any], rate: float, most_error: float = 0.05) -> bool:
    """Within four standard errors of the rates that single replications find; no more than that is sure."""
    low, high = math.log(best["max_rate_ci_low"]), math.log(best["max_rate_ci_high"])
    error = (high - low) / (2 * 2.365)
    assert error < most_error
    centre = 0.5 * (low + high)
    return (
        abs(centre - math.log(rate)) < 4 * error + 0.01
        and math.log(best["max_rate"]) < math.log(rate) + 4 * error
    )


@pytest.mark.parametrize("wait", [0.5, 1.0])
def test_equal_service_is_m_d_1(wait: float) -> None:
    """Mean wait = rho / (2 (1 - rho)) services, so that rho = 2 w / (1 + 2 w)."""
    best = best_of(f"queue:mean={wait * STEP_S}", "fixed:1/1")
    assert agrees(best, 2 * wait / (1 + 2 * wait) / STEP_S)


def test_exponential_service_is_m_m_1() -> None:
    """Service of variation about 1: wait = rate E[S^2] / (2 (1 - rho)) (Pollaczek and Khinchine)."""
    law = "lognormal:1/20/0/1"
    _, tokens = LengthLaw.parse(law).draw(400_000, np.random.default_rng(0))
    service_s, square = tokens.mean() * STEP_S, (tokens.astype(float) ** 2).mean() * STEP_S**2
    assert square == pytest.approx(2 * service_s**2, rel=0.05)
    wait_s = 0.5 * service_s
    best = best_of(f"queue:mean={wait_s}", law)
    assert agrees(best, wait_s / (0.5 * square + wait_s * service_s), most_error=0.1)


def test_a_looser_objective_carries_more() -> None:
    rates = [best_of(f"queue:mean={wait * STEP_S}", "fixed:1/1")["max_rate"] for wait in (0.5, 1.0)]
    assert rates[0] < rates[1]


def test_half_as_long_steps_carry_twice_the_rate() -> None:
    slow = best_of("queue:mean=0.1", "fixed:1/1")
    fast = best_of("queue:mean=0.05", "fixed:1/1", step_s=STEP_S / 2)
    assert fast["max_rate"] == pytest.approx(2 * slow["max_rate"], rel=1e-6)


def test_faster_hardware_carries_more_under_the_same_objective() -> None:
    slow = best_of("queue:mean=0.1", "fixed:1/1")["max_rate"]
    assert best_of("queue:mean=0.1", "fixed:1/1", step_s=STEP_S / 2)["max_rate"] > 2 * slow
