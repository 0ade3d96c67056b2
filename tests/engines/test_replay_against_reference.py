"""The compiled closed loop equals a slow, independent one on small traces, number by number."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support import reference_belief, reference_loop
from support.reference_loop import Server
from support.rival_reference import AdaEdl, Dspark, Ladder, Seen, SmartSpec, Tetris, VllmAdaptive
from support.small_traces import StairLatency, independent_trace, with_draft_signals

from svsim.decoding.drafters import EarlyExitDrafter, HeadDrafter, drafter_named
from svsim.decoding.presets import PRESETS, parse_method
from svsim.engines import admission
from svsim.engines.binding import Deployment, bind_columns
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.latency.host import HostTime
from svsim.latency.shape import Role
from svsim.random_streams import RandomStreams
from svsim.trace.parts import MemorySource

SEED = 3


@pytest.fixture(autouse=True)
def one_cycle(monkeypatch):
    monkeypatch.setattr(admission, "MIN_POSITIONS", 1)


# -- methods as servers: (k, columns) -> Server --------------------------------------------------------


def everything(k, columns, **kind):
    return Server(k, lambda step: [k] * len(step.positions), **kind)


def best_goodput(k, columns, **kind):
    survival = columns.survival

    def lengths(step):
        rows = [survival[p] for p in step.positions]
        return reference_loop.select(rows, len(rows), step.verify_s, step.fixed_s)

    return Server(k, lengths, **kind)


def answers(k, columns, **kind):
    return Server(k, lambda step: [min(a, k) for a in step.answers], **kind)


def planned(k, columns, **kind):
    lengths = columns.planned.tolist()
    return Server(k, lambda step: [lengths[p] for p in step.positions], **kind)


def rule(literal, **kind):
    """A rule read literally, told of its own steps."""

    def server(k, columns):
        levels = columns.survival.tolist() if len(columns.survival) else [[0] * k] * len(columns.accepted)

        def lengths(step):
            rows = [levels[p] for p in step.positions]
            return literal.lengths(
                Seen(rows, step.verify_s, step.fixed_s, step.draft_s, step.accepted, step.verified)
            )

        return Server(k, lengths, **kind)

    return server


def kind_of(server, **kind):
    return lambda k, columns: server(k, columns, **kind)


SV = kind_of(best_goodput, companion=True)
# spec -> what it is
METHODS = {
    "td": lambda: everything,
    "sd:k=1": lambda: everything,
    "sd:k=4": lambda: everything,
    "sv:k=4": lambda: SV,
    "oracle:k=4": lambda: answers,
    "oracle:k=4,draft=exact": lambda: kind_of(answers, drafts_them=True),
    "oracle-belief:k=4": lambda: best_goodput,
    "svip:k=4": lambda: kind_of(planned, drafts_them=True),
    "disco:k=4": lambda: kind_of(planned, drafts_them=True),
    "dyspec:k=3": lambda: kind_of(planned, drafts_them=True),
    "staged:k=4": lambda: kind_of(planned, companion=True),
    "smartspec:k=4,every=3": lambda: rule(SmartSpec(every=3), drafts_them=True),
    "smartspec:k=4,every=2,start=0.1,retry=6": lambda: rule(
        SmartSpec(every=2, start=0.1, retry=6), drafts_them=True
    ),
    "adaedl:k=4": lambda: rule(AdaEdl(), drafts_them=True),
    "adaedl:k=4,aim=0.6,pace=0.1": lambda: rule(AdaEdl(aim=0.6, pace=0.1), drafts_them=True),
    "tetris:k=4": lambda: rule(Tetris()),
    "tetris:k=4,extra=3": lambda: rule(Tetris(3)),
    "eagle:k=3": lambda: kind_of(everything, drafter="head", head_share=0.1),
    "eagle:k=4,head_share=0.03": lambda: kind_of(everything, drafter="head", head_share=0.03),
    "dspark:k=4": lambda: rule(Dspark()),
    "dspark:k=4,signal=draft_confidence,search=global": lambda: rule(Dspark("global")),
    "vllm-adaptive:k=4": lambda: rule(VllmAdaptive()),
    "vllm-adaptive:k=4,signal=draft_confidence,lag=2": lambda: rule(VllmAdaptive(2)),
    "vllm-ladder:ladder=2-4/5-1": lambda: rule(Ladder((1, 2, 4), (3, 5, 1)), drafts_them=True),
    "kangaroo:k=4,exit=0.3,eta=0.5": lambda: kind_of(
        planned, drafts_them=True, drafter="early_exit", exit_share=0.3
    ),
    "magicdec:k=3,budget=40": lambda: kind_of(everything, drafter="target", budget=40),
    "magicdec:k=4,budget=30,drafter=draft": lambda: kind_of(everything, budget=30),
    "easyspec:k=4,n=4,attention_share=0.4,exchange_s=0.001": lambda: kind_of(
        everything, drafter="fuzzy", fuzzy=0.7, beside_s=1e-3
    ),
    "pearl:gamma=1": lambda: kind_of(everything, gamma=1),
    "pearl:gamma=3": lambda: kind_of(everything, gamma=3),
    "pearl:gamma=15,sync_s=0.0003": lambda: kind_of(everything, gamma=15, sync_s=0.0003),
    "sv:k=4,overlap=half": lambda: kind_of(best_goodput, companion=True, slowdowns=(1 / 0.3, 1 / 0.7)),
    "sv:k=4,overlap=full,draft_slowdown=6.0,verify_slowdown=1.0": lambda: kind_of(
        best_goodput, companion=True, slowdowns=(6.0, 1.0)
    ),
}


def test_every_preset_is_here():
    """But SV's causal rule (test_causal_goodput), and what accepts or drafts in its own way
    (test_lossy_methods, test_block_methods, test_switching, test_exit_methods, test_joint)."""
    elsewhere = {"sv-lossless", "judge", "reflect", "diffuspec", "ead", "del", "joint"}
    elsewhere |= {"tree", "medusa", "sequoia", "eagle2", "eagle3", "stree", "longspec"}  # test_trees
    assert {spec.partition(":")[0] for spec in METHODS} | elsewhere == set(PRESETS)


@pytest.fixture(scope="module")
def trace():
    return with_draft_signals(independent_trace(40, 4, seed=1))


class OnePassLatency(StairLatency):
    """The drafter proposes all its tokens in one pass."""

    draft_is_one_pass = True
    separates_head = False


# what the reference does not lay beside a latency file whose drafter costs one pass, nor prefill
ABOUT_DRAFTERS = [s for s in METHODS if parse_method(s).is_about_drafter and "pearl" not in s]
NOT_OF_ONE_PASS = ("draft=exact", "drafter=draft", "pearl")


@pytest.mark.parametrize("spec", [s for s in METHODS if not any(word in s for word in NOT_OF_ONE_PASS)])
def test_drafts_of_one_pass(trace, spec):
    equals_the_reference_loop(trace, 4, spec, OnePassLatency(pad=4))


@pytest.mark.parametrize("batch_size", [1, 4, 8])
@pytest.mark.parametrize("spec", METHODS)
def test_drafts_pass_by_pass(trace, batch_size, spec):
    equals_the_reference_loop(trace, batch_size, spec, StairLatency(pad=4))


# who drafts -> the drafter, and what it does in the reference
DRAFTERS = {
    "head": (drafter_named("eagle3"), {"drafter": "head"}),
    "head by share": (HeadDrafter(0.07), {"drafter": "head", "head_share": 0.07}),
    "block": (drafter_named("dflash"), {"drafter": "block"}),
    "n-gram": (drafter_named("ngram"), {"drafter": "ngram"}),
    "early exit": (EarlyExitDrafter(0.3), {"drafter": "early_exit", "exit_share": 0.3}),
}
# a method of every kind: uniform, planned, selected after the draft and before it
DRAFTED = ["sd:k=4", "sv:k=4", "svip:k=4", "staged:k=4", "smartspec:k=4,every=3", "adaedl:k=4"]
DRAFTED += ["tetris:k=4", "oracle:k=4,draft=exact", "vllm-ladder:ladder=2-4/5-1"]
READ_OFF_THE_DRAFT = ("svip", "oracle")


@pytest.mark.parametrize("batch_size", [1, 6])
@pytest.mark.parametrize("spec", DRAFTED)
@pytest.mark.parametrize("who", DRAFTERS)
def test_every_drafter_drafts_for_every_kind_of_method(trace, batch_size, spec, who):
    drafter, kind = DRAFTERS[who]
    if who == "block" and spec.startswith(READ_OFF_THE_DRAFT):
        kind = {"drafter": "whole_block"}  # it comes at once: too late to stop it
    equals_the_reference_loop(trace, batch_size, spec, StairLatency(pad=4), drafter, **kind)


class SteepLatency(StairLatency):
    """Verified tokens are dear, so that lengths hang on what is believed of each."""

    def predict_s(self, shape):
        _, tokens, _ = shape.broadcast()
        return super().predict_s(shape) + (1.5e-3 * tokens if shape.role is Role.TARGET else 0.0)


@pytest.mark.parametrize("spec", ["sv:k=4", "oracle-belief:k=4"])
def test_lengths_hang_on_the_belief(trace, spec):
    sums = equals_the_reference_loop(trace, 4, spec, SteepLatency(pad=1))
    assert 0.2 < sums.verified_tokens.sum() / sums.drafted_tokens.sum() < 0.9


class HostLatency(StairLatency):
    """Host time that depends on what is speculated."""

    def host_time(self, speculation):
        passes = speculation.num_draft_passes
        return HostTime(1e-3 + 2e-3 * (passes > 0), 3e-4 * (passes > 0), 4e-4 * passes)


@pytest.mark.parametrize(
    ("spec", "who", "host"),
    [
        ("td", None, (1e-3, 0.0, 0.0)),
        ("sd:k=4", None, (3e-3, 3e-4, 1.6e-3)),
        ("sd:k=4", "n-gram", (1e-3, 0.0, 0.0)),
        ("sv:k=4", "head", (3e-3, 3e-4, 1.6e-3)),
        ("svip:k=4", "block", (3e-3, 3e-4, 4e-4)),
        ("smartspec:k=4,every=3", "early exit", (3e-3, 3e-4, 1.6e-3)),
        ("pearl:gamma=3", None, (3e-3, 3e-4, 1.2e-3)),
    ],
)
def test_host_time_per_step_sequence_and_draft_pass(trace, spec, who, host):
    drafter, kind = DRAFTERS[who] if who else (None, {})
    if who == "block":
        kind = {"drafter": "whole_block"}
    equals_the_reference_loop(trace, 6, spec, HostLatency(pad=4), drafter, host=host, **kind)


def equals_the_reference_loop(trace, batch_size, spec, latency, by=None, prefill="exclude", **kind):
    """Counts exactly, every clock up to the interpolation of prices."""
    method = parse_method(spec)
    method = method if by is None else method.with_drafter(by)
    settings = RunSettings((method,), (batch_size,), seed=SEED, prefill=prefill)
    prepared = prepare(MemorySource(trace), settings, [Deployment(latency)])
    sums = ClosedLoopReplay(prepared).run()[0].sums

    part, streams = prepared.trace, RandomStreams(SEED)
    together = batch_size // 2 if "overlap=half" in spec and batch_size > 1 else batch_size
    warm_up = streams.generator("warm-up").permutation(part.num_requests)[: 2 * together]
    order, after = (streams.generator("order", cycle, 0).permutation(part.num_requests) for cycle in (0, 1))
    columns = columns_of(trace, prepared, spec)
    server = replace(METHODS[spec]()(method.num_speculative_tokens, columns), **kind)
    if "overlap=half" in spec and batch_size == 1:
        server.slowdowns = None  # nothing to lay beside it
    totals = reference_loop.run(
        server,
        part,
        latency,
        [*warm_up, *order, *after],
        streams.generator("stagger").random(together),
        2 * together,
        part.num_requests,
        prefill == "include",
    )
    assert sums.emitted_tokens.sum() == totals.tokens
    assert sums.sequence_steps.sum() == totals.sequence_steps
    assert sums.accepted_tokens.sum() == totals.accepted
    assert sums.verified_tokens.sum() == totals.verified
    assert sums.drafted_tokens.sum() == totals.drafted
    same_clocks(sums, totals, together)
    return sums


def same_clocks(sums, totals, num_sequences):
    """Overhead, draft, companion, verification and prefill, and their sum."""
    parts = sums.overhead_s, sums.draft_s, sums.companion_s, sums.verify_s, sums.prefill_s
    clocks = [part.sum() * num_sequences for part in parts]
    assert clocks == pytest.approx(totals.seconds, rel=1e-4)
    assert sum(clocks) == pytest.approx(sum(totals.seconds), rel=1e-5)


def columns_of(trace, prepared, spec):
    """What rules look up per position. Beliefs of SV and of its bound are learnt and multiplied out here."""
    columns = bind_columns(prepared.methods[0], prepared.trace, prepared.settings.coins, 0)
    k, part = prepared.methods[0].num_speculative_tokens, prepared.trace
    survival = columns.survival
    if spec.startswith("sv:"):
        kept = set(part.request_ids)
        rows = trace.rows_of(np.array([i for i, r in enumerate(trace.request_ids) if r not in kept]))
        signals = trace.observable.signals
        first = (signals["similarity"], signals["companion_accept"], trace.target.accept_prob)
        belief = reference_belief.learnt(list(zip(*(c[rows, 0].tolist() for c in first), strict=True)))
        seen = (part.observable.signals[name][:, :k] for name in ("similarity", "companion_accept"))
        survival = reference_belief.survival(belief, *seen)
    elif spec.startswith("oracle-belief"):
        survival = reference_belief.survival(
            lambda accept, _: accept, part.target.accept_prob[:, :k], part.target.accept_prob[:, :k]
        )
    return SimpleNamespace(accepted=columns.accepted, planned=columns.planned, survival=survival)


@pytest.mark.parametrize("spec", ["td", "sd:k=4", "sv:k=4", "svip:k=4", "smartspec:k=4,every=3"])
def test_prefill_holds_up_everybody(trace, spec):
    equals_the_reference_loop(trace, 6, spec, StairLatency(pad=4), prefill="include")


@pytest.mark.parametrize("prefill", ["include", "exclude"])
@pytest.mark.parametrize(
    "batch_size", [1, 5]
)  # of 6, the ladder drafts nothing until a drafter owes too much
@pytest.mark.parametrize(
    "spec", [spec for spec in METHODS if "overlap" not in spec and spec not in ABOUT_DRAFTERS]
)
def test_static_batches(trace, batch_size, spec, prefill):
    """A batch is prefilled as one pass over all its prompts, and drains: who ended costs nothing."""
    method, latency = parse_method(spec), StairLatency(pad=4)
    settings = RunSettings((method,), (batch_size,), seed=SEED, refill="static", prefill=prefill)
    prepared = prepare(MemorySource(trace), settings, [Deployment(latency)])
    sums = ClosedLoopReplay(prepared).run()[0].sums
    order = RandomStreams(SEED).generator("order", 0, 0).permutation(prepared.part.num_requests)
    server = METHODS[spec]()(method.num_speculative_tokens, columns_of(trace, prepared, spec))
    totals = reference_loop.run_static(
        server, prepared.trace, latency, order, batch_size, prefill == "include"
    )
    assert sums.emitted_tokens.sum() == totals.tokens
    assert sums.sequence_steps.sum() == totals.sequence_steps
    assert sums.accepted_tokens.sum() == totals.accepted
    assert sums.verified_tokens.sum() == totals.verified
    assert sums.drafted_tokens.sum() == totals.drafted
    same_clocks(sums, totals, 1)


def test_lone_request_is_a_walk_over_its_positions():
    """Batch 1, one request: steps are the renewal walk, by hand."""
    trace = independent_trace(1, 3, seed=5, output_tokens=(30, 31))
    accepted = trace.target.num_accepted
    position = steps = 0
    while position < 30:
        position += min(int(accepted[position]), 2) + 1
        steps += 1
    settings = RunSettings((parse_method("sd:k=2"),), (1,))
    prepared = prepare(MemorySource(trace), settings, [Deployment(StairLatency())])
    sums = ClosedLoopReplay(prepared).run()[0].sums
    cycles = sums.emitted_tokens.sum() / 30
    assert sums.sequence_steps.sum() == steps * cycles
    assert sums.accepted_tokens.sum() == (position - steps) * cycles
