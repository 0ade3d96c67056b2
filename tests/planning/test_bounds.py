"""What the analytic model rules out: never a rate that was found, never the best."""

from typing import Any

import pytest
from support.serving_runs import small_trace

import svsim
from svsim.latency.linear import LinearLatency
from svsim.open_loop.options import ServeOptions
from svsim.options import RunOptions
from svsim.planning import plan as planning
from svsim.planning.bounds import ROOM, most_rates
from svsim.planning.options import PlanOptions

LINEAR = {
    "kind": "linear",
    "target": {"fixed_s": 0.01, "per_new_token_s": 2e-4, "per_kv_token_s": 1e-7},
    "draft": {"fixed_s": 0.001, "per_new_token_s": 2e-5, "per_kv_token_s": 1e-8},
    "overhead_per_step_s": 0.001,
    "draft_is_one_pass": False,
}
GRID: dict[str, Any] = {
    "slo": ["ttft:p90=0.3", "tpot:p90=0.03"],
    "methods": ["td", "sd:k=2"],
    "max_num_seqs": [2, 24],
    "demand": 60.0,
    "jobs": 2,
}


def plan_of(**options: Any) -> Any:
    latency = LinearLatency.from_json(LINEAR, "test")
    return svsim.plan(small_trace(), latency=latency, **{**GRID, **options})


@pytest.fixture(scope="module")
def whole() -> Any:
    return plan_of(prune=False)


def test_the_best_survives_what_is_left_out(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "WAVE", 2)
    pruned = plan_of()
    assert not whole.left_out and pruned.left_out
    assert any("left out" in note for note in pruned.notes)
    assert pruned.best == whole.best
    could = {(r["label"], r["max_num_seqs"]) for r in whole.plans if r["verdict"] == "could be best"}
    assert could <= {(r["label"], r["max_num_seqs"]) for r in pruned.plans}
    rates = {(r["label"], r["max_num_seqs"]): r["max_rate"] for r in whole.plans}
    for one in pruned.left_out:
        assert one["most_rate"] > rates[one["label"], one["max_num_seqs"]]


def test_bounds_are_above_what_is_found_and_not_far(whole: Any) -> None:
    latency = LinearLatency.from_json(LINEAR, "test")
    run = RunOptions(methods=GRID["methods"], latency=latency)
    options = PlanOptions(ServeOptions(run), slo=GRID["slo"], max_num_seqs=GRID["max_num_seqs"])
    candidates, _ = options.candidates(small_trace(), options.grid(small_trace()))
    most = most_rates(small_trace(), run, candidates, options.slos)
    found = {(r["label"], r["max_num_seqs"]): r["closed_loop_rate"] for r in whole.plans}
    for candidate, rate in zip(candidates, most, strict=True):
        capacity = found[candidate.label, candidate.cell.settings.max_num_seqs]
        assert capacity < rate < 1.3 * ROOM * capacity
