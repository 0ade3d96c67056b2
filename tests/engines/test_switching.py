"""Two models that take turns: the compiled step against a slow loop, the analytic model, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from support import reference_loop
from support.small_traces import StairLatency, independent_trace, with_draft_signals
from support.switching_loop import SwitchingLoop, server_of

from svsim.analytic_model.model import AnalyticModel
from svsim.decoding.presets import parse_method
from svsim.engines import admission
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.engines.step_log import StepWalk
from svsim.errors import InputError, MissingSignalError
from svsim.latency.shape import Role
from svsim.random_streams import RandomStreams
from svsim.trace.parts import MemorySource
from svsim.validation.runnable import check_runs

SEED = 3
SPECS = [
    "ead:tau=1.5",
    "ead:tau=1.5,catch_up=ideal",
    "ead:tau=1.5,catch_up=both",
    "ead:w=2,dwell=3,start=small",
]


@pytest.fixture(autouse=True)
def one_cycle(monkeypatch):
    monkeypatch.setattr(admission, "MIN_POSITIONS", 1)


@pytest.fixture(scope="module")
def trace():
    return with_draft_signals(independent_trace(60, 2, seed=1, output_tokens=(20, 90)))


@pytest.fixture(scope="module")
def many():
    return with_draft_signals(independent_trace(400, 2, seed=1, output_tokens=(20, 90)))


def prepared(trace, spec, batch_size, latency, **settings):
    run = RunSettings((parse_method(spec),), (batch_size,), seed=SEED, **settings)
    return prepare(MemorySource(trace), run, [Deployment(latency)])


def totals_of(trace, spec, batch_size, latency, prefill):
    """The slow loop, on the order and the staggered start of the seed."""
    method, streams = parse_method(spec), RandomStreams(SEED)
    signals = (trace.target.outcomes["target_entropy"], trace.observable.signals["draft_entropy"])
    large = method.switching.large_at_work(*(s[:, 0] for s in signals), trace.first_position).tolist()
    assert 0.1 < np.mean(large) < 0.9
    num = trace.num_requests
    warm_up = streams.generator("warm-up").permutation(num)[: 2 * batch_size]
    order, after = (streams.generator("order", cycle, 0).permutation(num) for cycle in (0, 1))
    loop = SwitchingLoop(
        server_of(large, method.switching.catch_up.value),
        trace,
        latency,
        [*warm_up, *order, *after],
        range(2 * batch_size, 2 * batch_size + num),
        prefill,
    )
    for skip in streams.generator("stagger").random(batch_size):
        loop.slots.append(loop.admit(skip))
        if prefill:
            loop.hold_up(loop.prefill_s([loop.slots[-1].request]))
    while loop.totals.finished < num:
        loop.step()
        loop.replace_finished()
    return loop.totals


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(("batch_size", "prefill"), [(1, "exclude"), (4, "include"), (7, "exclude")])
def test_the_step_is_two_passes(trace, spec, batch_size, prefill):
    latency = StairLatency(pad=4)
    sums = ClosedLoopReplay(prepared(trace, spec, batch_size, latency, prefill=prefill)).run()[0].sums
    totals = totals_of(trace, spec, batch_size, latency, prefill == "include")
    assert sums.emitted_tokens.sum() == totals.tokens
    assert sums.sequence_steps.sum() == totals.sequence_steps == totals.tokens
    assert sums.drafted_tokens.sum() == sums.verified_tokens.sum() == sums.accepted_tokens.sum() == 0
    parts = sums.overhead_s, sums.draft_s, sums.companion_s, sums.verify_s, sums.prefill_s
    clocks = [part.sum() * batch_size for part in parts]
    names = (reference_loop.OVERHEAD, reference_loop.DRAFT, reference_loop.VERIFY, reference_loop.PREFILL)
    assert [clocks[n] for n in names] == pytest.approx([totals.seconds[n] for n in names], rel=1e-4)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    "settings", [{}, {"refill": "static"}, {"batch_of": "copies"}, {"prefill": "include"}]
)
@pytest.mark.parametrize("batch_size", [1, 6])
def test_the_analytic_model_agrees(many, spec, settings, batch_size):
    run = prepared(many, spec, batch_size, StairLatency(pad=4), **settings)
    replayed, analytic = (engine(run).run()[0].sums for engine in (ClosedLoopReplay, AnalyticModel))
    goodput = [s.emitted_tokens.sum() / s.seconds.sum() for s in (replayed, analytic)]
    assert goodput[1] == pytest.approx(goodput[0], rel=0.02)


def test_catching_up_costs_what_it_says(trace):
    """ideal is never the slower, and both models on every token cost both passes whole."""

    def seconds(spec):
        sums = ClosedLoopReplay(prepared(trace, spec, 4, StairLatency(pad=1))).run()[0].sums
        return sums.draft_s.sum(), sums.verify_s.sum()

    ideal, prefill, both = (
        np.array(seconds(f"ead:tau=1.5,catch_up={c}")) for c in ("ideal", "prefill", "both")
    )
    assert (ideal < prefill).all() and (prefill < both).all()
    td = ClosedLoopReplay(prepared(trace, "td", 4, StairLatency(pad=1))).run()[0].sums
    assert both[1] == pytest.approx(td.verify_s.sum(), rel=1e-6)


def test_a_threshold_that_no_text_reaches_leaves_one_model_alone(trace):
    latency = StairLatency(pad=1)
    low, high = (ClosedLoopReplay(prepared(trace, s, 4, latency)).run()[0].sums for s in ("ead:tau=0", "td"))
    assert low.draft_s.sum() == 0 and low.verify_s.sum() == pytest.approx(high.verify_s.sum(), rel=1e-6)
    small = ClosedLoopReplay(prepared(trace, "ead:tau=32,start=small", 4, latency)).run()[0].sums
    assert small.verify_s.sum() == 0 and small.draft_s.sum() > 0


def test_rows_are_lossy_and_approximate(trace):
    record = ClosedLoopReplay(prepared(trace, "ead", 4, StairLatency())).run()[0]
    assert (record.lossless, record.replay_kind, record.is_bound) == (False, "approximate", False)
    greedy = replace(trace, metadata=replace(trace.metadata, sampling={"greedy": True}, chains="coherent"))
    record = ClosedLoopReplay(prepared(greedy, "ead", 4, StairLatency())).run()[0]
    assert (record.lossless, record.replay_kind) == (False, "approximate")


def test_a_trace_without_the_targets_entropy_is_refused(trace):
    without = replace(trace, target=replace(trace.target, outcomes={}))
    with pytest.raises(MissingSignalError, match="ead needs the column target_entropy"):
        prepared(without, "ead", 4, StairLatency())


def test_what_runs_one_target_on_a_device_refuses_it(trace):
    with pytest.raises(InputError, match="ead lets two models take turns"):
        check_runs(parse_method("ead"), {Role.TARGET, Role.DRAFT})
    with pytest.raises(InputError, match="steps are logged for methods that draft all k tokens"):
        StepWalk(prepared(trace, "ead", 4, StairLatency()), 0, 4)
