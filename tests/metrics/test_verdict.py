"""Verdicts: called only where the error bar of prices and sampling lies on one side of 1."""

import math
from types import SimpleNamespace

import pytest

from svsim.metrics.verdict import HALF_90, HALF_95, Answer, error_bar, verdicts


def row(speedup, price_error=0.1, low=None, high=None, method="sd", batch_size=8, **changes):
    known = {"method": method, "label": f"{method}:k=3", "deployment": "h100_sxm:tp=1",
             "batch_size": batch_size, "is_bound": False, "lossless": True, "speedup_vs_td": speedup,
             "speedup_vs_td_ci_low": low,
             "speedup_vs_td_ci_high": high,
             "engine": "vllm-0.20", "price_error": price_error}  # fmt: skip
    return SimpleNamespace(**(known | changes))


@pytest.mark.parametrize(
    ("speedup", "answer"),
    [(2.0, "speculate"), (1.19, "speculate"), (1.15, "measure"), (0.9, "measure"), (0.8, "do not speculate")],
)
def test_inside_the_price_error_the_answer_is_to_measure(speedup, answer):
    (verdict,) = verdicts([row(speedup)])
    assert verdict.verdict == answer
    assert (verdict.measure_with is not None) == (answer == "measure")


def test_the_bar_holds_90_percent_of_a_normal_law():
    low, high = error_bar(row(1.5, 0.1))
    assert math.log(high / 1.5) == pytest.approx(HALF_90 * 0.1) and low * high == pytest.approx(1.5**2)


def test_sampling_adds_in_squares():
    sampling = 0.1
    ends = {"low": 1.5 * math.exp(-HALF_95 * sampling), "high": 1.5 * math.exp(HALF_95 * sampling)}
    _, high = error_bar(row(1.5, 0.1, **ends))
    assert math.log(high / 1.5) == pytest.approx(HALF_90 * math.hypot(0.1, sampling))


def test_measured_step_times_rest_on_the_interval():
    sure, open_ = row(1.05, None, 1.02, 1.08), row(1.05, None, 0.98, 1.12, batch_size=16)
    found = verdicts([sure, open_])
    assert [v.verdict for v in found] == [Answer.SPECULATE, Answer.MEASURE]
    assert "more requests" in found[1].measure_with


def test_the_fastest_that_speculates_is_judged_at_every_batch_size():
    rows = [
        row(1.0, method="td"),
        row(1.3),
        row(1.6, method="sv"),
        row(3.0, is_bound=True),
        row(0.7, batch_size=64),
    ]
    first, second = verdicts(rows)
    assert (first.method, first.batch_size, first.verdict) == ("sv:k=3", 8, "speculate")
    assert (second.batch_size, second.verdict) == (64, "do not speculate")


def test_a_row_that_does_not_fit_has_no_verdict():
    assert verdicts([row(None), row(1.0, method="td")]) == ()
