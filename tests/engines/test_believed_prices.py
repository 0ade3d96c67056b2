"""Prices that a method plans with, while the clock charges others; beliefs of another trace."""

from dataclasses import replace

import numpy as np
import pytest
from support.small_traces import StairLatency, independent_trace, with_draft_signals

from svsim.analytic_model.model import AnalyticModel
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.errors import InputError, MethodError
from svsim.latency.shape import Role
from svsim.trace.parts import MemorySource

K = 6


class Dearer(StairLatency):
    """Draft passes ``draft_s`` dearer, verification ``verify`` times as dear."""

    def __init__(self, draft_s=0.0, verify=1.0):
        super().__init__(pad=4)
        self.draft_s, self.verify = draft_s, verify

    def predict_s(self, shape):
        seconds = super().predict_s(shape)
        return seconds * self.verify if shape.role is Role.TARGET else seconds + self.draft_s


@pytest.fixture(scope="module")
def trace():
    made = independent_trace(200, K, seed=7, heterogeneous=True, output_tokens=(60, 120))
    return with_draft_signals(made, seed=2)


def sums(trace, spec, charged, believed=None, foreign=None, batch_size=8):
    deployment = Deployment(charged, believed=believed)
    settings = RunSettings((parse_method(spec, K),), (batch_size,))
    source = None if foreign is None else MemorySource(foreign)
    return ClosedLoopReplay(prepare(MemorySource(trace), settings, [deployment], source)).run()[0].sums


def goodput(*asked, **kind):
    got = sums(*asked, **kind)
    return got.emitted_tokens.sum() / got.seconds.sum()


@pytest.mark.parametrize(
    "spec", ["sv:k=5", "sv-lossless:k=5,unseen=similarity", "smartspec:k=5", "dspark:k=5"]
)
def test_a_policy_that_cannot_learn_plans_as_it_believes(trace, spec):
    """The steps are those of the believed prices, the seconds those of the clock."""
    believed, charged = Dearer(), Dearer(4e-3, 3.0)
    wrong, as_believed, right = (
        sums(trace, spec, charged, believed),
        sums(trace, spec, believed),
        sums(trace, spec, charged),
    )
    np.testing.assert_array_equal(wrong.verified_tokens, as_believed.verified_tokens)
    np.testing.assert_array_equal(wrong.sequence_steps, as_believed.sequence_steps)
    assert wrong.verified_tokens.sum() != right.verified_tokens.sum()
    assert wrong.seconds.sum() > 1.5 * as_believed.seconds.sum()


@pytest.mark.parametrize("spec", ["sd:k=3", "sv:k=5", "joint:k=5"])
def test_believing_the_truth_changes_nothing(trace, spec):
    plain, told = sums(trace, spec, Dearer(1e-3)), sums(trace, spec, Dearer(1e-3), Dearer(1e-3))
    for name in plain.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(plain, name), getattr(told, name))


@pytest.mark.parametrize("batch_size", [1, 8, 32])
@pytest.mark.parametrize("charged", [Dearer(2e-3), Dearer(verify=1.6), Dearer(-0.5e-3)])
def test_joint_learns_prices_from_the_clock(trace, charged, batch_size):
    """Whatever it believed: never more than 2 % below itself at the right prices."""
    right = goodput(trace, "joint", charged, batch_size=batch_size)
    wrong = goodput(trace, "joint", charged, Dearer(), batch_size=batch_size)
    assert wrong > 0.98 * right


def foreign_of(trace, seed):
    """Another pair: acceptance, and what its signals say of it, are another's."""
    other = with_draft_signals(independent_trace(200, K, seed=seed, accept_prob=0.35), seed=seed)
    return replace(other, metadata=trace.metadata)


@pytest.mark.parametrize("batch_size", [1, 8, 32])
def test_joint_recovers_from_a_foreign_profile(trace, batch_size):
    """Learnt where acceptance is half as likely and signals tell nothing: still beside the best fixed
    length."""
    rivals = ["td", *(f"sd:k={k}" for k in range(1, K + 1))]
    best = max(goodput(trace, spec, Dearer(), batch_size=batch_size) for spec in rivals)
    cold = goodput(trace, "joint", Dearer(), foreign=foreign_of(trace, 3), batch_size=batch_size)
    assert cold > 0.98 * best


def test_the_analytic_model_refuses_plainly(trace):
    def model(spec, believed=None):
        deployment, settings = (
            Deployment(Dearer(), believed=believed),
            RunSettings((parse_method(spec, K),), (8,)),
        )
        return AnalyticModel(prepare(MemorySource(trace), settings, [deployment]))

    with pytest.raises(MethodError, match=r"joint:k=6 plans anew.*leave it out, or use svsim replay"):
        model("joint")
    with pytest.raises(
        InputError, match=r"`believed_prices` has no place.*leave it out, or use svsim replay"
    ):
        model("sd:k=3", Dearer(1e-3))


def test_what_is_replayed_does_not_hang_on_who_is_learnt_from(trace):
    method, deployment = parse_method("joint", K), Deployment(Dearer())
    settings = RunSettings((method,), (8,))
    own = prepare(MemorySource(trace), settings, [deployment])
    cold = prepare(MemorySource(trace), settings, [deployment], MemorySource(foreign_of(trace, 3)))
    assert own.trace.request_ids == cold.trace.request_ids
    assert own.methods[0].belief.constants != cold.methods[0].belief.constants
    assert any("beliefs rest on" in note and "tokens" in note for note in own.notes)
    assert any("learnt on another trace" in note for note in cold.notes)
