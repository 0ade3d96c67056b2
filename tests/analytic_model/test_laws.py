"""The laws behind the closed forms, against SciPy and against sums over every possible batch."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from support.small_traces import StairLatency

from svsim.analytic_model.law import MethodLaw, expected_step
from svsim.analytic_model.prices import ContextKnots, StepTables, binomial_law, law_of_sum
from svsim.analytic_model.static import alive_law, drain
from svsim.analytic_model.walks import Paths
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment
from svsim.latency.linear import LinearLatency


@pytest.mark.parametrize("num", [1, 7, 300])
def test_binomial_law(num):
    shares = np.array([0.0, 1e-9, 0.2, 0.5, 0.97, 1.0])
    expected = stats.binom.pmf(np.arange(num + 1), num, shares[:, None])
    assert binomial_law(num, shares) == pytest.approx(expected, abs=1e-12)


def test_law_of_a_sum_of_many_counts():
    law = np.array([0.2, 0.5, 0.0, 0.3])
    total = np.array([1.0])
    for num in range(1, 70):
        total = np.convolve(total, law)
        assert law_of_sum(law, num) == pytest.approx(total, abs=1e-14)


def test_alive_law_is_hypergeometric():
    num_requests, batch_size = 23, 6
    alive = np.array([23, 17, 6, 3, 1])
    law = alive_law(alive, num_requests, batch_size)
    for got, num in zip(law, alive, strict=True):
        others = stats.hypergeom(num_requests - 1, num - 1, batch_size - 1)
        assert got == pytest.approx(others.pmf(np.arange(batch_size)), abs=1e-12)


def test_draining_batches_sum_to_the_mean_over_every_possible_batch():
    """Six requests, batches of three: 20 batches, summed one by one, against the law of the number alive."""
    outputs, size = np.array([3, 9, 9, 1, 14, 6]), 3
    prompts = np.array([5, 40, 12, 70, 33, 8])
    first = np.concatenate([[0], np.cumsum(outputs)])
    paths = Paths(first[:-1], first[1:], prompts - first[:-1])
    fixed_s = np.array([1.0, 1.7, 2.9])  # of a step with 1, 2, 3 alive: no straight line
    per_context_s = np.array([1e-3, 1.9e-3, 2.6e-3])  # times mean context
    knots = ContextKnots(0.0, 100.0, 2)
    seconds = fixed_s[:, None] + per_context_s[:, None] * knots.values
    nothing = np.zeros((1, outputs.sum()), np.uint8)
    visits, shares = drain(paths, nothing[0], nothing, np.zeros(size, np.int64), 0, seconds[..., None], knots)
    assert visits.sums[:, 0].tolist() == outputs.tolist()  # one token a step

    total_s, total_steps = [], []
    for batch in combinations(range(len(outputs)), size):
        members = np.array(batch)
        batch_s = 0.0
        for step in range(outputs[members].max()):
            alive = members[outputs[members] > step]
            mean_context = (prompts[alive] + step).mean()
            batch_s += fixed_s[len(alive) - 1] + per_context_s[len(alive) - 1] * mean_context
        total_s.append(batch_s)
        total_steps.append(outputs[members].max())
    # a batch holds size of the requests, each as often as any other
    assert size * shares[:, 0].mean() == pytest.approx(np.mean(total_steps), rel=1e-12)
    assert size * shares[:, 1].mean() == pytest.approx(np.mean(total_s), rel=1e-12)


COEFFICIENTS = {
    "kind": "linear",
    "target": {"fixed_s": 1e-2, "per_new_token_s": 1e-4, "per_kv_token_s": 0.0},
    "draft": {"fixed_s": 1e-3, "per_new_token_s": 0.0, "per_kv_token_s": 0.0},
    "companion": {"fixed_s": 2e-3, "per_new_token_s": 0.0, "per_kv_token_s": 0.0},
    "overhead_per_step_s": 0.0,
    "draft_is_one_pass": False,
}
LINEAR = LinearLatency.from_json(COEFFICIENTS, "linear")


def uniform_survival_law(k=4, points=101):
    """Tokens of survival uniform on 0..1: at threshold t a sequence keeps k (1 - t) of mean (1 + t)/2."""
    threshold = np.linspace(1.0, 0.0, points)
    kept = k * (1 - threshold)
    believed = kept * (1 + threshold) / 2
    return MethodLaw(
        parse_method(f"sv:k={k}"),
        verified=kept,
        tokens_per_step=1 + believed,
        catch_up=np.zeros(points),
        unscored=np.zeros(points),
        context=np.full(points, 100.0),
        believed=believed,
        added=believed,
        cuts=np.arange(points)[::-1],
    )


def step_at(law, latency, n):
    knots = ContextKnots(100.0, 100.0, 2)
    return expected_step(law, StepTables([Deployment(latency)], [n], [law.method], knots), 0)


def test_budget_where_survival_pays_for_its_seconds():
    """Linear step time: keep tokens down to the survival w with w / c = goodput (first-order condition)."""
    law, n, k = uniform_survival_law(), 64, 4
    kept = step_at(law, LINEAR, n).verified[0]
    threshold = 1 - kept / k
    seconds = k * 1e-3 + 2e-3 + 1e-2 + 1e-4 * n * (1 + kept)
    goodput = n * (1 + kept * (1 + threshold) / 2) / seconds
    assert threshold == pytest.approx(goodput * 1e-4, abs=2 / (n * k) + 1e-3)


@pytest.mark.parametrize("n", [16, 48, 64])
def test_budget_on_stairs_ends_at_an_edge(n):
    pad = 16
    step = step_at(uniform_survival_law(), StairLatency(pad=pad), n)
    tokens = round(step.verified[0] * n) + n
    assert tokens % pad == 0 and tokens > n


def test_first_drop_stops_where_the_best_count_goes_on():
    """64 sequences fill a stair of 64 tokens by themselves: the next token costs a whole stair."""
    law, stairs, n = uniform_survival_law(), StairLatency(pad=64), 64
    chosen = {
        options: step_at(replace(law, method=parse_method(f"sv:k=4{options}")), stairs, n).verified[0]
        for options in ("", ",stop=first-drop", ",stop=first-drop,min_verify=1", ",min_verify=2")
    }
    assert chosen[""] >= 1
    assert chosen[",stop=first-drop"] == 0
    assert chosen[",stop=first-drop,min_verify=1"] == 1
    assert chosen[",min_verify=2"] >= 2


def test_the_accepted_objective_never_verifies_nothing():
    dear = LinearLatency.from_json(
        {**COEFFICIENTS, "target": {"fixed_s": 0.0, "per_new_token_s": 1.0, "per_kv_token_s": 0.0}}, "dear"
    )
    law = uniform_survival_law()
    assert step_at(law, dear, 8).verified[0] == 0
    accepted = replace(law, method=parse_method("sv:k=4,objective=accepted"))
    assert step_at(accepted, dear, 8).verified[0] > 0
