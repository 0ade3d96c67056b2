"""Predictions of a panel: blind to what they predict, and closing on what they were fitted to."""

from dataclasses import replace

import pytest

from svsim.latency.shape import Role
from svsim.metrics.bootstrap import goodput_tok_s
from svsim.papers.sv_paper.acceptance import panel_trace
from svsim.papers.sv_paper.panels import BASE, BOUND, HIDDEN, SLOWED, PanelResult, predict_panel
from svsim.papers.sv_paper.published import sv_paper
from svsim.papers.sv_paper.replays import PAPER_RULE, replayed
from svsim.papers.sv_paper.step_times import Split, fit_step_times


@pytest.fixture(scope="module")
def result() -> PanelResult:
    return predict_panel(sv_paper().panels[2])


def test_calibration_bars_are_met_and_marked(result: PanelResult) -> None:
    used = [p for p in result.base.predictions if p.is_calibration]
    assert [p.bar for p in used] == list(result.panel.calibration)
    assert all(abs(p.error) < 0.05 for p in used)
    assert not any(p.is_judged for p in used)


def test_changed_targets_change_no_prediction(result: PanelResult) -> None:
    """SD(7), SV(5), SV(7) and SV's acceptance rate could be anything."""
    panel = result.panel
    bars = tuple(b if b in panel.calibration else replace(b, tok_s=2.0 * b.tok_s) for b in panel.bars)
    rates = {**panel.verified_acceptance, "sv:k=5": 0.9}
    other = predict_panel(replace(panel, bars=bars, verified_acceptance=rates))
    for mine, theirs in zip((result.base, *result.scenarios), (other.base, *other.scenarios), strict=True):
        assert [p.tok_s for p in mine.predictions] == [p.tok_s for p in theirs.predictions]


def test_scenarios_order_as_they_must(result: PanelResult) -> None:
    batch = result.panel.largest_batch
    by_name = {s.name: s.of("sv:k=5", batch).tok_s for s in (result.base, *result.scenarios)}
    assert by_name[HIDDEN] > by_name[SLOWED] > by_name[BASE]
    assert by_name[BOUND] > by_name[BASE] > by_name["signals tell less"] > by_name["signals tell little"]
    assert by_name["companion pass twice as long"] < by_name[BASE]
    assert by_name["svsim's rule (whole step's time)"] > by_name[BASE]
    low, high = result.range_of("sv:k=5", batch)
    assert low <= by_name[BASE] <= high and high >= by_name[HIDDEN]


def test_what_the_published_rates_allow(result: PanelResult) -> None:
    """By hand at the most that may be verified: SV then emits what SD(5) does."""
    account, fit, panel = result.accounting, result.fit, result.panel
    b, emitted = panel.largest_batch, 1 + 5 * panel.calibration_acceptance
    assert account.most_verified * panel.verified_acceptance["sv:k=5"] == pytest.approx(emitted - 1)
    target = fit.latency(Split.VERIFICATION).passes[Role.TARGET]
    seconds = fit.fixed_s + b * fit.per_sequence_s + b * account.most_verified * target.per_new_token_s
    assert account.hidden_tok_s == pytest.approx(b * emitted / seconds)
    assert account.serial_tok_s < account.hidden_tok_s


def test_overlap_is_predicted_at_every_batch_and_costs_a_tenth_at_most(result: PanelResult) -> None:
    """The docs quote +5.3 % at the largest batch; where drafting is hidden, verification alone is priced."""
    for p in result.slowed.predictions:
        free = result.hidden.of(p.bar.method, p.bar.batch_size)
        if p.is_sv:
            assert 1 / 1.1 - 0.005 < p.tok_s / free.tok_s < 1.0
        else:
            assert p.tok_s == free.tok_s
    assert {p.bar.batch_size for p in result.slowed.predictions if p.is_sv} == {1, 4, 8, 16, 32}
    assert result.slowed.of("sv:k=5", 32).error == pytest.approx(0.053, abs=0.005)


def test_half_the_slope_leaves_sv_half_the_gain() -> None:
    """What SV saves is verified tokens: docs/sv_paper.md quotes 1.21 and 1.08."""
    panel = sv_paper().panels[0]
    fit = fit_step_times(panel)
    trace = panel_trace(panel.calibration_acceptance).trace
    methods = ("sd:k=5", f"sv:k=5,{PAPER_RULE}")
    ratios = []
    for share in (1.0, 0.5):
        latency = replace(fit, per_draft_token_s=share * fit.per_draft_token_s).latency(Split.VERIFICATION)
        records = replayed(trace, methods, [panel.largest_batch], latency)
        sd, sv = (goodput_tok_s(records[m, panel.largest_batch]) for m in methods)
        ratios.append(round(sv / sd, 2))
    assert ratios == [1.21, 1.08]
