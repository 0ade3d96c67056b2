"""What overlap is worth: the serial cost by hand, figure 5b, and the same acceptance on a modern engine."""

from dataclasses import replace

import pytest

from svsim.papers.sv_paper.modern_engine import BESIDE, HALVED, SERIAL, modern_latency, modern_rows
from svsim.papers.sv_paper.overlap_claims import predicted_sv_over_sd, published_sv_over_sd
from svsim.papers.sv_paper.panels import BASE, HIDDEN, SLOWED, PanelResult, predict_panel
from svsim.papers.sv_paper.published import sv_paper
from svsim.papers.sv_paper.serial_cost import serial_costs
from svsim.papers.sv_paper.step_times import Split


@pytest.fixture(scope="module")
def result() -> PanelResult:
    return predict_panel(sv_paper().panels[0])


def test_the_serial_cost_is_drafts_and_companion(result: PanelResult) -> None:
    """k draft passes of B sequences and one companion pass over B k tokens (and few it had not read)."""
    _, draft, companion = result.fit.latency(Split.VERIFICATION).passes.values()
    five, seven = serial_costs(result)
    for cost, k in ((five, 5), (seven, 7)):
        b = cost.batch_size
        by_hand = k * (draft.fixed_s + b * draft.per_new_token_s)
        by_hand += companion.fixed_s + b * k * companion.per_new_token_s
        assert by_hand <= cost.before_s < 1.001 * by_hand
        assert cost.missing_s == pytest.approx(-cost.step_s * result.base.of(cost.method, b).error)


def test_the_bars_have_no_room_for_half_of_the_serial_cost(result: PanelResult) -> None:
    """docs/sv_paper.md quotes 48 and 65 %, and +3.5 % for counting the whole step."""
    five, seven = serial_costs(result)
    assert five.missing_share == pytest.approx(0.48, abs=0.01)
    assert seven.missing_share == pytest.approx(0.65, abs=0.01)
    assert five.planning_gain == pytest.approx(0.035, abs=0.003)
    assert five.planned_length < five.mean_length


def test_figure_5b_is_above_figure_3_and_above_this_panel_s_overlap(result: PanelResult) -> None:
    published = sv_paper().overlapped_sv_over_sd
    assert published == {8: 1.50, 16: 1.47, 32: 1.35}
    panel = result.panel
    for b in published:
        bars = panel.bar("sv:k=5", b).tok_s / panel.bar("sd:k=5", b).tok_s
        assert published_sv_over_sd([result], b) == [bars]
        serial, slowed, free = (predicted_sv_over_sd([result], s, b)[0] for s in (BASE, SLOWED, HIDDEN))
        assert serial < slowed < free
    assert published_sv_over_sd([result], 8)[0] < 1.2 < published[8]


def test_a_modern_engine_leaves_sv_no_lead_beyond_the_price_error(result: PanelResult) -> None:
    rows = modern_rows(result)
    assert [row.batch_size for row in rows] == [8, 32, 64]
    assert [row.sd.num_draft_tokens for row in rows] == [3, 2, 1]
    found = {name: [row.sv_over_sd(name) for row in rows] for name in (SERIAL, BESIDE, HALVED)}
    assert found[SERIAL] == pytest.approx([0.94, 0.99, 1.02], abs=0.03)
    assert found[BESIDE] == pytest.approx([1.00, 1.02, 1.05], abs=0.03)
    assert found[HALVED] == pytest.approx([0.51, 0.64, 0.69], abs=0.03)
    assert all(row.is_to_be_measured for row in rows)
    assert not replace(rows[-1], price_error=0.0).is_to_be_measured


def test_the_modern_engine_is_a_profile_over_shipped_prices() -> None:
    latency = modern_latency(sv_paper().panels[0])
    assert (latency.profile.name, latency.hardware, latency.tensor_parallel) == ("vllm-0.20", "a100_sxm", 2)
    assert latency.source == "database+roofline"
    assert latency.price_error_at(8) == latency.profile.error_at(8, False)
