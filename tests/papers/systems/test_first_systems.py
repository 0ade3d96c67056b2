"""Leviathan, Chen, PEARL: verdicts as counted by hand, and the arithmetic of single rows."""

import pytest

from svsim.papers.reproduction import reproduce_systems
from svsim.papers.rows import Role, Verdict, score_of
from svsim.papers.system import facts
from svsim.papers.systems.pearl import A_ROW, A_SPEEDUP, ON_AVERAGE, fitted_gamma, priced_gamma


def rows_of(name, metric=None, role=Role.PREDICTED):
    return [
        row
        for row in reproduce_systems(name, {}).rows
        if row.role is role and (metric is None or row.metric == metric)
    ]


def test_leviathan_expects_what_its_tables_expect():
    expected = rows_of("leviathan", "expected speedup")
    assert len(expected) == 8 and {row.verdict for row in expected} == {Verdict.CONFIRMED}
    # EnDe, T5-large: (1 - .82^8) / .18 / (1 + 7 x .11)
    assert expected[2].predicted == pytest.approx((1 - 0.82**8) / 0.18 / 1.77)
    table_1 = [row for row in rows_of("leviathan") if "free drafts" in row.setting]
    assert len(table_1) == 8 and {row.verdict for row in table_1} == {Verdict.CONFIRMED}
    measured = rows_of("leviathan", "measured speedup")
    ratios = [row.published / row.predicted for row in measured]
    assert 0.67 < min(ratios) < 0.69 and 1.28 < max(ratios) < 1.30
    assert {row.verdict for row in measured} == {Verdict.NOT_TESTABLE}


def test_chen_prints_one_speedup_that_its_times_do_not_give():
    speedups = rows_of("chen", "speedup")
    assert [row.verdict for row in speedups] == [
        *(Verdict.NOT_CONFIRMED, Verdict.CONFIRMED, Verdict.CONFIRMED),
    ]
    assert speedups[0].predicted == pytest.approx(14.1 / 7.52)
    tokens = [row.predicted for row in rows_of("chen", "tokens per loop, at least")]
    assert tokens == pytest.approx([21.3 / 7.52, 21.3 / 7.00, 21.3 / 5.73])
    assert min(tokens) > 2.8 and max(tokens) < 3.8


def test_chen_says_when_times_do_not_belong_together():
    (_, tokens) = reproduce_systems("chen", {"token_ms": 2.0}).rows
    assert tokens.predicted > 5 and "do not belong together" in tokens.why


def test_pearl_predicts_tokens_per_step_and_speedups():
    tokens = rows_of("pearl", "tokens per step")
    assert len(tokens) == 7 and all(abs(row.error) <= A_ROW.relative for row in tokens)
    assert score_of(tokens).mean_error <= ON_AVERAGE
    speedups = [row for row in rows_of("pearl", "speedup") if row.is_judged]
    assert len(speedups) == 5 and all(abs(row.error) <= A_SPEEDUP.relative for row in speedups)
    assert score_of(speedups).mean_error <= ON_AVERAGE


def test_pearls_gamma_is_named_as_fitted_and_no_row_of_a_batch_is_judged_without_prices():
    gammas = rows_of("pearl", "gamma", Role.CALIBRATED)
    assert [row.predicted for row in gammas] == [9, 6, 5, 12, 7]
    batches = [row for row in rows_of("pearl", "speedup") if "batch 32" in row.setting]
    assert len(batches) == 5 and {row.verdict for row in batches} == {Verdict.NOT_TESTABLE}
    assert all(0 < row.error < 0.25 for row in batches)


def test_the_rule_for_gamma_at_svsims_prices_is_near_what_fits():
    fitted = facts("pearl")["fitted_gamma"]
    for pair in facts("pearl")["priced_on"]:
        if pair in fitted:
            assert 1 <= priced_gamma(pair) / fitted[pair] <= 1.6


def test_pearls_speedup_takes_the_prices_of_both_models():
    asked = {"gamma": 9, "mat": 9.55, "batch": 32}
    _, without = reproduce_systems("pearl", asked).rows
    _, priced = reproduce_systems("pearl", {**asked, "pair": "Qwen2.5-1.5B/72B"}).rows
    assert without.predicted is None and "name the pair" in without.why
    (row,) = (r for r in rows_of("pearl", "speedup") if r.setting == "Qwen2.5-1.5B/72B, HumanEval, batch 32")
    assert priced.predicted == pytest.approx(row.predicted)


def test_the_gamma_of_a_row_is_found_again():
    from svsim.closed_forms import pearl_tokens_per_step

    for gamma in (1, 2, 7, 20):
        assert fitted_gamma(0.9, pearl_tokens_per_step(0.9, gamma)) == gamma
