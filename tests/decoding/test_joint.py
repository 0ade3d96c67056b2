"""``joint``: the compiled rule equals a literal one step by step; what it learns, and what it is told of
prices."""

import numpy as np
import pytest
from support.joint_reference import Drafting, Joint, Prices, Request
from support.small_traces import StairLatency, independent_trace, with_draft_signals

from svsim.decoding.joint_belief import (
    NUM_GAINS,
    OffsetBelief,
    decode_logit,
    encode_logit,
    filter_gains,
    logit,
)
from svsim.decoding.joint_plan import BIAS_NOW, RATE
from svsim.decoding.presets import parse_method
from svsim.engines import admission
from svsim.engines.binding import (
    BatchShape,
    Deployment,
    PriceBook,
    bind,
    bind_columns,
    compiled_pass_rule,
    compiled_rule,
)
from svsim.engines.profile import fit_belief
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.engines.step import NUM_CONTEXT_TOKENS, new_batch, place
from svsim.engines.step_log import take
from svsim.latency.shape import Role, StepShape
from svsim.trace.parts import MemorySource

K = 4


class SteepLatency(StairLatency):
    """Verified tokens and draft passes cost enough that there is something to choose."""

    def __init__(self, pad, token_s=6e-5, pass_s=3e-4):
        super().__init__(pad=pad)
        self.token_s, self.pass_s = token_s, pass_s

    def predict_s(self, shape):
        n, tokens, _ = shape.broadcast()
        more = self.token_s * tokens if shape.role is Role.TARGET else self.pass_s + 4e-5 * n
        return super().predict_s(shape) + more


@pytest.fixture(scope="module")
def trace():
    """Requests that differ in how well they are drafted, and signals that tell something."""
    made = independent_trace(120, K, seed=4, heterogeneous=True, output_tokens=(30, 90))
    return with_draft_signals(made, seed=1)


class SideBySide:
    """The compiled step and the literal one on the same sequences."""

    def __init__(self, trace, spec, latency, num_slots):
        method = parse_method(spec, K)
        prepared = prepare(MemorySource(trace), RunSettings((method,), (num_slots,)), [Deployment(latency)])
        self.trace, self.method, self.latency = prepared.trace, prepared.methods[0], latency
        self.columns = bind_columns(self.method, self.trace, prepared.settings.coins, 0)
        low, high = prepared.part.context_range
        shape = BatchShape(num_slots, 1, False, (float(low), float(high + K + 1)))
        self.program = bind(self.method, self.columns, PriceBook(prepared.deployments[0]), shape)
        self.rules = compiled_rule(self.method), compiled_pass_rule(self.method)
        k = self.method.num_speculative_tokens
        self.n, self.batch, self.next = num_slots, new_batch(num_slots, k), 0
        self.literal = Joint(self.method.belief, k, "midstop=no" not in spec)
        self.requests = [None] * num_slots
        for slot in range(num_slots):
            self.admit(slot)

    def admit(self, slot):
        first, end = self.trace.first_position[self.next : self.next + 2]
        place(self.batch, slot, first, end, int(self.trace.num_prompt_tokens[self.next]))
        self.requests[slot] = Request()
        self.next = (self.next + 1) % self.trace.num_requests

    def prices(self):
        kv, n = int(self.batch.counters[NUM_CONTEXT_TOKENS]), self.n

        def seconds(role, sequences, tokens, kv):
            return float(self.latency.predict_s(StepShape(role, sequences, tokens, kv)))

        owed = int(self.batch.num_owed.sum())
        return Prices(
            verify_s=lambda e: seconds(Role.TARGET, n, n + e, kv),
            draft_s=lambda m: seconds(Role.DRAFT, m, m, kv * m / n),
            first_s=seconds(Role.DRAFT, n, owed, kv),
            fixed_s=self.latency.overhead_per_step_s,
        )

    def step(self):
        """One step of both: (lengths, drafted) of each."""
        batch, n = self.batch, self.n
        positions = batch.position[:n].copy()
        sequences = [
            Drafting(
                self.requests[i],
                int(batch.num_owed[i]),
                self.literal.k,
                lambda d, p=p: self.columns.survival[p, d],
                lambda d, p=p: self.columns.looked_at[p, d],
            )
            for i, p in enumerate(positions)
        ]
        self.literal.step(sequences, self.prices())
        take(self.program, *self.rules, batch, n)
        lengths, drafted = [s.length for s in sequences], [s.drafted for s in sequences]
        kept = np.minimum(self.columns.accepted[positions], lengths).tolist()
        self.literal.learn(kept)
        for slot in range(n):
            if batch.position[slot] >= batch.end[slot]:
                batch.counters[NUM_CONTEXT_TOKENS] -= batch.position[slot] + batch.context_base[slot]
                self.admit(slot)
        return (batch.length[:n].tolist(), batch.draft_length[:n].tolist()), (lengths, drafted)


@pytest.mark.parametrize("pad", [1, 8])
@pytest.mark.parametrize("num_slots", [1, 5, 16])
@pytest.mark.parametrize("spec", ["joint", "joint:k=3", "joint:k=4,midstop=no"])
def test_the_compiled_rule_is_the_literal_one(trace, spec, num_slots, pad):
    both = SideBySide(trace, spec, SteepLatency(pad), num_slots)
    seen, ragged = set(), 0
    for _ in range(150):
        compiled, literal = both.step()
        assert compiled == literal
        seen.update(map(tuple, zip(*literal, strict=True)))
        ragged += len(set(literal[0])) > 1
    assert len(seen) > 1 and (num_slots == 1 or ragged > 15), "nothing to decide: an empty test"
    assert both.batch.asked.memory[BIAS_NOW] == pytest.approx(both.literal.bias, abs=1e-12)
    assert both.batch.asked.memory[RATE] == pytest.approx(both.literal.rate, rel=1e-9)


def test_idle_steps_and_probes_are_the_literal_ones(trace):
    """Where drafting never pays, it is tried again after 256 steps; sequences that owe much are left out."""
    both = SideBySide(trace, "joint", SteepLatency(1, pass_s=60e-3), 6)
    drafted = []
    for _ in range(600):
        compiled, literal = both.step()
        assert compiled == literal
        drafted.append(sum(literal[1]))
    assert drafted[:256] == [0] * 256 and 0 < np.count_nonzero(drafted) < 20


def test_what_is_learnt(trace):
    belief = fit_belief(parse_method("joint"), trace).belief
    slow, fast, kept, bias = belief.filter_
    assert slow + fast > 0, "these requests differ"
    assert np.allclose(belief.next_group_.sum(axis=1), 1.0)
    assert (np.diff(belief.group_logit_) > 0).all()  # codes rise as the entropy falls
    assert belief.gains_.shape == (NUM_GAINS, 3) and (np.diff(belief.gains_[:, 0]) <= 1e-12).all()
    assert belief.num_tokens_ == trace.num_positions
    assert abs(bias) < 0.5 and 0 < kept < 1


def test_requests_alike_have_no_offset():
    alike = with_draft_signals(independent_trace(120, K, seed=4, output_tokens=(30, 90)))
    slow, fast, _, _ = fit_belief(parse_method("joint"), alike).belief.filter_
    assert slow + fast <= 0.2


def test_logits_survive_their_code():
    values = logit(np.linspace(0.01, 0.99, 99))
    assert np.abs(decode_logit(encode_logit(values)) - values).max() <= 1 / 512


def test_gains_are_those_of_a_kalman_filter():
    """Against the textbook's update of a state (slow, fast) seen through slow + fast."""
    slow, fast, kept, spread = 0.4, 0.2, 0.8, 0.2
    covariance, f = np.diag([slow, fast]), np.diag([1.0, kept])
    for row in filter_gains(slow, fast, kept, spread)[:20]:
        covariance = f @ covariance @ f.T + np.diag([0.0, (1 - kept**2) * fast])
        h = np.ones((1, 2))
        # in units of the error y - p: the gain on the logit is that of noise 1 / spread, seen as error /
        # spread
        gain = covariance @ h.T / (h @ covariance @ h.T + 1 / spread)
        np.testing.assert_allclose(row[:2], gain.ravel() / spread, rtol=1e-12)
        assert row[2] == pytest.approx(1 / np.sqrt(1 + np.pi / 8 * covariance.sum()))
        covariance = covariance - gain @ h @ covariance


@pytest.mark.parametrize("batch_size", [1, 6])
def test_static_batches_end_with_every_token(trace, batch_size, monkeypatch):
    monkeypatch.setattr(admission, "MIN_POSITIONS", 1)
    settings = RunSettings((parse_method("joint", K),), (batch_size,), refill="static")
    prepared = prepare(MemorySource(trace), settings, [Deployment(SteepLatency(4))])
    sums = ClosedLoopReplay(prepared).run()[0].sums
    num_whole = prepared.part.num_requests // batch_size * batch_size
    assert (
        sums.emitted_tokens.sum()
        >= prepared.trace.num_positions * num_whole / prepared.part.num_requests * 0.8
    )
    assert 0 < sums.verified_tokens.sum() <= sums.drafted_tokens.sum()


def test_asking_costs_host_time(trace):
    """The clock pays for every decision between passes, and the plan knows."""
    goodput, drafted = [], []
    for spec in ("joint", "joint:ask_us=2000", "joint:ask_us=50000"):
        prepared = prepare(
            MemorySource(trace), RunSettings((parse_method(spec, K),), (4,)), [Deployment(SteepLatency(1))]
        )
        sums = ClosedLoopReplay(prepared).run()[0].sums
        goodput.append(sums.emitted_tokens.sum() / sums.seconds.sum())
        drafted.append(sums.drafted_tokens.sum() / sums.sequence_steps.sum())
    assert goodput[0] > goodput[1] > goodput[2]
    assert drafted[0] > drafted[1] > drafted[2] >= 0


def test_a_belief_of_chains_is_copied_not_shared(trace):
    method = parse_method("joint")
    fitted = fit_belief(method, trace)
    assert isinstance(fitted.belief, OffsetBelief) and not hasattr(method.belief, "filter_")
    again = fit_belief(fitted, trace.select(np.arange(20)))
    assert again.belief.num_tokens_ < fitted.belief.num_tokens_
    assert again.belief.constants != fitted.belief.constants
