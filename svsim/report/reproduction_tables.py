"""Figure 4 and the tables of a reproduction as plain tables, for the terminal and the page alike."""

from collections.abc import Iterator

from svsim.papers.sv_paper.signals import CELLS
from svsim.papers.sv_paper.sv_paper import Reproduction
from svsim.papers.sv_paper.variants import VariantsResult
from svsim.report.plain_table import PlainTable
from svsim.report.reproduction_costs import modern_table, serial_cost_table
from svsim.report.reproduction_view import (
    acceptance_table,
    bars_table,
    calibration_table,
    errors_table,
    scenario_table,
)

VARIANT_WORDS = {
    "svip": "SVIP",
    "smartspec": "SmartSpec",
    "staged": "Staged SD",
    "eagle": "EAGLE-3 (width 1)",
    "sv": "SV",
}


def all_tables(found: Reproduction) -> Iterator[PlainTable]:
    """Every table, in the order of the page."""
    yield calibration_table(found)
    yield errors_table(found)
    yield scenario_table(found)
    yield acceptance_table(found)
    yield serial_cost_table(found)
    yield modern_table(found)
    yield bars_table(found)
    yield variants_table(found.variants)
    yield implied_steps_table(found.variants)
    yield savings_table(found)
    yield implied_lengths_table(found)
    yield fairness_table(found)
    if found.signals:
        yield resolution_table(found)


def variants_table(found: VariantsResult) -> PlainTable:
    """Figure 4, bar by bar."""
    rows = [
        (
            VARIANT_WORDS[p.variant],
            "calibration" if p.is_calibration else "predicted",
            p.bar.method.partition("k=")[2],
            str(p.bar.batch_size),
            f"{p.bar.tok_s:,.0f}",
            f"{p.tok_s:,.0f}",
            f"{p.error:+.0%}",
            f"{hidden.error:+.0%}",
            f"{p.accept_length:.2f}",
            f"{p.mean_verification_length:.2f}",
        )
        for p, hidden in zip(found.serial, found.overlapped, strict=True)
    ]
    return PlainTable(
        "Figure 4: Qwen3-32B, calibrated on SmartSpec and EAGLE-3",
        "Only SV overlaps. Kendall's tau of the five, SV overlapped: "
        + ", ".join(f"{tau:.1f} (draft {k}, batch {b})" for (k, b), tau in found.rank_agreement.items()),
        (
            "method",
            "used",
            "draft",
            "batch",
            "published",
            "predicted",
            "error",
            "error if hidden",
            "accepted",
            "verified",
        ),
        tuple(rows),
        2,
    )


def implied_steps_table(found: VariantsResult) -> PlainTable:
    """What figure 4 says without a model."""
    sizes = list(found.implied[0].step_s)
    rows = [
        (
            VARIANT_WORDS[i.variant],
            f"{i.mean_verification_length:.2f}",
            *(f"{1e3 * i.step_s[b]:.0f}" for b in sizes),
        )
        for i in found.implied
    ]
    return PlainTable(
        "Figure 4 by itself: tokens verified and milliseconds per step",
        "Accept length over prediction accuracy; batch x (1 + accept length) / goodput. EAGLE-3's 4.93 of 5 "
        "says that prediction accuracy is accepted over verified. SVIP verifies least and has the longest "
        "steps.",
        ("method", "verified", *(f"ms, batch {b}" for b in sizes)),
        tuple(rows),
        1,
    )


def savings_table(found: Reproduction) -> PlainTable:
    """Operations per emitted token."""
    rows = [
        (
            s.panel,
            f"{s.rate_sd:.2f} -> {s.rate_sv:.2f}",
            f"{s.fixed.target / 1e9:,.0f}",
            f"{s.adaptive.target / 1e9:,.0f}",
            f"{s.saved_share:.1%}",
            f"{s.companion_share:.1%}",
        )
        for s in found.savings
    ]
    return PlainTable(
        "Table 3: operations of SV(5) against SD(5), predicted",
        "Target GFLOP per emitted token (2 x weights met + attention), bonus row counted; largest batch, no "
        "overlap. Published: Llama2 saves 45.9 % and adds 0.9 %, CodeLlama saves 31.7 % and adds 3.2 %.",
        ("panel", "rate", "SD(5)", "SV(5)", "saved", "companion adds"),
        tuple(rows),
        1,
    )


def implied_lengths_table(found: Reproduction) -> PlainTable:
    """Table 3 against itself."""

    def length(value: float | None) -> str:
        return "none" if value is None else f"{value:.2f}"

    rows = [
        (
            i.row.name,
            f"{i.row.accept_rate_sd:.2f} -> {i.row.accept_rate_sv:.2f}",
            f"{i.row.saved_share:.1%}",
            length(i.with_bonus_row),
            length(i.drafted_rows_only),
            "yes" if i.is_possible else "no",
        )
        for i in found.implied
    ]
    return PlainTable(
        "Table 3 by itself: how many tokens would SV have to verify?",
        "Mean verified tokens per step (0 to 5) at which the row's rates give the row's saving.",
        ("draft/companion/target", "rate", "saved", "bonus row counted", "not counted", "possible"),
        tuple(rows),
        1,
    )


def fairness_table(found: Reproduction) -> PlainTable:
    """Verification lengths by request."""
    rows = []
    for result, f in zip(found.panels, found.fairness, strict=True):
        ends = [", ".join(f"{x:.2f}" for x in values) for values in (f.lowest, f.highest)]
        rows.append(
            (result.panel.name, *ends, f"{f.mean:.2f}", f"{f.standard_deviation:.2f}", str(f.num_requests))
        )
    table = found.published.tables["table_9"]
    shown = [", ".join(f"{x:.2f}" for x in table[name].values()) for name in ("bottom5", "top5")]
    rows.append(("published (models not named)", *shown, "-", "-", "-"))
    return PlainTable(
        "Table 9: verified tokens per step, request by request",
        "SV(5) at the largest batch, no overlap: the five requests at either end.",
        ("panel", "lowest five", "highest five", "mean", "deviation", "requests"),
        tuple(rows),
        3,
    )


def resolution_table(found: Reproduction) -> PlainTable:
    """Gain by bins on recorded traces."""
    rows = [
        (
            s.file,
            s.acceptance_kind,
            str(r.num_x_bins),
            f"{r.entropy_bits:.2f}",
            *(f"{g:.3f}" for g in r.corrected_bits),
        )
        for s in found.signals
        for r in s.resolutions
    ]
    table = found.published.tables["table_1"]
    rows += [
        (
            f"published, {kind}",
            "",
            "not told",
            f"{table[kind]['entropy_bits']:.2f}",
            *map(str, table[kind]["gain_bits"]),
        )
        for kind in ("chat", "code")
    ]
    return PlainTable(
        "Table 1: bits that S and A tell about X, by resolution",
        "Shuffle-corrected; X: acceptance probability of the first draft token in equal bins.",
        ("trace", "acceptance", "bins of X", "H(X)", *CELLS),
        tuple(rows),
        2,
    )
