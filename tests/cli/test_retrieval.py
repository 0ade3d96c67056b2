"""``svsim retrieval``: rows, the best stride, intervals, errors; the same from Python."""

import pytest
from support.command_line import svsim_json, svsim_refuses, svsim_run

import svsim

WORDS = ("retrieval", "--a", 0.25, "--b", 4.0, "--gamma", 0.6)


def test_rows_by_stride():
    found = svsim_json(*WORDS, "--requests", 500)
    assert [row["stride"] for row in found["rows"]] == [*range(1, 9), "os3"]
    first, *_, os3 = found["rows"]
    assert first["request_s"] == first["renewal_s"] == pytest.approx(32 * 4.25)
    assert first["speedup"] == pytest.approx(1.0)
    assert os3["request_s"] is None and os3["simulated_s"] < first["simulated_s"]
    for row in found["rows"]:
        assert row["simulated_s_ci_low"] <= row["simulated_s"] <= row["simulated_s_ci_high"]
        assert row["speedup_ci_low"] <= row["speedup"] <= row["speedup_ci_high"]
    best = min(found["rows"][:-1], key=lambda row: row["renewal_s"])
    assert best["is_best"] and found["best_stride"] == best["stride"]


def test_chosen_strides_and_the_terminal():
    shown = svsim_run(*WORDS, "--stride", 4, "--stride", "os3", "--async", "--requests", 100).stdout
    assert "asynchronous" in shown and "upper bound" in shown and "Best stride up to 8" in shown


def test_same_seed_same_rows_and_python_has_the_same():
    one = svsim_json(*WORDS, "--stride", 3, "--seed", 5, "--requests", 100)
    table = svsim.retrieval(a=0.25, b=4.0, gamma=0.6, stride=3, seed=5, requests=100)
    assert one["rows"] == table.to_dict()["rows"]
    assert table.to_frame()["stride"].tolist() == [3]
    other = svsim_json(*WORDS, "--stride", 3, "--seed", 6, "--requests", 100)
    assert one["rows"] != other["rows"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--stride", "four"], "--stride four: expected 1 to 64, or os3"),
        (["--stride", "65"], "--stride 65 is out of range"),
        (["--gamma", "2"], "--gamma 2 is no probability; expected 0 <= gamma <= 1"),
        (["--documents", "0"], "--documents 0 is out of range"),
        (["--requests", "1"], "--requests 1 is out of range"),
        (["--gamma-max", "1"], "--gamma-max 1 is out of range"),
        (["--max-stride", "0"], "--max-stride 0 is out of range"),
        (["--seed", "-1"], "seed must be a non-negative integer"),
    ],
)
def test_errors(words, says):
    assert says in svsim_refuses(*WORDS, *words)
