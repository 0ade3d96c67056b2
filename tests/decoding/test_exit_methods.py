"""DEL: a slow loop that is told of every exit, fixed choices, regimes that change, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from support.rival_reference import Del
from support.small_traces import StairLatency, independent_trace
from support.tiny_models import TinyModels

import svsim
from svsim.decoding.exit_rules import runs_of_matches
from svsim.decoding.method import Losslessness
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.errors import InputError, MethodError, MissingSignalError
from svsim.latency.geometry import model_geometry
from svsim.latency.linear import LinearLatency
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.synthetic.method_columns import with_columns
from svsim.trace.parts import MemorySource

LAYERS, OF = (2, 4, 8), 32
# a pass takes as long as its layers, whatever is in it: the cost that DEL's rule believes in
BY_LAYERS = LinearLatency.from_json(
    {
        "kind": "linear",
        "target": {"fixed_s": 0.02, "per_new_token_s": 1e-9, "per_kv_token_s": 0.0},
        "overhead_per_step_s": 0.0,
    },
    "layers",
)
ON_GPU = RooflineLatency.of("h100_sxm", 1, model_geometry("llama-3.1-8b"))


def with_exits(plain, acceptance=".5/.7/.8"):
    return with_columns(plain, [f"exits:layers=2/4/8,of=32,acceptance={acceptance}"], 0)[0]


@pytest.fixture(scope="module")
def trace():
    plain = independent_trace(
        300, 4, seed=6, greedy=True, accept_prob=0.7, output_tokens=(80, 160), chains="coherent"
    )
    return with_exits(plain)


# -- a slow loop -----------------------------------------------------------------------------------------


def pass_s(latency, sequences, tokens, kv, share, rows=None):
    return float(latency.predict_s(StepShape(Role.TARGET, sequences, tokens, kv, share, rows)))


def slow_batch(trace, latency, controller):
    """All requests at once until the last has ended: (steps, accepted, drafted, draft_s, verify_s)."""
    match = trace.target.outcomes["exit_match"] > 0
    at, end = trace.first_position[:-1].copy(), trace.first_position[1:]
    base = trace.num_prompt_tokens - trace.first_position[:-1]
    steps = accepted = drafted = 0
    draft_s = verify_s = 0.0
    alive = list(range(len(at)))
    while alive:
        n, kv = len(alive), int(sum(at[r] + base[r] for r in alive))

        def seconds(number, length, n=n, kv=kv):
            share = LAYERS[number] / OF
            drafting = sum(pass_s(latency, n, n, kv + j * n, share, n) for j in range(length))
            early = pass_s(latency, n, n, kv, share, 0.0)
            return drafting, early + pass_s(latency, n, n * (length + 1), kv, 1 - share)

        number, length = controller.choice(
            lambda *choice, seconds=seconds: sum(seconds(*choice)) + latency.overhead_per_step_s
        )
        draft_s, verify_s = draft_s + seconds(number, length)[0], verify_s + seconds(number, length)[1]
        right, seen = np.zeros(len(LAYERS)), 0
        for r in alive:
            kept = 0
            while kept < length and at[r] + kept < end[r] and match[at[r] + kept, number]:
                kept += 1
            rows = slice(at[r], min(at[r] + kept + 1, end[r]))
            right += match[rows].sum(axis=0)
            seen += rows.stop - rows.start
            accepted, drafted, steps = accepted + kept, drafted + length, steps + 1
            at[r] += kept + 1
        controller.hear(right, seen)
        alive = [r for r in alive if at[r] < end[r]]
    return steps, accepted, drafted, draft_s, verify_s


@pytest.mark.parametrize("cost", ["paper", "price"])
@pytest.mark.parametrize("latency", [StairLatency(pad=4), BY_LAYERS], ids=["stairs", "layers"])
def test_a_slow_loop_takes_the_same_steps(latency, cost):
    small = with_exits(independent_trace(9, 4, seed=2, greedy=True, output_tokens=(40, 90)))
    run = RunSettings((parse_method(f"del:d_max=5,cost={cost}"),), (9,), refill="static")
    prepared = prepare(MemorySource(small), run, [Deployment(latency)])
    sums = ClosedLoopReplay(prepared).run()[0].sums
    slow = slow_batch(small, latency, Del(LAYERS, OF, 5, by_price=cost == "price"))
    assert (sums.sequence_steps.sum(), sums.accepted_tokens.sum(), sums.drafted_tokens.sum()) == slow[:3]
    assert sums.draft_s.sum() == pytest.approx(slow[3], rel=1e-4)
    assert sums.verify_s.sum() == pytest.approx(slow[4], rel=1e-4)


def test_runs_end_with_their_request():
    match = np.array([[1, 0], [1, 1], [0, 1], [1, 1], [1, 1]], np.float32)
    runs = runs_of_matches(match, np.array([0, 2, 5]), 2)
    assert runs.tolist() == [[2, 0], [1, 1], [0, 2], [2, 2], [1, 1]]


# -- what it is worth ------------------------------------------------------------------------------------


def goodput(trace, methods, latency=BY_LAYERS, batch_size=1, engine=svsim.replay):
    rows = engine(trace, methods=methods, latency=latency, batch_sizes=[batch_size]).rows
    return {row.label: row.goodput_tok_s for row in rows if row.method == "del"}


FIXED = [f"del:exit={layer},d={d}" for layer in LAYERS for d in range(1, 9)]


def test_within_five_percent_of_the_best_fixed_choice_where_nothing_changes(trace):
    found = goodput(trace, ["del", *FIXED])
    best = max(found[text] for text in FIXED)
    assert 0.95 < found["del"] / best < 1.02
    assert found["del"] > 1.1 * np.mean([found[text] for text in FIXED])


def test_better_than_any_fixed_choice_where_regimes_change(trace):
    """In the first half of a request the first exit is nearly always right, in the second hardly ever."""
    half = np.concatenate([np.arange(n) < n / 2 for n in trace.num_output_tokens])
    rng = np.random.default_rng(3)
    chance = np.where(half[:, None], [[0.95, 0.96, 0.97]], [[0.1, 0.3, 0.6]])
    match = (rng.random(chance.shape) < chance).astype(np.float32)
    target = replace(trace.target, outcomes={"exit_match": match})
    found = goodput(replace(trace, target=target), ["del", *FIXED])
    assert found["del"] > 1.02 * max(found[text] for text in FIXED)


def test_prices_serve_better_than_layers_where_they_differ(trace):
    """At batch 64 draft tokens are no longer free to verify."""
    found = goodput(trace, ["del", "del:cost=price"], ON_GPU, 64)
    assert found["del:cost=price"] > found["del"]


@pytest.mark.parametrize("batch_of", ["requests", "copies"])
@pytest.mark.parametrize("refill", ["continuous", "static"])
def test_the_analytic_model_follows_the_same_rule(trace, refill, batch_of):
    options = {"methods": ["del", "del:cost=price", "del:exit=4,d=2"], "latency": ON_GPU}
    options |= {"batch_sizes": [1, 12], "refill": refill, "batch_of": batch_of}
    replayed, analytic = svsim.replay(trace, **options), svsim.analytic(trace, **options)
    for mine, theirs in zip(analytic.rows, replayed.rows, strict=True):
        assert mine.goodput_tok_s == pytest.approx(theirs.goodput_tok_s, rel=0.02)
        assert mine.mean_acceptance_length == pytest.approx(theirs.mean_acceptance_length, rel=0.02)


# -- labels and refusals -----------------------------------------------------------------------------------


def test_the_choice_is_made_before_the_draft_and_so_is_lossless(trace):
    """Any length from the past keeps the law, sampled or not; greedy traces replay exactly."""
    method = parse_method("del")
    assert method.lossless is Losslessness.LOSSLESS
    for vocabulary, length in ((2, 0), (3, 1), (3, 2)):
        models = TinyModels.random(np.random.default_rng(length), vocabulary, 2)
        assert models.bias(np.full(len(models.drafts), length)) < 1e-12
    row = svsim.replay(trace, methods=["del"], latency=BY_LAYERS, batch_sizes=[2]).rows[-1]
    assert row.replay_kind == "exact" and row.lossless


def test_refusals(trace):
    def prepared(some, text):
        run = RunSettings((parse_method(text),), (2,))
        return prepare(MemorySource(some), run, [Deployment(BY_LAYERS)])

    with pytest.raises(MethodError, match="the trace holds exits after layers 2/4/8; give one of them"):
        prepared(trace, "del:exit=5")
    with pytest.raises(MethodError, match="d=9 exceeds d_max=8"):
        parse_method("del:d=9")
    bare = replace(trace, target=replace(trace.target, outcomes={}))
    with pytest.raises(MissingSignalError, match=r"needs the column exit_match .*--also exits:"):
        prepared(bare, "del")
    with pytest.raises(InputError, match="del chooses one exit for the whole batch"):
        svsim.serve_sim(
            trace, methods=["del"], latency=ON_GPU, arrivals="poisson:rate=2", lengths="fixed:64/16"
        )
