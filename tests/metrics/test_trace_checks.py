"""A sound trace passes; every way of spoiling one fails the check that names it (negative controls)."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from support.small_traces import independent_trace

from svsim.metrics.trace_checks import check_trace
from svsim.synthetic.settings import LengthLaw, SyntheticSettings, TaskSettings
from svsim.synthetic.trace import synthesize
from svsim.trace.token_trace import ObservableColumns, TargetColumns

CHAINS, TOKENS, COINS, COMPANION, TARGET, GREEDY = (
    "accepted lengths continue",
    "signals move with their tokens",
    "coins follow accept_prob",
    "E[A | S] = S",
    "E[a | overlap] = overlap",
    "greedy acceptance is 0 or 1",
)


@cache
def sound(greedy=False):
    settings = SyntheticSettings(
        (TaskSettings(acceptance=0.75, output_tokens=LengthLaw(120, 0.5)),),
        num_requests=400,
        num_speculative_tokens=4,
        greedy=greedy,
    )
    return synthesize(settings, seed=5)


def verdicts(trace):
    return {check.name: check.passed for check in check_trace(trace)}


def with_signal(trace, name, values):
    return replace(
        trace, observable=ObservableColumns({**trace.observable.signals, name: values.astype(np.float32)})
    )


def with_target(trace, **columns):
    target = trace.target
    kept = {n: getattr(target, n) for n in ("num_accepted", "accept_prob", "target_overlap")} | columns
    return replace(trace, target=TargetColumns(**kept))


def failed(trace):
    return [name for name, passed in verdicts(trace).items() if passed is False]


def test_a_sound_trace_passes_all():
    assert verdicts(sound()) == dict.fromkeys((CHAINS, TOKENS, COINS, COMPANION, TARGET), True) | {
        GREEDY: None
    }


def test_a_sound_greedy_trace_passes_what_applies():
    assert verdicts(sound(True)) == dict.fromkeys((CHAINS, TOKENS, COINS, GREEDY), True) | {
        COMPANION: None,
        TARGET: None,
    }


def test_a_deterministic_draft_has_no_identity_of_means():
    """Its tokens are the likeliest ones, not drawn from q."""
    trace = with_signal(sound(), "companion_accept", sound().observable.signals["companion_accept"] ** 2)
    assert failed(trace) == [COMPANION]
    sampling = {**trace.metadata.sampling, "deterministic_draft": True}
    assert failed(replace(trace, metadata=replace(trace.metadata, sampling=sampling))) == []


def test_spoilt_coins_break_the_chain_and_the_frequencies():
    accepted = sound().target.num_accepted.copy()
    accepted[::50] = 0
    assert failed(with_target(sound(), num_accepted=accepted)) == [CHAINS, COINS]


def test_one_wrong_neighbour_is_enough():
    trace = sound()
    accepted = trace.target.num_accepted.copy()
    row = int(np.flatnonzero((accepted[:-1] == 2) & (np.arange(len(accepted) - 1) < 100))[0])
    accepted[row + 1] = 2
    checks = {c.name: c for c in check_trace(with_target(trace, num_accepted=accepted))}
    assert checks[CHAINS].passed is False and re.match("[12] of ", checks[CHAINS].found)
    assert "approximate" in checks[CHAINS].meaning


def test_a_signal_of_other_tokens_is_noticed():
    signal = sound().observable.signals["draft_prob"].copy()
    signal[:, 1] = np.roll(signal[:, 1], 1)
    assert failed(with_signal(sound(), "draft_prob", signal)) == [TOKENS]


def test_probabilities_of_another_temperature_are_noticed():
    a = sound().target.accept_prob
    assert failed(with_target(sound(), accept_prob=a**0.8)) == [COINS, TARGET]


def test_two_percent_of_wrong_coins_are_noticed():
    """Negative control of the frequencies: all columns coherent, acceptance drawn at 1.02 a."""
    a = np.minimum(sound().target.accept_prob / 1.02, 1)
    assert COINS in failed(with_target(sound(), accept_prob=a))


def test_similarity_of_another_distribution_is_noticed():
    s = sound().observable.signals["similarity"]
    assert failed(with_signal(sound(), "similarity", s**0.9)) == [COMPANION]


def test_overlap_of_another_distribution_is_noticed():
    overlap = sound().target.target_overlap
    assert failed(with_target(sound(), target_overlap=overlap**0.9)) == [TARGET]


def test_greedy_acceptance_must_be_certain():
    a = sound(True).target.accept_prob.copy()
    a[3, 0] = 0.5
    assert GREEDY in failed(with_target(sound(True), accept_prob=a))


def test_chains_that_claim_nothing_are_not_failed():
    trace = independent_trace(40, 4, seed=1, chains="independent")
    checks = {c.name: c for c in check_trace(trace)}
    assert checks[CHAINS].passed is None and "independent" in checks[CHAINS].found
    assert checks[TOKENS].passed is None and checks[COINS].passed is True
    declared = replace(trace, metadata=replace(trace.metadata, chains="coherent"))
    assert {CHAINS, TOKENS} <= set(failed(declared))


def test_a_bare_trace_of_lengths_has_nothing_to_fail():
    trace = independent_trace(40, 4, seed=1, signals=False)
    bare = replace(trace, target=TargetColumns(trace.target.num_accepted))
    assert set(verdicts(bare).values()) == {None}


def test_few_requests_are_not_judged_by_their_means():
    trace = sound().select(np.arange(20))
    assert verdicts(trace)[COMPANION] is None and verdicts(trace)[CHAINS] is True


def test_float16_does_not_fail_a_sound_trace():
    trace = sound()
    for name, values in trace.observable.signals.items():
        trace = with_signal(trace, name, values.astype(np.float16))
    rounded = {
        name: getattr(trace.target, name).astype(np.float16).astype(np.float32)
        for name in ("accept_prob", "target_overlap")
    }
    assert failed(with_target(trace, **rounded)) == []


@pytest.mark.parametrize("k", [1, 2])
def test_short_chains(k):
    trace = sound()
    signals = {n: s[:, :k] for n, s in trace.observable.signals.items()}
    target = TargetColumns(
        np.minimum(trace.target.num_accepted, k),
        trace.target.accept_prob[:, :k],
        trace.target.target_overlap[:, :k],
    )
    metadata = replace(trace.metadata, num_speculative_tokens=k)
    assert (
        failed(replace(trace, observable=ObservableColumns(signals), target=target, metadata=metadata)) == []
    )
