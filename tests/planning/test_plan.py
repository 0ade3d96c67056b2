"""A plan of a small trace, from Python: choice, cost, proof, front, pruning, workers."""

import json
import math
from typing import Any

import pytest
from support.serving_runs import small_trace

import svsim
from svsim.errors import InfeasibleError, InputError
from svsim.latency.linear import LinearLatency
from svsim.planning.result import PlanResult

LINEAR = {
    "kind": "linear",
    "target": {"fixed_s": 0.01, "per_new_token_s": 2e-4, "per_kv_token_s": 1e-7},
    "draft": {"fixed_s": 0.001, "per_new_token_s": 2e-5, "per_kv_token_s": 1e-8},
    "overhead_per_step_s": 0.001,
    "draft_is_one_pass": False,
}
SLOS = ["ttft:p90=0.2", "tpot:p90=0.03"]


def plan_of(slo: list[str] = SLOS, **options: Any) -> PlanResult:
    asked = {"methods": ["td", "sd:k=2"], "max_num_seqs": 32, "jobs": 2, **options}
    return svsim.plan(small_trace(), slo=slo, latency=LinearLatency.from_json(LINEAR, "test"), **asked)


@pytest.fixture(scope="module")
def plain() -> PlanResult:
    return plan_of(demand=30.0)


def test_the_best_costs_least_and_its_fleet_is_proven(plain: PlanResult) -> None:
    best, *others = plain.plans
    assert best["verdict"] == "best" and best is plain.best
    assert best["replicas"] >= math.ceil(30.0 / best["max_rate"])
    assert all(best["gpus"] <= other["gpus"] for other in others if other["gpus"])
    fleet = best["fleet"]
    assert fleet["rate"] == 30.0 and fleet["replicas"] == best["replicas"]
    assert all(slo["met_for_sure"] for slo in fleet["slo"]) and not fleet["saturated"]
    assert fleet["request_throughput"] == pytest.approx(30.0, rel=0.1)


def test_every_objective_holds_at_the_largest_rate_for_sure(plain: PlanResult) -> None:
    for row in plain.plans:
        assert all(slo["met_for_sure"] for slo in row["at_max_rate"]["slo"])
        assert row["max_rate"] <= 1.02 * row["max_rate_ci_high"]
        assert row["at_max_rate"]["rate"] == row["max_rate"]


def test_a_few_percent_more_is_not_sure(plain: PlanResult) -> None:
    """The simulator itself, asked at 10 % above what a replica carries."""
    row = plain.best
    found = svsim.serve_sim(
        small_trace(),
        arrivals=f"poisson:rate={1.1 * row['max_rate']}",
        methods=row["label"],
        latency=LinearLatency.from_json(LINEAR, "test"),
        slo=SLOS,
        max_num_seqs=32,
        duration=400.0 / row["max_rate"],
    )
    assert not all(slo["met_for_sure"] for slo in found.rows[0]["slo"])


def test_the_fleet_meets_its_objectives_under_other_seeds(plain: PlanResult) -> None:
    """At least 36 of 40 independent runs, each judged by itself."""
    row = plain.best
    found = svsim.serve_sim(
        small_trace(),
        arrivals="poisson:rate=30",
        methods=row["label"],
        latency=LinearLatency.from_json(LINEAR, "test"),
        slo=SLOS,
        max_num_seqs=32,
        replicas=row["replicas"],
        duration=12.0,
        warm_up=3.0,
        replications=40,
        seed=77,
    )
    requests = found.requests
    met = 0
    for number in range(40):
        mine = [one for one in requests if one["replication"] == number]
        ttft = sorted(one["ttft_s"] for one in mine)[int(0.9 * (len(mine) - 1))]
        tpot = sorted(one["tpot_s"] for one in mine)[int(0.9 * (len(mine) - 1))]
        met += ttft <= 0.2 and tpot <= 0.03
    assert met >= 36


def test_workers_change_no_byte(plain: PlanResult) -> None:
    again = plan_of(demand=30.0, jobs=1)
    assert json.dumps(again.to_dict()) == json.dumps(plain.to_dict())


def test_the_front_holds_what_no_other_point_beats(plain: PlanResult) -> None:
    met = [p for p in plain.points if p["meets_slo"]]
    front = [p for p in plain.points if p["on_front"]]
    assert front and all(p["meets_slo"] and p["on_curve"] for p in front)
    for point in front:
        assert not any(
            other["tok_s_per_user"] > point["tok_s_per_user"]
            and other["output_tok_s_per_gpu"] > point["output_tok_s_per_gpu"]
            for other in met
        )
    assert {p["method"] for p in plain.points} == {"td", "sd"}
    assert all(
        p["tok_s_per_user_vllm"] == pytest.approx(p["output_tok_s_per_gpu"] / p["mean_running"])
        for p in front
    )


def test_looser_objectives_never_cost_rate(plain: PlanResult) -> None:
    looser = plan_of(["ttft:p90=0.4", "tpot:p90=0.06"])
    rates = {row["label"]: row["max_rate"] for row in plain.plans}
    assert all(row["max_rate"] >= rates[row["label"]] for row in looser.plans)


def test_attainment_is_an_objective_too() -> None:
    found = plan_of(["good=0.9", "ttft:p50=0.2", "tpot:p50=0.03"], methods="td")
    assert found.best["slo_attainment"] >= 0.9


def test_nothing_fits_and_the_closest_is_named() -> None:
    with pytest.raises(
        InfeasibleError, match=r"closest is (td|sd:k=2) on test .*tpot:p90=0.001 is missed by"
    ):
        plan_of(["tpot:p90=0.001"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slo": []}, "`slo` is missing"),
        ({"slo": ["ttft=1"]}, "`slo` ttft=1 is not understood"),
        ({"demand": 0}, "above 0"),
        ({"demand": "diurnal:rate=-1"}, "rate=-1"),
        ({"demand": "weekly:rate=1"}, "is not understood"),
        ({"arrivals": "closed:users=3"}, "steady law"),
        ({"arrivals": "poisson:rate=3"}, "leave it out"),
        ({"tp": [2]}, "give `hardware` too"),
        ({"max_num_seqs": list(range(1, 16_001))}, "candidates would take about"),
    ],
)
def test_bad_questions_get_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        plan_of(**{"slo": SLOS, **options})
    assert "\n" not in str(raised.value)


def test_replicas_follow_the_day() -> None:
    found = plan_of(methods="td", demand="diurnal:rate=40,amplitude=0.8,period=21600")
    hours = found.to_dict()["best"]["hours"]
    assert len(hours) == 6
    assert max(h["rate"] for h in hours) == pytest.approx(72.0, rel=1e-3)
    assert max(h["replicas"] for h in hours) == found.best["replicas"]
    for one in hours:
        assert one["replicas"] >= math.ceil(one["rate"] / found.best["max_rate"])


def test_frames_and_words(plain: PlanResult) -> None:
    assert list(plain.to_frame()["label"]) == [row["label"] for row in plain.plans]
    assert len(plain.pareto()) == len(plain.points)
    assert plain.sentences[0].startswith("Best for 30 requests/s: ")
    assert plain.to_csv().splitlines()[0].startswith("method,label,deployment")
