"""``svsim plan --schedule``: phases on deployments, from the command line and from Python."""

import json
import math

import numpy as np
import pytest
from support.command_line import svsim_json, svsim_refuses, svsim_run
from support.small_traces import LINEAR, independent_trace

import svsim
from svsim.errors import InfeasibleError
from svsim.latency.linear import LinearLatency
from svsim.phase_schedules.residency import OutputLengths, PhaseBatches

LATENCY = LinearLatency.from_json(LINEAR, "linear")
TASK_S = "normal:256/32/252/13/512/80"  # ExeGPT's, table 3


def planned(**words):
    return svsim.plan_schedules(latency=LATENCY, **{"lengths": TASK_S, **words})


def test_a_schedule_is_priced_as_its_passes():
    (row,) = planned(schedule="rra:be=6,nd=5", lengths="fixed:100/20").plans
    batches = PhaseBatches.of(OutputLengths.observed([20]), 5)
    target, overhead_s = LINEAR["target"], LINEAR["overhead_per_step_s"]

    def pass_s(tokens, kv):
        return (
            target["fixed_s"]
            + target["per_new_token_s"] * tokens
            + target["per_kv_token_s"] * kv
            + overhead_s
        )

    kv = 6 * (batches.queries * 100 + batches.output_tokens)
    decode_s = sum(pass_s(tokens, kv) for tokens, kv in zip(6 * batches.queries, kv, strict=True))
    assert row["encode_s"] == pytest.approx(pass_s(600, 0)) and row["decode_s"] == pytest.approx(decode_s)
    assert row["latency_s"] == pytest.approx(4 * row["phase_s"]) and row["bd"] == 24


def test_both_laws_of_task_s():
    rows = {
        row["law"]: row for row in planned(schedule=["rra:be=52,nd=13", "rra:be=52,nd=13,law=paper"]).plans
    }
    assert rows["resident"]["bd"] == pytest.approx(153.2, abs=0.1)
    assert rows["paper"]["bd"] == pytest.approx(131.0, abs=0.1)
    assert rows["paper"]["throughput"] > rows["resident"]["throughput"]  # it overlooks residents


def test_the_bound_is_kept_and_a_tighter_one_costs_throughput():
    free = planned(schedule="rra:be=1-64,nd=1-32").best
    tight = planned(schedule="rra:be=1-64,nd=1-32", slo=f"e2el:p99={0.5 * free['latency_s']}").best
    assert tight["latency_s"] <= 0.5 * free["latency_s"] and tight["throughput"] < free["throughput"]
    with pytest.raises(InfeasibleError, match=r"no rra schedule keeps a latency of 0\.01 s"):
        planned(schedule="rra:be=1-8", slo="e2el:p99=0.01")


def test_lengths_of_a_trace_and_replicas_for_a_demand():
    trace = independent_trace(200, 2, seed=3)
    found = svsim.plan_schedules(trace, schedule=["rra:be=8,nd=8", "waa:be=2"], latency=LATENCY, demand=500)
    assert found.config["mean_output_tokens"] == pytest.approx(trace.num_output_tokens.mean())
    assert found.config["mean_prompt_tokens"] == pytest.approx(trace.num_prompt_tokens.mean())
    for row in found.plans:
        assert row["replicas"] == math.ceil(500 / row["throughput"])
        assert row["gpus"] == row["replicas"] * (2 if row["kind"] == "waa" else 1)  # one group each
    assert found.plans[0]["gpus"] <= found.plans[1]["gpus"]


def test_laws_of_lengths_that_are_drawn_have_their_means():
    found = planned(schedule="rra:be=8,nd=8", lengths="uniform:100/20/0.5")
    assert found.config["mean_output_tokens"] == pytest.approx(20, rel=0.01)
    assert found.config["mean_prompt_tokens"] == pytest.approx(100, rel=0.01)


def test_measured_step_times_end_where_they_were_measured():
    """Passes of more than the calibrated 256 sequences are left out, not invented."""
    (row,) = svsim.plan_schedules("traces/llama70b.parquet", schedule="rra:be=1-16,nd=1-16").plans
    assert row["bd"] <= 256 * 1.01 and row["num_priced"] < row["num_schedules"] == 256


@pytest.fixture
def words(tmp_path):
    (tmp_path / "linear.json").write_text(json.dumps(LINEAR))
    return [
        "plan",
        "--latency",
        tmp_path / "linear.json",
        "--lengths",
        TASK_S,
        "--schedule",
        "rra:be=52,nd=13",
    ]


def test_the_command(words):
    found = svsim_json(*words, "--schedule", "waa:be=4")
    assert [row["schedule"] for row in found["plans"]] and found["best"] == found["plans"][0]
    assert {row["kind"] for row in found["plans"]} == {"rra", "waa"}
    text = svsim_run(*words, "--demand", 5).stdout
    assert "Best: rra:be=52,nd=13" in text and "153.2" in text and "replica" in text
    rows = svsim_run(*words, "--csv", "-").stdout.splitlines()
    assert len(rows) == 2 and rows[0].startswith("schedule,kind,be,nd,law,bd")


@pytest.mark.parametrize(
    ("more", "says", "code"),
    [
        (["--method", "sd:k=3"], "--method has no effect with --schedule", 2),
        (["--slo", "ttft:p99=1"], "give e2el:p99=S", 2),
        (
            ["--demand", "diurnal:rate=20"],
            "--demand diurnal:rate=20: a schedule of phases takes requests/s",
            2,
        ),
        (["--schedule", "waa:nd=3"], "--schedule waa:nd=3: 'nd=3'", 2),
        (["--slo", "e2el:p99=0.001"], "the closest is rra:be=52,nd=13", 3),
    ],
)
def test_errors(words, more, says, code):
    assert says in svsim_refuses(*words, *more, code=code)


def test_the_normal_law_of_lengths():
    from svsim.serving.lengths import LengthLaw

    law = LengthLaw.parse(TASK_S)
    prompt, output = law.draw(100_000, np.random.default_rng(0))
    assert law.text == TASK_S and prompt.max() <= 512 and output.max() <= 80 and output.min() >= 1
    shares = np.bincount(output, minlength=81)[1:] / len(output)
    exact = law.laws[1].probability
    assert np.abs(shares - exact).max() < 4 * np.sqrt(exact.max() / len(output))
    short = law.draw(10, np.random.default_rng(0))
    assert (short[0] == prompt[:10]).all() and (short[1] == output[:10]).all()
