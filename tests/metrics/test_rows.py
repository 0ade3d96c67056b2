"""Rows from records: every number by hand on a tiny example."""

import numpy as np
import pytest

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


def test_hardware_and_tensor_parallel_are_separate_cells():
    records = [
        record("td", {}, tensor_parallel=tp, seconds=s) for tp, s in ((2, (2.0, 2.0)), (4, (1.0, 1.0)))
    ]
    records += [record(tensor_parallel=tp) for tp in (2, 4)]
    rows = {r.deployment: r for r in result_rows(records, 0) if r.method == "sd"}
    assert rows["gpu:tp=2"].speedup_vs_td == 2 * rows["gpu:tp=4"].speedup_vs_td


def test_table_round_trips_to_frame_and_csv():
    rows = result_rows([record("td", {}), record()], 0)
    table = ResultTable(rows, "1", {}, {})
    frame = table.to_frame()
    assert list(frame["params"]) == ["", "k=2"]
    assert table.to_csv().splitlines()[0] == ",".join(frame.columns)
    assert len(table.to_dict()["rows"]) == 2
