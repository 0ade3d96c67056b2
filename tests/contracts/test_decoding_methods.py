"""One contract for every decoding method: it binds, replays, keeps the invariants and the oracle boundary."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from support.small_traces import StairLatency, independent_trace, with_draft_signals, with_method_columns

from svsim.decoding.presets import PRESETS, parse_method
from svsim.engines import admission
from svsim.engines.binding import Deployment, bind_columns
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.errors import LatencyError, MissingSignalError
from svsim.latency.shape import Role, StepShape
from svsim.trace.accept_histogram import HISTOGRAM
from svsim.trace.parts import MemorySource
from svsim.trace.token_trace import ObservableColumns, TokenTrace

K = 4
TREES = [
    "tree:m=12,depth=4",
    "medusa:m=12,head_share=0.1",
    "sequoia:m=8,depth=3",
    "eagle2:m=12,depth=3,beam=4,head_share=0.1",
    "eagle3:m=20,depth=7,head_share=0.1",
    "stree",
    "longspec:shape=2/4/3,head_share=0.1",
]
METHODS = [
    "td",
    "sd:k=1",
    "sd:k=4",
    "sv:k=1",
    "sv:k=4",
    "sv:k=3,objective=accepted,stop=first-drop",
    "sv:k=4,min_verify=2",
    "sv-lossless:k=1,unseen=similarity",
    "sv-lossless:k=4,unseen=similarity",
    "sv-lossless:k=4,unseen=histogram",
    "sv:k=4,overlap=half",
    "sv:k=4,overlap=full,draft_slowdown=1.0,verify_slowdown=1.0",
    "sv-lossless:k=4,unseen=similarity,overlap=half",
    "smartspec:k=4",
    "smartspec:k=4,every=1,start=0.9,retry=3",
    "svip:k=4",
    "adaedl:k=4",
    "adaedl:k=4,aim=0.6,pace=0.2",
    "disco:k=4",
    "dyspec:k=4,threshold=0.3",
    "tetris:k=4",
    "tetris:k=4,extra=3",
    "staged:k=4",
    "eagle:k=3",
    "dspark:k=4",
    "dspark:k=4,signal=draft_confidence",
    "dspark:k=4,signal=similarity,search=global",
    "vllm-adaptive:k=4",
    "vllm-adaptive:k=4,signal=draft_confidence,lag=2",
    "vllm-ladder:ladder=4-3/8-1",
    "kangaroo:k=4,exit=0.3",
    "magicdec:k=3,budget=30",
    "magicdec:k=4,budget=30,drafter=draft",
    "easyspec:k=4,attention_share=0.3",
    "easyspec:k=4,attention_share=0.3,acceptance_loss=0.07",
    "judge:k=4,share=0.3",
    "judge:k=4,share=column",
    "reflect:k=4",
    "diffuspec",
    "ead",
    "ead:w=2,dwell=3,tau=0.8,catch_up=both,start=small",
    "pearl",
    "pearl:gamma=3,sync_s=0.001",
    "del",
    "del:cost=price,d_max=4,exit=4",
    "joint:k=4",
    "joint:k=3,midstop=no",
    *TREES,
    "oracle:k=4",
    "oracle:k=4,draft=exact",
    "oracle-belief:k=4",
]
BUILT = {text: parse_method(text) for text in METHODS}
BOUNDS = [text for text in METHODS if text.startswith("oracle")]
POLICIES = [text for text in METHODS if text not in BOUNDS]
READING = [text for text in METHODS if BUILT[text].signals]
LEARNING = [text for text in METHODS if BUILT[text].belief and BUILT[text].belief.needs_profile]
# lengths of their own choice, that prices move
SELECTING = [
    text
    for text in METHODS
    if BUILT[text].name in ("sv", "sv-lossless", "dspark", "vllm-adaptive", "oracle-belief")
]
BATCH = 8
SEED = 2


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    monkeypatch.setattr(admission, "MIN_POSITIONS", 1)


@pytest.fixture(scope="module")
def trace() -> TokenTrace:
    """60 synthetic requests with every signal that a preset may ask for."""
    made = with_draft_signals(independent_trace(60, K, seed=8))
    shares = np.random.default_rng(8).dirichlet(np.ones(8), (made.num_positions, K)).astype(np.float32)
    signals = dict(made.observable.signals) | {name: shares[..., b] for b, name in enumerate(HISTOGRAM)}
    return with_method_columns(replace(made, observable=ObservableColumns(signals)))


def prepared(trace, text, batch_size=BATCH, **settings):
    run = RunSettings((parse_method(text),), (batch_size,), seed=SEED, **settings)
    return prepare(MemorySource(trace), run, [Deployment(StairLatency(pad=4))])


def sums(trace, text, batch_size=BATCH, **settings):
    return ClosedLoopReplay(prepared(trace, text, batch_size, **settings)).run()[0].sums


def goodput(got):
    return got.emitted_tokens.sum() / got.seconds.sum()


def with_target(trace, rng, *, requests, num_accepted=False):
    """The trace with another truth for the given requests: acceptance, overlap, and coins if asked."""
    rows = trace.rows_of(requests)
    accept, accepted = trace.target.accept_prob.copy(), trace.target.num_accepted.copy()
    accept[rows] = rng.random((len(rows), K))
    if num_accepted:
        accepted[rows] = rng.integers(0, K + 1, len(rows))
    return replace(trace, target=replace(trace.target, accept_prob=accept, num_accepted=accepted))


def evaluation_requests(trace, text):
    """Numbers of the requests that are replayed."""
    names = {name: r for r, name in enumerate(trace.request_ids)}
    return np.array([names[name] for name in prepared(trace, text).trace.request_ids])


def test_every_preset_is_here():
    assert {text.partition(":")[0] for text in METHODS} == set(PRESETS)


@pytest.mark.parametrize("refill", ["continuous", "static"])
@pytest.mark.parametrize("batch_size", [1, 6])
@pytest.mark.parametrize("text", METHODS)
def test_counts_add_up(trace, text, batch_size, refill):
    """accepted <= verified <= drafted <= K a step; every step emits what it accepts and one token more.

    A parallel pipeline has no such token in a step whose tokens were all accepted.
    """
    method = parse_method(text)
    got = sums(trace, text, batch_size, refill=refill)
    steps, accepted, verified = got.sequence_steps, got.accepted_tokens, got.verified_tokens
    k = method.num_speculative_tokens
    if method.pipeline.is_parallel:
        k = round(got.drafted_tokens.sum() / steps.sum())
        assert got.drafted_tokens.sum() == k * steps.sum() and accepted.sum() < got.emitted_tokens.sum()
    assert (accepted <= verified).all() and (verified <= got.drafted_tokens).all()
    assert (got.drafted_tokens <= k * steps).all()
    assert (got.emitted_tokens > 0).all() and (got.seconds > 0).all()
    # a request's last step may emit past its end: at most K tokens too many
    excess = accepted + steps - got.emitted_tokens
    if method.pipeline.is_parallel:
        assert (excess >= 0).all() and (got.emitted_tokens >= accepted).all()
        return
    together = method.pipeline.micro_batch_size(batch_size)
    requests = len(got.emitted_tokens) if refill == "continuous" else together * len(got.emitted_tokens)
    assert (excess >= 0).all() and excess.sum() <= k * requests


@pytest.mark.parametrize("text", METHODS)
def test_same_seed_same_bytes(trace, text):
    first, second = (sums(trace, text) for _ in range(2))
    parallel = sums(trace, text, jobs=2)
    for name in first.__dataclass_fields__:
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
        assert getattr(first, name).tobytes() == getattr(parallel, name).tobytes()


@pytest.mark.parametrize("text", METHODS)
def test_the_trace_is_left_alone(trace, text):
    columns = [*trace.observable.signals.values(), trace.target.num_accepted, trace.target.accept_prob]
    before = [column.tobytes() for column in columns]
    sums(trace, text)
    assert [column.tobytes() for column in columns] == before


@pytest.mark.parametrize("text", POLICIES)
def test_a_policy_never_sees_the_targets_answer(trace, text):
    """Another truth at the replayed positions changes nothing that the method knows there."""
    requests = evaluation_requests(trace, text)
    other = with_target(trace, np.random.default_rng(1), requests=requests, num_accepted=True)
    known = []
    for some in (trace, other):
        run = prepared(some, text)
        columns = bind_columns(run.methods[0], run.trace, run.settings.coins, 0)
        known.append((columns.survival, columns.looked_at, columns.planned))
    for before, after in zip(*known, strict=True):
        np.testing.assert_array_equal(before, after)


# a judge goes on behind a rejected token, where recorded coins say nothing and probabilities do
@pytest.mark.parametrize("text", [text for text in POLICIES if not text.startswith("judge")])
def test_lengths_follow_from_the_positions_visited(trace, text):
    """Other probabilities behind the same coins: the same steps, verified tokens and seconds."""
    requests = evaluation_requests(trace, text)
    before = sums(trace, text)
    after = sums(with_target(trace, np.random.default_rng(1), requests=requests), text)
    for name in before.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


@pytest.mark.parametrize("text", BOUNDS)
def test_a_bound_does_see_it(trace, text):
    """The negative control of the two tests above."""
    requests = np.arange(trace.num_requests)
    other = with_target(trace, np.random.default_rng(1), requests=requests, num_accepted=True)
    bound = [bind_columns(parse_method(text), t, RunSettings((), ()).coins, 0) for t in (trace, other)]
    before, after = ((b.survival if "belief" in text else b.planned) for b in bound)
    assert before.size and (before != after).any()
    assert parse_method(text).is_bound
    assert not any(BUILT[policy].is_bound for policy in POLICIES)


@pytest.mark.parametrize("text", LEARNING)
def test_a_belief_is_learnt_from_other_requests_only(trace, text):
    """Nothing about the replayed requests reaches it; the truth about the profile requests does."""
    replayed = evaluation_requests(trace, text)
    profile = np.setdiff1d(np.arange(trace.num_requests), replayed)
    assert len(replayed) > 0 and len(profile) > 0
    probe = trace.observable

    def believed(some):
        belief = prepared(some, text).methods[0].belief
        return belief.survival(probe.require(belief.signals, text))

    before = believed(trace)
    rng = np.random.default_rng(3)
    np.testing.assert_array_equal(
        before, believed(with_target(trace, rng, requests=replayed, num_accepted=True))
    )
    assert (before != believed(with_target(trace, rng, requests=profile))).any()


@pytest.mark.parametrize("text", READING)
def test_a_missing_signal_is_named_with_the_remedy(trace, text):
    for absent in parse_method(text).signals:
        signals = {n: s for n, s in trace.observable.signals.items() if n != absent}
        poor = replace(trace, observable=ObservableColumns(signals))
        remedy = "confidence head.*import" if absent == "draft_confidence" else "svsim capture"
        with pytest.raises(MissingSignalError, match=f"needs the column.*{absent}.*{remedy}"):
            prepared(poor, text)


@pytest.mark.parametrize("text", READING)
def test_other_signals_are_never_read(trace, text):
    """What a method says it reads is all it reads: the other columns may hold anything."""
    names = parse_method(text).signals
    noise = np.random.default_rng(4).random((trace.num_positions, K), np.float32)
    other = {n: s if n in names else noise for n, s in trace.observable.signals.items()}
    before = sums(trace, text)
    after = sums(replace(trace, observable=ObservableColumns(other)), text)
    for name in before.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


@pytest.mark.parametrize("text", METHODS)
def test_what_is_paid_for(trace, text):
    """A method that runs no companion needs no step times for it, and pays none; the same for the draft."""

    def with_roles(*roles):
        latency = StairLatency(pad=4)
        latency.roles = frozenset(roles)
        return prepare(MemorySource(trace), RunSettings((method,), (BATCH,)), [Deployment(latency)])

    method = parse_method(text)
    needed = {Role.TARGET}
    if method.name not in ("td", "eagle", "kangaroo", "del") and not (
        text == "magicdec:k=3,budget=30" or "head_share" in text
    ):
        needed |= {Role.DRAFT}
    if method.name in ("sv", "sv-lossless", "staged") or "signal=similarity" in text:
        needed |= {Role.COMPANION}
    if "overlap" not in text:
        got = ClosedLoopReplay(with_roles(*Role)).run()[0].sums
        assert (got.companion_s.sum() > 0) == (Role.COMPANION in needed)
        hides = method.pipeline.is_parallel  # behind the target's pass
        assert (got.draft_s.sum() > 0) == (method.name != "td") or hides
    with_roles(*needed)
    for role in needed:
        with pytest.raises(LatencyError, match=f"runs the {role} model"):
            with_roles(*needed - {role})


class DearVerification(StairLatency):
    """Every new token of the target costs 1.6 ms more."""

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        return super().predict_s(shape) + (shape.role == Role.TARGET) * 1.6e-3 * shape.broadcast()[1]


@pytest.mark.parametrize("text", [text for text in SELECTING if "min_verify" not in text])
def test_less_is_verified_where_verification_is_dear(trace, text):
    """The rule is at work: not everything, not always the same."""
    run = RunSettings((parse_method(text),), (BATCH,), seed=SEED)
    mean_length = {}
    for latency in (StairLatency, DearVerification):
        ready = prepare(MemorySource(trace), run, [Deployment(latency(pad=1))])
        got = ClosedLoopReplay(ready).run()[0].sums
        mean_length[latency] = got.verified_tokens.sum() / got.sequence_steps.sum()
    assert 0 < mean_length[DearVerification] < 0.9 * mean_length[StairLatency]


@pytest.mark.parametrize("batch_size", [4, 16])
def test_knowing_acceptance_beats_every_policy_that_selects(batch_size):
    """The same drafts and requests, no companion to pay: what ``oracle-belief`` bounds."""
    texts = ["oracle-belief:k=4", "sv:k=4", "sv-lossless:k=4", "tetris:k=4", "staged:k=4"]
    texts += ["dspark:k=4", "dspark:k=4,search=global,signal=draft_confidence", "vllm-adaptive:k=4", "sd:k=4"]
    run = RunSettings(tuple(map(parse_method, texts)), (batch_size,), seed=SEED)
    large = with_draft_signals(independent_trace(300, K, seed=9))
    ready = prepare(MemorySource(large), run, [Deployment(DearVerification(pad=1))])
    bound, *others = (goodput(record.sums) for record in ClosedLoopReplay(ready).run())
    assert max(others) < bound
