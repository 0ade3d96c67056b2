"""A profile part too small to trust: said in a note, and part of the intervals."""

import math
from dataclasses import replace

import numpy as np
import pytest
from support.small_traces import StairLatency, independent_trace

from svsim import api
from svsim.decoding.presets import parse_method
from svsim.engines.belief_error import with_belief_error
from svsim.engines.profile import FEW_REQUESTS, FEW_TOKENS, NUM_REFITS, fit_belief, is_small, refits
from svsim.metrics.bootstrap import goodput_tok_s
from svsim.options import RunOptions, coins_of
from svsim.records import GroupSums, RunRecord
from svsim.run import understand

K = 6
TRACE = independent_trace(200, K, seed=3, output_tokens=(60, 120))
SIGNALS = tuple(TRACE.observable.signals[name] for name in ("similarity", "companion_accept"))


def table_of(method):
    return method.belief.predict(SIGNALS)


def test_small_means_few_requests_or_few_tokens():
    assert not is_small(TRACE)
    assert is_small(TRACE.select(np.arange(FEW_REQUESTS - 1)))
    many_short = independent_trace(200, K, seed=0, output_tokens=(1, 20))
    assert many_short.num_positions < FEW_TOKENS and is_small(many_short)


def test_refits_learn_on_resamples_and_leave_the_method_alone():
    profile = TRACE.select(np.arange(8))
    method = fit_belief(parse_method("sv:k=6"), profile)
    before = table_of(method)
    first, second = (refits([parse_method("td"), method], profile, seed=0) for _ in range(2))
    assert len(first) == NUM_REFITS and all([m.name for m in methods] == ["sv"] for methods in first)
    tables = [table_of(methods[0]) for methods in first]
    assert all((t != before).any() for t in tables) and (tables[0] != tables[1]).any()
    for (a,), (b,) in zip(first, second, strict=True):  # the same seed, the same beliefs
        np.testing.assert_array_equal(table_of(a), table_of(b))
    np.testing.assert_array_equal(table_of(method), before)
    assert refits([method], TRACE.select(np.arange(1)), seed=0) == ()


def record(goodput, method="sv"):
    one = np.ones(1)
    sums = GroupSums(*(goodput * one if n == 0 else one * (n == 9) for n in range(11)))
    return RunRecord(
        method, {}, K, 1, "gpu", None, "test", 1, sums, "ratio-of-sums", "exact", lossless=True
    )  # fmt: skip


@pytest.mark.parametrize("num_requests", [2, 10])
def test_error_is_the_spread_of_the_refits(num_requests):
    run = prepared(num_requests)
    goodputs = iter((90.0, 100.0, 110.0))
    run = replace(run, refits=(run.methods[1:],) * 3)
    td, sv = with_belief_error([record(50.0, "td"), record(101.0)], run, lambda p: [record(next(goodputs))])
    assert td.belief_error is None
    assert sv.belief_error == pytest.approx(0.1 * math.sqrt(num_requests / (num_requests - 1)))


def prepared(num_requests):
    """A run whose profile part holds that many requests; labels as ``record`` has them."""
    trace = TRACE.select(np.arange(40))
    options = {"methods": ["td", "sv:k=6"], "latency": StairLatency(), "batch_sizes": [4]}
    run = understand(trace, RunOptions(**options, profile_split=num_requests / 40)).prepared
    assert run.num_small_profile_requests == num_requests
    return replace(run, methods=tuple(replace(m, params={}) for m in run.methods))


def test_one_request_tells_nothing_of_others():
    run = prepared(1)
    assert run.refits == ()
    td, sv = with_belief_error([record(50.0, "td"), record(101.0)], run, lambda p: [])
    assert td.belief_error is None and sv.belief_error == math.inf


def rows(trace, split, engine=api.replay, **options):
    table = engine(
        trace,
        latency=StairLatency(),
        methods=["td", "sd:k=3", "sv:k=6"],
        batch_sizes=[16],
        profile_split=split,
        **options,
    )
    return {r.method: r for r in table.rows}, [n for n in table.notes if "profile part" in n]


@pytest.mark.parametrize("engine", [api.replay, api.analytic])
def test_a_small_profile_part_is_said_and_a_large_one_is_not(engine):
    _, notes = rows(TRACE, 0.5, engine)
    assert notes == []
    found, (note,) = rows(TRACE, 0.02, engine)
    assert "sv:k=6 learnt on 4 requests" in note and "raise the profile split" in note
    assert found["sv"].goodput_ci_low < found["sv"].goodput_tok_s < found["sv"].goodput_ci_high


def test_one_profile_request_leaves_no_interval():
    found, (note,) = rows(TRACE, 1 / 200)
    assert "one request does not tell how others differ" in note
    assert found["sv"].goodput_ci_low is found["sv"].speedup_vs_td_ci_low is None
    assert found["sd"].goodput_ci_low is not None


def test_coins_that_are_redrawn_do_not_change_what_refits_say():
    run = prepared(10)
    kinds = []
    with_belief_error([], replace(run, settings=replace(run.settings, coins=redrawn())),
                      lambda p: kinds.append(type(p.settings.coins).__name__) or [])  # fmt: skip
    assert kinds == ["RecordedCoins"] * NUM_REFITS


def redrawn():
    return coins_of("redraw:3", 0)


def test_predicted_spread_is_that_of_fresh_profile_parts():
    """Over 12 profile parts of 6 requests each: what one tells of the others, and what is."""
    from svsim.engines.replay import ClosedLoopReplay

    options = RunOptions(methods=["sv:k=6"], latency=StairLatency(4), batch_sizes=[32])
    base = understand(TRACE, options).prepared

    def engine(run):
        return ClosedLoopReplay(run, max_cycles=1).run()

    found, predicted = [], []
    for n in range(12):
        profile = TRACE.select(np.arange(6 * n, 6 * n + 6))
        methods = tuple(fit_belief(m, profile) for m in base.methods)
        again = refits(methods, profile, seed=n)
        run = replace(base, methods=methods, num_small_profile_requests=6, refits=again)
        sv = with_belief_error(engine(run), run, engine)[-1]
        found.append(goodput_tok_s(sv))
        predicted.append(sv.belief_error)
    spread = np.std(found, ddof=1) / np.mean(found)
    assert 0.5 < math.sqrt(np.mean(np.square(predicted))) / spread < 3  # 12 spreads know theirs to 20 %
