"""Errors of a comparison, by hand."""

import json

import pytest

from svsim.errors import InputError
from svsim.metrics.accuracy import GoodputPair, MarginalPair, accuracy

# predicted, measured
PAIRS = [
    GoodputPair("td", 1, 100.0, 100.0),
    GoodputPair("sd:k=3", 1, 210.0, 200.0),
    GoodputPair("sd:k=5", 1, 180.0, 220.0),
    GoodputPair("sv:k=7", 1, 231.0, 209.0),
    GoodputPair("td", 8, 800.0, 1000.0),
    GoodputPair("sd:k=3", 8, 700.0, 1100.0),
    GoodputPair("sv:k=7", 8, 900.0, 900.0),
]


def test_errors_speedups_and_choices() -> None:
    found = accuracy(PAIRS)
    rows = {(r.label, r.batch_size): r for r in found.rows}
    assert rows["sd:k=3", 1].goodput_error == pytest.approx(0.05)
    assert rows["sd:k=3", 1].speedup_vs_td_error == pytest.approx(0.05)
    assert rows["td", 1].predicted_speedup_vs_td is None
    assert rows["sd:k=3", 1].predicted_speedup_vs_sd is None
    # each side's own best fixed length: 210 predicted, 220 measured
    sv = rows["sv:k=7", 1]
    assert (sv.predicted_speedup_vs_sd, sv.measured_speedup_vs_sd) == pytest.approx((1.1, 0.95))
    choices = {c.batch_size: c for c in found.choices}
    assert (choices[1].recommended, choices[1].fastest) == ("sv:k=7", "sd:k=5")
    assert choices[1].regret == pytest.approx(1 - 209 / 220)
    assert choices[8].regret == pytest.approx(1 - 900 / 1100)
    # sd:k=3 wins everywhere when measured, and loses at batch 8 when predicted
    crossing = {c.label: c for c in found.crossovers}["sd:k=3"]
    assert (crossing.predicted_batch, crossing.measured_batch, crossing.grid_steps_apart) == (8, None, 1)
    summary = found.summary()
    assert summary["regret_worst"] == pytest.approx(1 - 900 / 1100)
    assert summary["goodput_error_worst"] == pytest.approx(abs(700 / 1100 - 1))
    assert summary["marginal_error_mean"] is None


def test_a_common_scale_cancels_in_everything_but_goodput() -> None:
    found = accuracy(
        [GoodputPair(p.label, p.batch_size, 1.3 * p.measured_tok_s, p.measured_tok_s) for p in PAIRS]
    )
    summary = found.summary()
    assert found.common_scale == pytest.approx(1.3)
    assert summary["goodput_error_mean"] == pytest.approx(0.3)
    for name in ("speedup_error_worst", "crossover_grid_steps_worst", "regret_worst"):
        assert summary[name] == pytest.approx(0.0, abs=1e-12), name


def test_a_late_win_moves_the_crossover() -> None:
    """Only the losses up to the largest batch size count: a win behind a loss takes it back."""
    measured = {1: 2.0, 2: 0.5, 4: 2.0, 8: 0.5}
    pairs = [GoodputPair("td", b, 1.0, 1.0) for b in measured]
    pairs += [GoodputPair("sd:k=5", b, 1.5 if b < 4 else 0.5, r) for b, r in measured.items()]
    (crossing,) = accuracy(pairs).crossovers
    assert (crossing.predicted_batch, crossing.measured_batch, crossing.grid_steps_apart) == (4, 8, 1)


def test_without_target_only_there_are_no_crossovers() -> None:
    found = accuracy([p for p in PAIRS if p.method != "td"])
    assert found.crossovers == () and found.summary()["crossover_grid_steps_worst"] is None


def test_slopes() -> None:
    found = accuracy(PAIRS, [MarginalPair(8, 1.1e-4, 1e-4), MarginalPair(1, 1e-4, 0.0)])
    assert found.summary()["marginal_error_mean"] == pytest.approx(0.1)
    assert found.marginals[1].error is None
    json.dumps(found.to_dict(), allow_nan=False)


def test_nothing_to_compare() -> None:
    with pytest.raises(InputError, match="nothing to compare"):
        accuracy([])
