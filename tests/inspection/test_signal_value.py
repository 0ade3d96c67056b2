"""What signals are worth: between the mean alone and the acceptance probability itself, on the same coins."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.command_line import svsim_json, svsim_process, svsim_refuses
from support.small_traces import LINEAR, independent_trace

import svsim
from svsim.decoding.presets import parse_method
from svsim.engines import admission
from svsim.errors import InputError
from svsim.inspection import signal_value
from svsim.inspection.signal_value import MEAN_ONLY, PERFECT
from svsim.latency.linear import LinearLatency
from svsim.trace.file import save_trace
from svsim.trace.token_trace import ObservableColumns

# a token costs enough for its verification to be a question
STEEP = LinearLatency.from_json(
    LINEAR | {"target": {"fixed_s": 0.012, "per_new_token_s": 8e-4, "per_kv_token_s": 1e-8}}, "steep"
)


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    monkeypatch.setattr(admission, "MIN_POSITIONS", 50_000)


@pytest.fixture(scope="module")
def trace():
    """Synthetic; the companion's A is acceptance itself, S is acceptance through noise."""
    made = independent_trace(300, 4, seed=3, chains="coherent")
    signals = dict(made.observable.signals) | {"companion_accept": made.target.accept_prob}
    return replace(made, observable=ObservableColumns(signals))


@pytest.fixture(scope="module")
def values(trace):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admission, "MIN_POSITIONS", 50_000)
        yield svsim.value(trace, latency=STEEP, batch_sizes=[4, 16])


def rows_of(values, batch_size):
    return {row.belief: row for row in values.rows if row.batch_size == batch_size}


def test_a_row_per_belief_and_batch_size(values):
    names = [MEAN_ONLY, "S and A", "S", "A", PERFECT]
    assert [(r.batch_size, r.belief) for r in values.rows] == [(b, n) for b in (4, 16) for n in names]
    assert json.loads(json.dumps(values.to_dict(), allow_nan=False))["rows"][0]["belief"] == MEAN_ONLY


@pytest.mark.parametrize("batch_size", [4, 16])
def test_the_signal_that_is_acceptance_itself_is_worth_all_there_is(values, batch_size):
    rows = rows_of(values, batch_size)
    assert rows[MEAN_ONLY].over_mean_only.value == 1.0 and rows[MEAN_ONLY].share_of_perfect == 0.0
    assert rows[PERFECT].share_of_perfect == 1.0
    assert rows["A"].share_of_ceiling.value > 0.95 and rows["A"].share_of_perfect > 0.9
    assert 0.0 < rows["S"].share_of_perfect < rows["A"].share_of_perfect
    assert rows["S"].over_mean_only.ci_low > 1.0, "noise alone would not clear its interval"


def test_free_and_paid(values, trace):
    for row in values.rows:
        needs = set(row.signals) & {"similarity", "companion_accept"}
        assert (row.paid_goodput_tok_s is not None) == bool(needs)
        assert not needs or row.paid_goodput_tok_s < row.goodput_tok_s
    # the paid row of S and A is Speculative Verification as the replay has it
    table = svsim.replay(trace, latency=STEEP, batch_sizes=[16], methods=["sv:k=4"])
    assert rows_of(values, 16)["S and A"].paid_goodput_tok_s == table.rows[0].goodput_tok_s


def test_over_the_best_fixed_length(values, trace):
    methods = [f"sd:k={k}" for k in (1, 2, 3, 4)] + ["oracle-belief:k=4"]
    table = svsim.replay(trace, latency=STEEP, batch_sizes=[16], methods=[*methods, "sv:k=4"])
    *fixed, perfect, _ = table.rows
    best = max(fixed, key=lambda row: row.goodput_tok_s)
    row = rows_of(values, 16)[PERFECT]
    assert row.fixed_length == best.label
    assert row.over_fixed.value == pytest.approx(perfect.goodput_tok_s / best.goodput_tok_s, rel=1e-12)


def test_beliefs_do_not_see_the_requests_they_are_judged_on(trace):
    assert parse_method("oracle-belief:k=4").is_bound
    with pytest.raises(InputError, match="0 < split < 1"):
        svsim.value(trace, latency=STEEP, profile_split=0.0)


def test_what_few_profile_requests_taught_is_in_the_intervals(monkeypatch):
    """As the note says: learnt on 6 requests, compared with the same run if that is not said."""
    few = independent_trace(12, 4, seed=5, heterogeneous=True, output_tokens=(300, 400))

    def widths():
        found = svsim.value(few, latency=STEEP, batch_sizes=[4])
        assert any("intervals are widened" in note for note in found.notes)
        return {r.belief: r.over_mean_only.ci_high - r.over_mean_only.ci_low for r in found.rows}

    widened = widths()
    monkeypatch.setattr(signal_value, "with_belief_error", lambda records, *_: records)
    narrow = widths()
    assert widened[MEAN_ONLY] == narrow[MEAN_ONLY] == 0.0
    assert all(widened[name] > narrow[name] for name in ("S and A", "S", "A", PERFECT))


def test_what_a_trace_lacks(trace):
    bare = replace(trace, observable=ObservableColumns({}))
    with pytest.raises(InputError, match="holds no signal"):
        svsim.value(bare, latency=STEEP)
    coins_only = replace(trace, target=replace(trace.target, accept_prob=None))
    with pytest.raises(InputError, match="accept_prob"):
        svsim.value(coins_only, latency=STEEP)


def test_command(tmp_path, trace):
    save_trace(trace, tmp_path / "t.parquet")
    (tmp_path / "l.json").write_text(json.dumps(LINEAR))
    arguments = ("value", tmp_path / "t.parquet", "--latency", tmp_path / "l.json", "--batch", "8")
    found = svsim_json(*arguments)
    assert [row["belief"] for row in found["rows"]] == [MEAN_ONLY, "S and A", "S", "A", PERFECT]
    assert np.isclose(found["rows"][0]["over_mean_only"]["value"], 1.0)
    text = svsim_process(*arguments).stdout
    assert "synthetic acceptance" in text and "over sd:k=" in text
    assert "whole numbers" in svsim_refuses(*arguments[:-1], "eight")
    assert "k" in svsim_refuses(*arguments, "--k", "9")
