"""Two micro-batches that take turns, against the closed form: a turn is as long as its longer side."""

import numpy as np
import pytest
from support.small_traces import StairLatency, independent_trace

from svsim.analytic_model.model import AnalyticModel
from svsim.decoding.presets import parse_method
from svsim.engines import admission
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.errors import InputError
from svsim.latency.shape import Role
from svsim.trace.parts import MemorySource

K, ACCEPT = 3, 0.7
OVERHEAD_S, DRAFT_S, COMPANION_S = 5e-4, 1e-3, 2e-3


class FlatLatency(StairLatency):
    """Context is free; a draft pass and a companion pass have one price, verified tokens have a slope."""

    def __init__(self, per_token_s):
        super().__init__(overhead_s=OVERHEAD_S)
        self.per_token_s = per_token_s

    def predict_s(self, shape):
        _, tokens, _ = shape.broadcast()
        flat = {Role.DRAFT: DRAFT_S, Role.COMPANION: COMPANION_S}.get(shape.role)
        return 8e-3 + self.per_token_s * tokens if flat is None else np.full(tokens.shape, flat)


@pytest.fixture(autouse=True)
def one_cycle(monkeypatch):
    monkeypatch.setattr(admission, "MIN_POSITIONS", 1)


@pytest.fixture(scope="module")
def trace():
    """Constant acceptance: every cell of the belief holds it, so all tokens of a depth rank alike."""
    return independent_trace(400, K, seed=1, accept_prob=ACCEPT, output_tokens=(80, 120))


def prepared(trace, text, batch_size, latency, **settings):
    run = RunSettings((parse_method(text),), (batch_size,), seed=1, **settings)
    return prepare(MemorySource(trace), run, [Deployment(latency)])


def best_turn(num_sequences, per_token_s, draft_slowdown, verify_slowdown):
    """(tokens verified, seconds) of the turn with the best goodput: all drafts of a depth, then the next."""
    before_s = (K * DRAFT_S + COMPANION_S) * draft_slowdown
    value, best = num_sequences, (0.0, 0, 0.0)
    for e in range(num_sequences * K + 1):
        value += ACCEPT ** ((e - 1) // num_sequences + 1) if e else 0.0
        verify_s = (8e-3 + per_token_s * (num_sequences + e)) * verify_slowdown
        turn_s = OVERHEAD_S + max(verify_s, before_s)
        best = max(best, (value / turn_s, e, turn_s), key=lambda b: (round(b[0], 6), -b[1]))
    return best[1:]


@pytest.mark.parametrize("batch_size", [2, 8, 16])
@pytest.mark.parametrize("per_token_s", [5e-5, 4e-4])
@pytest.mark.parametrize(("draft_slowdown", "verify_slowdown"), [(1.0, 1.0), (1 / 0.3, 1 / 0.7), (6.0, 1.0)])
@pytest.mark.parametrize("overlap", ["half", "full"])
def test_a_turn_lasts_as_long_as_its_longer_side(
    trace, overlap, draft_slowdown, verify_slowdown, per_token_s, batch_size
):
    """goodput = M m / (overhead + max(V v, (D + C) d)): M sequences emit m tokens each in a turn."""
    slowdowns = f"draft_slowdown={draft_slowdown:.9f},verify_slowdown={verify_slowdown:.9f}"
    text = f"sv:k={K},overlap={overlap},{slowdowns}"
    sums = ClosedLoopReplay(prepared(trace, text, batch_size, FlatLatency(per_token_s))).run()[0].sums
    together = batch_size // 2 if overlap == "half" else batch_size
    num_verified, turn_s = best_turn(together, per_token_s, draft_slowdown, verify_slowdown)
    steps = sums.sequence_steps.sum() / together
    # among equals the first slots are served first: which requests were there moves the mean a little
    assert sums.verified_tokens.sum() / steps == pytest.approx(num_verified, rel=1e-3)
    assert sums.seconds.sum() / steps == pytest.approx(turn_s, rel=1e-6)
    if num_verified == together * K:
        length = (1 - ACCEPT ** (K + 1)) / (1 - ACCEPT)
        emitted = sums.accepted_tokens.sum() + sums.sequence_steps.sum()
        variance = sum((2 * d + 1) * ACCEPT**d for d in range(K + 1)) - length**2
        error = (variance / sums.sequence_steps.sum()) ** 0.5
        assert emitted / sums.sequence_steps.sum() == pytest.approx(length, abs=4 * error)


def test_both_sides_and_every_number_of_tokens_were_tried():
    """The cases above are bound by drafting, by verification, and verify some, all, or up to the edge."""
    turns = {
        (s, e / (n * K)): before > after
        for n in (1, 4, 8, 16)
        for s in (5e-5, 4e-4)
        for d, v in ((1.0, 1.0), (1 / 0.3, 1 / 0.7), (6.0, 1.0))
        for e, _ in [best_turn(n, s, d, v)]
        for before, after in [((K * DRAFT_S + COMPANION_S) * d, (8e-3 + s * (n + e)) * v)]
    }
    assert set(turns.values()) == {True, False}
    assert {share for _, share in turns} > {1.0}


@pytest.mark.parametrize("per_token_s", [5e-5, 4e-4])
def test_a_batch_of_one_runs_one_after_another(trace, per_token_s):
    latency = FlatLatency(per_token_s)
    half, serial = (
        ClosedLoopReplay(prepared(trace, text, 1, latency)).run()[0].sums
        for text in (f"sv:k={K},overlap=half", f"sv:k={K}")
    )
    for name in half.__dataclass_fields__:
        assert getattr(half, name).tobytes() == getattr(serial, name).tobytes()
    full = ClosedLoopReplay(prepared(trace, f"sv:k={K},overlap=full", 1, latency)).run()[0].sums
    assert full.seconds.sum() != serial.seconds.sum()


def test_what_is_hidden_costs_nothing(trace):
    """The parts of the clock add up to the turn: drafting shows only beyond verification."""
    text = f"sv:k={K},overlap=full,draft_slowdown=1.0,verify_slowdown=1.0"
    sums = ClosedLoopReplay(prepared(trace, text, 8, FlatLatency(5e-5))).run()[0].sums
    assert sums.draft_s.sum() == sums.companion_s.sum() == 0.0
    assert sums.seconds.sum() == pytest.approx(sums.verify_s.sum() + sums.overhead_s.sum(), rel=1e-12)
    slow = f"sv:k={K},overlap=full,draft_slowdown=6.0,verify_slowdown=1.0"
    sums = ClosedLoopReplay(prepared(trace, slow, 8, FlatLatency(5e-5))).run()[0].sums
    assert sums.draft_s.sum() / sums.companion_s.sum() == pytest.approx(K * DRAFT_S / COMPANION_S)


@pytest.mark.parametrize("batch_size", [3, 63])
def test_half_an_odd_batch_is_refused_before_any_run(trace, batch_size):
    with pytest.raises(
        InputError, match=f"batch {batch_size} is odd.*even `batch_sizes`.*overlap=full"
    ) as caught:
        prepared(trace, f"sv:k={K},overlap=half", batch_size, StairLatency())
    assert "\n" not in str(caught.value)
    prepared(trace, f"sv:k={K},overlap=full", batch_size, StairLatency())


@pytest.mark.parametrize("batch_of", ["requests", "copies"])
@pytest.mark.parametrize("prefill", ["exclude", "include"])
@pytest.mark.parametrize("overlap", ["half", "full"])
def test_the_analytic_model_says_the_same(trace, overlap, prefill, batch_of):
    text = f"sv:k={K},overlap={overlap}"
    run = prepared(trace, text, 8, FlatLatency(4e-4), prefill=prefill, batch_of=batch_of)
    replayed, analytic = (
        sums.emitted_tokens.sum() / sums.seconds.sum()
        for sums in (ClosedLoopReplay(run).run()[0].sums, AnalyticModel(run).run()[0].sums)
    )
    assert analytic == pytest.approx(replayed, rel=0.01)
