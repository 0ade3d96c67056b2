"""Acceptance as engines report it: it enters exactly, and other k are bracketed."""

from dataclasses import replace

import numpy as np
import pytest
from support.shared_data import shared
from support.small_traces import StairLatency
from support.specdecode_bench import specdecode_bench_trace

import svsim
from svsim.errors import InputError
from svsim.synthetic.reported import (
    AcceptanceProfile,
    profile_of_increments,
    profile_of_mean,
    profile_of_rates,
)
from svsim.synthetic.reported_trace import RequestLengths, acceptance_of_rates, trace_of_rates
from svsim.synthetic.settings import LengthLaw
from svsim.trace.measurement import visited_starts
from svsim.trace.token_trace import TraceMetadata

# cumulative rates at step starts with their mean acceptance length: vllm#19254 (n-gram), vllm PR 24344
# (EAGLE), club-3090#105 (MTP), llama.cpp PR 24536 (EAGLE-3), MTP on one 3090, vllm PR 24243 (EAGLE-3)
REPORTED = {
    "n-gram": ((0.543, 0.357, 0.264), 2.16),
    "EAGLE": ((0.77, 0.45, 0.24), 2.46),
    "MTP, k 6": ((0.740, 0.473, 0.309, 0.187, 0.099, 0.057), 2.87),
    "EAGLE-3, llama.cpp": ((0.805, 0.632, 0.483), 2.92),
    "MTP, k 5": ((0.945, 0.877, 0.800, 0.694, 0.621), 4.94),
    "EAGLE-3, MiniCPM": ((0.58, 0.34, 0.22, 0.15, 0.11), 2.40),
    "nothing": ((0.0, 0.0, 0.0), 1.0),
    "everything": ((1.0, 1.0), 3.0),
    "hardly": ((0.05, 0.0025), 1.0525),
    "nearly": ((0.995, 0.99, 0.985), 3.97),
}
METADATA = TraceMetadata(1, "synthetic", "independent")


def trace_of(rates, num_requests=64, mean_output=200, seed=0):
    lengths = RequestLengths.drawn(num_requests, LengthLaw(100), LengthLaw(mean_output, 0.5), seed)
    return trace_of_rates(AcceptanceProfile(rates), lengths, METADATA, seed)


@pytest.mark.parametrize("name", REPORTED)
def test_reported_profiles_replay_as_they_are(name):
    rates, length = REPORTED[name]
    trace = trace_of(rates)
    row = svsim.replay(
        trace, methods=[f"sd:k={len(rates)}"], batch_sizes=[8], latency=StairLatency(), jobs=1
    ).rows[0]
    assert row.mean_acceptance_length == pytest.approx(length, rel=0.01)
    accepted = trace.target.num_accepted[visited_starts(trace.target.num_accepted, trace.first_position)]
    got = [(accepted >= d).mean() for d in range(1, len(rates) + 1)]
    assert got == pytest.approx(rates, abs=0.003)


def test_chains_are_coherent_only_where_they_can_be():
    """A deeper token that is accepted less often than a first one is no later first one."""
    constant = trace_of((0.8, 0.64, 0.512))
    assert constant.metadata.chains == "coherent"
    assert trace_of((0.77, 0.45, 0.24)).metadata.chains == "independent"
    assert trace_of((0.543, 0.357, 0.264)).metadata.chains == "independent"
    accepted = constant.target.num_accepted
    inside = np.setdiff1d(np.arange(len(accepted) - 1), constant.first_position[1:] - 1)
    here, after = accepted[inside], accepted[inside + 1]
    partly = (here > 0) & (here < 3)
    assert (after[partly] == here[partly] - 1).all() and (after[here == 3] >= 2).all()
    # so every k has the constant's own acceptance: (1 - a^(k + 1)) / (1 - a)
    rows = svsim.replay(
        constant, methods=["sd:k=1", "sd:k=2"], batch_sizes=[4], latency=StairLatency(), jobs=1
    ).rows
    assert [r.mean_acceptance_length for r in rows] == pytest.approx([1.8, 2.44], rel=0.02)


@pytest.mark.parametrize("rates", [(0.77, 0.45, 0.24), (0.543, 0.357, 0.264)])
def test_shorter_drafts_are_alike_where_nothing_else_is_said(rates):
    row = svsim.replay(
        trace_of(rates, 200), methods=["sd:k=1"], batch_sizes=[4], latency=StairLatency()
    ).rows[0]
    assert row.mean_acceptance_length == pytest.approx(1 + rates[0], rel=0.01)
    assert AcceptanceProfile(rates).at(1).mean_acceptance_length == 1 + rates[0]


def test_all_positions_have_one_law():
    """Steps between the walk's, which other methods take, are no worse or better than those on it."""
    rates = (0.7, 0.4, 0.1)
    accepted = acceptance_of_rates(AcceptanceProfile(rates), np.full(300, 200), 3).num_accepted
    between = np.setdiff1d(np.arange(len(accepted)), visited_starts(accepted, np.arange(301) * 200))
    for d, rate in enumerate(rates, start=1):
        error = np.sqrt(rate * (1 - rate) / len(between))
        assert abs((accepted[between] >= d).mean() - rate) < 4 * error
    # neighbours on the walk are independent
    walk = accepted[visited_starts(accepted, np.arange(301) * 200)].astype(float)
    assert abs(np.corrcoef(walk[:-1], walk[1:])[0, 1]) < 4 / np.sqrt(len(walk))


def test_same_seed_same_trace():
    one, two, other = (trace_of((0.7, 0.4), seed=s) for s in (1, 1, 2))
    assert np.array_equal(one.target.num_accepted, two.target.num_accepted)
    assert not np.array_equal(one.num_output_tokens, other.num_output_tokens)


def test_brackets_hold_their_assumption():
    profiles = [AcceptanceProfile(rates) for rates, _ in REPORTED.values()]
    profiles += [profile_of_mean(length, len(rates), "mean") for rates, length in REPORTED.values()]
    profiles.append(profile_of_mean(2.473, 6, "one rate known", known=(0.58,)))
    for profile in profiles:
        for k in range(1, 9):
            low, assumed, high = (
                profile.at(k, word).mean_acceptance_length for word in ("low", "assumed", "high")
            )
            assert low <= assumed + 1e-12 <= high + 2e-12 <= k + 1 + 1e-9
            assert profile.at(k).k == k


def test_the_upper_bracket_is_text_that_keeps_its_kind():
    """Requests that always or never accept two tokens, half of the steps each, measured at k = 2."""
    both = AcceptanceProfile((0.5, 0.5))
    # tokens: 3 of 4 lie in easy text; at k = 1 that is 3/2 steps against 1
    assert both.at(1, "high").mean_acceptance_length == pytest.approx(4 / (3 / 2 + 1))
    assert both.at(1, "low").mean_acceptance_length == 1.5
    assert both.at(4, "low").mean_acceptance_length == 2.0
    assert both.at(4, "high").mean_acceptance_length == 3.0


@pytest.mark.parametrize("drafter", ["eagle", "ngram"])
@pytest.mark.parametrize("dataset", ["gsm8k", "cnn"])
def test_brackets_hold_on_real_recordings(dataset, drafter):
    """What one k reports brackets what the dense recording tells of the others."""
    trace = specdecode_bench_trace(shared("specdecode-bench", f"{dataset}.jsonl"), drafter)

    def rates(k: int) -> tuple[float, ...]:
        accepted = np.minimum(trace.target.num_accepted, k)
        on_walk = accepted[visited_starts(accepted, trace.first_position)]
        return tuple(float((on_walk >= d).mean()) for d in range(1, k + 1))

    profile = AcceptanceProfile(rates(5))
    for k in (1, 2, 3, 8):
        truth = 1 + sum(rates(k))
        low, high = (profile.at(k, word).mean_acceptance_length for word in ("low", "high"))
        assert low * 0.98 <= truth <= high * 1.02, (k, low, truth, high)


def test_a_mean_is_spread_in_the_shape_asked_for():
    for shape in ("constant", "decay:0.8", "even", "front"):
        for k, length in ((1, 1.4), (3, 1.887), (5, 4.94), (3, 1.0), (3, 4.0), (3, 3.9)):
            profile = profile_of_mean(length, k, "here", shape)
            assert profile.mean_acceptance_length == pytest.approx(length, abs=1e-9)
    assert profile_of_mean(2.46, 3, "here").is_constant
    decay = profile_of_mean(2.0, 3, "here", "decay:0.5").conditional
    assert decay[1] / decay[0] == pytest.approx(0.5) and decay[2] / decay[0] == pytest.approx(0.25)
    assert profile_of_mean(2.5, 3, "here", "front").rates == (1.0, 0.5, 0.0)
    known = profile_of_mean(2.473, 6, "here", known=(0.58,))
    assert known.rates[0] == 0.58 and known.mean_acceptance_length == pytest.approx(2.473)
    # unknown rates leave more room than known ones
    mean, rated = profile_of_mean(2.46, 3, "here"), AcceptanceProfile((0.77, 0.45, 0.24))
    assert mean.at(1, "low").mean_acceptance_length < rated.at(1, "low").mean_acceptance_length
    assert mean.at(1, "high").mean_acceptance_length > rated.at(1, "high").mean_acceptance_length


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: AcceptanceProfile(()), "0 rates, expected 1 to 255"),
        (lambda: AcceptanceProfile((0.5, 0.6)), "rises from 0.5 to 0.6 at position 2"),
        (lambda: AcceptanceProfile((72.0, 51.0)), "is 72, expected 0 to 1; are they percentages?"),
        (lambda: AcceptanceProfile((-0.1,)), "is -0.1, expected 0 to 1"),
        (lambda: AcceptanceProfile((float("nan"),)), "is nan, expected 0 to 1"),
        (lambda: profile_of_mean(5.0, 3, "f"), "f: a mean acceptance length of 5 is out of reach"),
        (lambda: profile_of_mean(0.5, 3, "f"), "out of reach"),
        (lambda: profile_of_mean(2.0, 3, "f", "decay:2"), "shape decay:2 is unknown"),
        (lambda: profile_of_mean(2.0, 0, "f"), "k is 0"),
        (lambda: RequestLengths.drawn(0, LengthLaw(1), LengthLaw(1), 0), "`num_requests` 0 is out of range"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make, expected):
    with pytest.raises(InputError) as caught:
        make()
    assert expected in str(caught.value)


def test_rounding_may_rise_a_little():
    assert profile_of_rates((0.5, 0.503, 0.2), "f").rates == (0.5, 0.5, 0.2)
    with pytest.raises(InputError, match="f: acceptance by position: the rate rises"):
        profile_of_rates((0.5, 0.52), "f")


def test_levelled_increments_keep_their_sum():
    noisy = np.array([0.92, 0.69, 0.36, 0.03, 0.10, 0.06, -0.16, 0.11])
    found = profile_of_increments(noisy, "f")
    assert sum(found.rates) == pytest.approx(noisy.sum())
    assert profile_of_increments(np.array([0.8, 0.5, 0.1]), "f").rates == pytest.approx((0.8, 0.5, 0.1))
    assert profile_of_increments(np.zeros(3), "f").rates == (0.0, 0.0, 0.0)


def test_metadata_tells_what_other_k_were_taken_to_be():
    meta = trace_of((0.7, 0.4, 0.1)).metadata
    told = {row["k"]: row for row in meta.extra["other_k"]}
    assert told[3]["low"] == told[3]["high"] == pytest.approx(2.2)
    assert told[1]["assumed"] == pytest.approx(1.7) and told[6]["low"] == pytest.approx(2.2)
    assert meta.extra["acceptance"]["rates_at_step_starts"] == [0.7, 0.4, 0.1]
    assert replace(meta, extra={}).num_speculative_tokens == 3
