"""Step times from bars: known ones are found again, and only calibration bars are read."""

from dataclasses import replace

import pytest

from svsim.latency.model import LatencyModel
from svsim.latency.shape import Role, StepShape
from svsim.papers.sv_paper.published import Bar, Panel, sv_paper
from svsim.papers.sv_paper.step_times import (
    Split,
    fit_step_times,
    num_drafted,
    published_step_s,
    roofline_token_s,
)

F, S, D, C = 0.018, 0.5e-3, 2.2e-3, 0.17e-3
RATE = 0.3


def known_panel() -> Panel:
    """Bars of known step times; those that are to be predicted are nonsense."""
    bars = []
    for method in ("td", "sd:k=5"):
        k = num_drafted(method)
        for b in (1, 4, 8, 16, 32):
            seconds = F + S * b + k * (D + C * b)
            bars.append(Bar(method, b, b * (1 + k * RATE) / seconds, 1.0))
    bars += [Bar(method, 32, 1.0, 1.0) for method in ("sd:k=7", "sv:k=5", "sv:k=7")]
    models = sv_paper().panels[0].models
    return Panel("known", models, {"sd:k=5": RATE, "sv:k=5": 0.01}, tuple(bars))


def test_known_step_times_are_found_again() -> None:
    fit = fit_step_times(known_panel())
    found = (fit.fixed_s, fit.per_sequence_s, fit.per_draft_pass_s, fit.per_draft_token_s)
    assert found == pytest.approx((F, S, D, C), rel=1e-6)
    assert fit.draft_token_range_s == pytest.approx((C, C), rel=1e-6)
    assert fit.degrees_of_freedom == 4
    assert fit.rms_residual < 1e-9
    assert fit.step_s(32, 7) == pytest.approx(F + 32 * S + 7 * (D + 32 * C))


def test_batch_1_and_the_bars_to_be_predicted_are_not_read() -> None:
    panel = known_panel()
    changed = tuple(
        replace(b, tok_s=3 * b.tok_s) if b.batch_size == 1 or b.method not in ("td", "sd:k=5") else b
        for b in panel.bars
    )
    other = replace(panel, bars=changed, verified_acceptance={"sd:k=5": RATE, "sv:k=5": 0.9})
    first, second = fit_step_times(panel), fit_step_times(other)
    assert first.fixed_s == second.fixed_s and first.per_draft_token_s == second.per_draft_token_s


@pytest.mark.parametrize("split", Split)
@pytest.mark.parametrize("k", [0, 5, 7])
def test_a_split_moves_costs_between_models_and_keeps_their_sum(split: Split, k: int) -> None:
    for panel in sv_paper().panels:
        fit = fit_step_times(panel)
        latency = fit.latency(split)
        assert isinstance(latency, LatencyModel)
        b = panel.largest_batch
        verify_s = latency.predict_s(StepShape(Role.TARGET, b, b * (k + 1), 0))
        draft_s = k * latency.predict_s(StepShape(Role.DRAFT, b, b, 0))
        assert float(verify_s + draft_s) == pytest.approx(fit.step_s(b, k))


def test_a_capped_target_pays_no_more_per_token_than_per_sequence() -> None:
    for panel in sv_paper().panels:
        fit = fit_step_times(panel)
        line = fit.latency(Split.CAPPED).passes[Role.TARGET]
        assert line.per_new_token_s <= fit.per_sequence_s + 1e-12
        assert line.per_sequence_s >= -1e-12


def test_a_bar_gives_its_step_time() -> None:
    assert published_step_s(Bar("td", 8, 400.0, 1.0), 0.5) == 0.02
    assert published_step_s(Bar("sd:k=5", 8, 400.0, 1.0), 0.2) == 0.04


def test_both_data_sets_give_sd_the_same_step_time() -> None:
    """Accepted over verified is the reading of the published rate that makes them agree."""
    panels = sv_paper().panels
    for target in ("Llama-2-13B", "CodeLlama-34B"):
        ratio = []
        for panel in (p for p in panels if p.name.startswith(target)):
            sd, td = (panel.bar(m, panel.largest_batch) for m in ("sd:k=5", "td"))
            v = panel.calibration_acceptance
            ratio.append(published_step_s(sd, v) / published_step_s(td, v))
        assert ratio[0] == pytest.approx(ratio[1], rel=0.05)


def test_these_panels_pay_more_per_token_than_a_roofline_whichever_bar_is_left_out() -> None:
    for panel in sv_paper().panels:
        fit = fit_step_times(panel)
        low, high = fit.draft_token_range_s
        assert low < fit.per_draft_token_s < high
        for seconds in (low, high):
            assert 1.7 < seconds / roofline_token_s(panel, 300.0) < 2.8


def test_a_bar_that_is_off_widens_the_range() -> None:
    panel = known_panel()
    bars = tuple(
        replace(b, tok_s=0.9 * b.tok_s) if (b.method, b.batch_size) == ("sd:k=5", 32) else b
        for b in panel.bars
    )
    low, high = fit_step_times(replace(panel, bars=bars)).draft_token_range_s
    assert low == pytest.approx(C, rel=1e-6) and high > 1.1 * C
