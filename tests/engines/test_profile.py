"""What a belief is learnt on: the first depth of the profile's chains, its signals and its acceptance."""

from dataclasses import replace

import numpy as np
import pytest
from support.small_traces import independent_trace

from svsim.decoding.beliefs import BinnedBelief
from svsim.decoding.presets import parse_method
from svsim.engines.profile import fit_belief

K = 3
BY_DEPTH = np.float32([0.9, 0.3, 0.6])


@pytest.fixture(scope="module")
def profile():
    """Every depth has an acceptance of its own, and every column of signals is another."""
    trace = independent_trace(80, K, seed=4, output_tokens=(100, 140))
    accept = np.broadcast_to(BY_DEPTH, (trace.num_positions, K)).copy()
    accepted = np.logical_and.accumulate(np.random.default_rng(0).random(accept.shape) < accept, axis=1).sum(
        axis=1
    )
    return replace(
        trace, target=replace(trace.target, accept_prob=accept, num_accepted=accepted.astype(np.int16))
    )


def test_acceptance_of_the_first_depth_is_learnt(profile):
    belief = fit_belief(parse_method("sv:k=3"), profile).belief
    signals = profile.observable.require(belief.signals, "sv")
    np.testing.assert_allclose(belief.predict(signals), BY_DEPTH[0], rtol=1e-6)


def test_without_probabilities_the_first_coin_is_learnt(profile):
    coins_only = replace(profile, target=replace(profile.target, accept_prob=None))
    belief = fit_belief(parse_method("sv:k=3"), coins_only).belief
    signals = profile.observable.require(belief.signals, "sv")
    share = float((profile.target.num_accepted > 0).mean())
    assert share == pytest.approx(BY_DEPTH[0], abs=0.01)
    assert float(belief.predict(signals).mean()) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("rows", [slice(None), slice(0, 4000, 2)])
def test_the_signals_are_those_of_the_first_depth(rows):
    trace = independent_trace(80, K, seed=5, output_tokens=(100, 140))
    method = parse_method("sv:k=3")
    found = fit_belief(method, trace, rows).belief
    columns = trace.observable.require(method.belief.signals, "sv")
    by_depth = [
        BinnedBelief().fit(tuple(s[rows, d] for s in columns), trace.target.accept_prob[rows, d])
        for d in range(K)
    ]
    np.testing.assert_array_equal(found.table_, by_depth[0].table_)
    assert all((found.table_ != other.table_).any() for other in by_depth[1:])  # the negative control
    assert not hasattr(method.belief, "table_")  # the method that was given is as it was
