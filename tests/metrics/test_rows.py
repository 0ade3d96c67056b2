"""Rows from records: every number by hand on a tiny example."""

import math

import numpy as np
import pytest
from support.small_traces import StairLatency, independent_trace

from svsim import api
from svsim.metrics.bootstrap import NUM_RESAMPLES, goodput_tok_s, interval, resample_counts, resampled_goodput
from svsim.metrics.rows import ResultTable, result_rows
from svsim.records import GroupSums, RunRecord


def record(method="sd", params=None, seconds=(1.0, 3.0), asked=True, **changes):
    zero = np.zeros(2)
    sums = GroupSums(
        emitted_tokens=np.array([10.0, 20.0]),
        sequence_steps=np.array([8.0, 12.0]),
        steps=np.array([4.0, 6.0]),
        accepted_tokens=np.array([3.0, 9.0]),
        verified_tokens=np.array([16.0, 24.0]),
        drafted_tokens=np.array([16.0, 24.0]),
        overhead_s=zero,
        draft_s=np.array(seconds) * 0.25,
        companion_s=zero,
        verify_s=np.array(seconds) * 0.75,
        prefill_s=zero,
    )
    values = {
        "method": method,
        "params": {"k": 2} if params is None else params,
        "num_speculative_tokens": 2,
        "batch_size": 2,
        "hardware": "gpu",
        "tensor_parallel": None,
        "latency_source": "test",
        "num_requests": 2,
        "sums": sums,
        "estimator": "ratio-of-sums",
        "replay_kind": "exact",
        "lossless": True,
        "asked": asked,
    }
    return RunRecord(**{**values, **changes})


def test_a_row_by_hand():
    base = record("td", {}, seconds=(2.0, 6.0), asked=False)
    (row,) = result_rows([base, record()], seed=0)
    assert row.goodput_tok_s == 30 / 4
    assert row.speedup_vs_td == 2
    assert (row.speedup_vs_td_ci_low, row.speedup_vs_td_ci_high) == (2, 2)  # paired: always twice as fast
    assert row.speedup_vs_sd == 1 and row.sd_baseline == "sd:k=2"
    assert row.draft_acceptance_rate == 12 / 40
    assert row.mean_acceptance_length == 1 + 12 / 20
    assert row.mean_verification_length == 2
    assert row.rejected_share_of_verified == 28 / 40
    assert row.step_time_s == 0.4 and row.draft_time_s == 0.1 and row.verify_time_s == pytest.approx(0.3)
    assert row.tpot_s == pytest.approx(0.4 * 20 / 30)
    assert (row.num_steps, row.num_emitted_tokens) == (10, 30)


def test_estimators_differ_as_named():
    assert goodput_tok_s(record()) == 30 / 4
    assert goodput_tok_s(record(estimator="mean-of-ratios")) == (10 / 1 + 20 / 3) / 2


def test_resamples_are_paired_and_seeded():
    counts = resample_counts(50, 0)
    assert counts.shape == (NUM_RESAMPLES, 50) and (counts.sum(axis=1) == 50).all()
    np.testing.assert_array_equal(counts, resample_counts(50, 0))
    assert (counts != resample_counts(50, 1)).any()
    assert interval(resampled_goodput(record(), 0))[0] == 20 / 3  # the second request twice


def test_one_group_has_no_interval():
    one = GroupSums(*(np.array([1.0]) for _ in range(11)))
    assert interval(resampled_goodput(record(sums=one), 0)) == (None, None)


def test_what_other_profile_requests_would_change_widens_the_interval():
    steady = record(seconds=(1.0, 2.0))  # no difference between requests
    assert interval(resampled_goodput(steady, 0)) == (10, 10)
    low, high = interval(resampled_goodput(record(seconds=(1.0, 2.0), belief_error=0.05), 0))
    assert (low, high) == (pytest.approx(10 * (1 - 0.098), abs=0.1), pytest.approx(10 * (1 + 0.098), abs=0.1))
    assert resampled_goodput(record(belief_error=math.inf), 0) is None
    base = record("td", {}, asked=False)
    (row,) = result_rows([base, record("sv", belief_error=math.inf)], 0)
    assert row.goodput_tok_s == 30 / 4 and row.goodput_ci_low is row.speedup_vs_td_ci_high is None


def test_hardware_and_tensor_parallel_are_separate_cells():
    records = [
        record("td", {}, tensor_parallel=tp, seconds=s) for tp, s in ((2, (2.0, 2.0)), (4, (1.0, 1.0)))
    ]
    records += [record(tensor_parallel=tp) for tp in (2, 4)]
    rows = {r.deployment: r for r in result_rows(records, 0) if r.method == "sd"}
    assert rows["gpu:tp=2"].speedup_vs_td == 2 * rows["gpu:tp=4"].speedup_vs_td


def test_a_sequence_of_two_micro_batches_has_a_step_once_in_two_turns():
    base = record("td", {}, asked=False)
    turns = [result_rows([base, record(num_micro_batches=n)], 0)[0].tpot_s for n in (1, 2)]
    assert turns[1] == 2 * turns[0] == pytest.approx(2 * 0.4 * 20 / 30)


@pytest.mark.parametrize(("overlap", "in_flight"), [("none", 8), ("half", 8), ("full", 16)])
def test_tpot_and_goodput_agree_with_the_sequences_in_flight(overlap, in_flight):
    table = api.replay(
        independent_trace(60, 4, seed=1),
        latency=StairLatency(),
        methods=[f"sv:k=4,overlap={overlap}"],
        batch_sizes=[8],
    )
    (row,) = table.rows
    assert row.tpot_s * row.goodput_tok_s == pytest.approx(in_flight, rel=1e-9)  # Little's law


def shares(*records):
    rows = result_rows([record("td", {}, seconds=(4.0, 4.0)), *records], 0)
    return {r.label: r for r in rows}


def test_share_of_the_gain_of_the_fastest_bound():
    slow = record("oracle-belief", seconds=(3.0, 3.0), is_bound=True)
    rows = shares(record(seconds=(2.0, 2.0)), slow, record("oracle", seconds=(1.0, 1.0), is_bound=True))
    gain = 30 / 2 - 30 / 8
    assert rows["sd:k=2"].oracle_gain_share == pytest.approx((30 / 4 - 30 / 8) / gain)
    assert rows["oracle-belief:k=2"].oracle_gain_share == pytest.approx((30 / 6 - 30 / 8) / gain)
    assert (rows["td"].oracle_gain_share, rows["oracle:k=2"].oracle_gain_share) == (0, 1)
    assert {r.oracle_bound for r in rows.values()} == {"oracle:k=2"}
    assert [rows[name].is_bound for name in ("td", "sd:k=2", "oracle:k=2")] == [False, False, True]


def test_shares_are_paired():
    """Goodputs vary between resamples; a share that is the same in every one has no width."""
    rows = shares(record(seconds=(2.0, 2.0)), record("oracle", seconds=(1.0, 1.0), is_bound=True))
    row = rows["sd:k=2"]
    assert row.goodput_ci_low < row.goodput_ci_high
    assert row.oracle_gain_share_ci_low == pytest.approx(row.oracle_gain_share)
    assert row.oracle_gain_share_ci_high == pytest.approx(row.oracle_gain_share)


def test_a_method_may_be_faster_than_every_bound_and_slower_than_no_speculation():
    bound = record("oracle", seconds=(2.0, 2.0), is_bound=True)
    rows = shares(record(seconds=(1.0, 1.0)), record("sv", seconds=(8.0, 8.0)), bound)
    assert rows["sd:k=2"].oracle_gain_share == pytest.approx(3)
    assert rows["sv:k=2"].oracle_gain_share == pytest.approx(-0.5)


@pytest.mark.parametrize("seconds", [(4.0, 4.0), (5.0, 5.0), (1.0, 5.0)])
def test_no_share_of_a_gain_that_is_none_or_noise(seconds):
    """(1, 5): faster on the sums, slower on the second request."""
    (row, *_) = (r for r in shares(record("oracle", seconds=seconds, is_bound=True)).values() if r.is_bound)
    assert row.oracle_gain_share is row.oracle_gain_share_ci_low is row.oracle_gain_share_ci_high is None


def test_a_bound_that_does_not_fit_in_memory_bounds_nothing():
    bound = record("oracle", seconds=(1.0, 1.0), is_bound=True, fits_memory=False)
    rows = shares(record(), bound)
    assert rows["sd:k=2"].oracle_bound is None and rows["sd:k=2"].oracle_gain_share is None
    no_bound = shares(record())
    assert no_bound["sd:k=2"].oracle_bound is None and no_bound["sd:k=2"].oracle_gain_share is None


def test_one_request_has_a_share_without_interval():
    def one(seconds):
        return GroupSums(*(np.array([seconds]) if n == 9 else np.array([1.0]) for n in range(11)))

    records = [
        record(m, {}, sums=one(s), is_bound=m == "oracle")
        for m, s in (("td", 9.0), ("sd", 5.0), ("oracle", 1.0))
    ]
    row = next(r for r in result_rows(records, 0) if r.method == "sd")
    assert 0 < row.oracle_gain_share < 1 and row.oracle_gain_share_ci_low is None


def test_table_round_trips_to_frame_and_csv():
    rows = result_rows([record("td", {}), record()], 0)
    table = ResultTable(rows, "1", {}, {})
    frame = table.to_frame()
    assert list(frame["params"]) == ["", "k=2"]
    assert list(frame["label"]) == ["td", "sd:k=2"]
    assert table.to_csv().splitlines()[0] == ",".join(frame.columns.drop("label"))
    assert len(table.to_dict()["rows"]) == 2
