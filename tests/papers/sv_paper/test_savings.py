"""Table 3 against itself: rates and savings of one process are solved for its length."""

import pytest

from svsim.papers.sv_paper.published import SavingsRow
from svsim.papers.sv_paper.savings import LENGTH, implied_lengths


def row(length: float, rate_sd: float, rate_sv: float, bonus: float, tflop_sd: float = 1e6) -> SavingsRow:
    """The row that a rule with this mean length would have, to many digits."""
    fixed = (bonus + LENGTH) / (1 + LENGTH * rate_sd)
    adaptive = (bonus + length) / (1 + rate_sv * length)
    saved = tflop_sd * (1 - adaptive / fixed)
    return SavingsRow("made", "d", "c", "t", rate_sd, rate_sv, tflop_sd, saved, 0.0)


def test_the_length_behind_a_saving_is_found() -> None:
    with_bonus, without = implied_lengths([row(1.7, 0.3, 0.6, 1.0), row(2.4, 0.3, 0.6, 0.0)])
    assert with_bonus.with_bonus_row == pytest.approx(1.7)
    assert without.drafted_rows_only == pytest.approx(2.4)
    assert with_bonus.is_possible and without.is_possible


def test_a_saving_that_no_length_gives_is_impossible() -> None:
    too_little = SavingsRow("made", "d", "c", "t", 0.14, 0.61, 109.0, 10.0, 1.0)
    (found,) = implied_lengths([too_little])
    assert found.with_bonus_row is None and found.drafted_rows_only is None
    assert not found.is_possible


def test_rounding_may_make_it_possible() -> None:
    exact = row(5.0, 0.30, 0.60, 1.0, tflop_sd=100.0)
    beyond = SavingsRow("made", "d", "c", "t", 0.30, 0.60, 100.0, exact.tflop_saved - 0.3, 1.0)
    (found,) = implied_lengths([beyond])
    assert found.with_bonus_row is None
    assert found.is_possible
