"""What a result row shows: one list of columns for the terminal and the page."""

from collections.abc import Callable
from dataclasses import dataclass

from svsim.metrics.rows import ResultRow
from svsim.report.formats import interval, kilojoules, milliseconds, number, yes_no

Cell = Callable[[ResultRow], str]


@dataclass(frozen=True, slots=True)
class RowColumn:
    """One quantity: heading and cell on the page; ``short``: those of the terminal, where it has them."""

    heading: str
    cell: Cell
    short: tuple[str, Cell] | None = None
    is_words: bool = False


def _dashed(low: float | None, high: float | None, form: str) -> str:
    return interval(low, high, form, "-")


COLUMNS = (
    RowColumn("batch", lambda r: str(r.batch_size), ("batch", lambda r: str(r.batch_size))),
    RowColumn("method", lambda r: r.label, ("method", lambda r: r.label), is_words=True),
    RowColumn(
        "goodput tok/s",
        lambda r: number(r.goodput_tok_s, ",.1f"),
        ("tok/s", lambda r: number(r.goodput_tok_s, ",.0f")),
    ),
    RowColumn(
        "95 % interval",
        lambda r: interval(r.goodput_ci_low, r.goodput_ci_high, ",.1f"),
        ("95 % interval", lambda r: _dashed(r.goodput_ci_low, r.goodput_ci_high, ",.0f")),
    ),
    RowColumn(
        "vs target-only",
        lambda r: number(r.speedup_vs_td, ".3f", "x"),
        ("vs TD", lambda r: number(r.speedup_vs_td, ".2f", "x")),
    ),
    RowColumn("interval", lambda r: interval(r.speedup_vs_td_ci_low, r.speedup_vs_td_ci_high, ".3f")),
    RowColumn(
        "vs fixed length",
        lambda r: number(r.speedup_vs_sd, ".3f", "x"),
        ("vs SD", lambda r: number(r.speedup_vs_sd, ".2f", "x")),
    ),
    RowColumn(
        "interval",
        lambda r: interval(r.speedup_vs_sd_ci_low, r.speedup_vs_sd_ci_high, ".3f"),
        ("interval", lambda r: _dashed(r.speedup_vs_sd_ci_low, r.speedup_vs_sd_ci_high, ".2f")),
    ),
    RowColumn("best fixed length", lambda r: r.sd_baseline or "-", is_words=True),
    RowColumn(
        "share of the bound's gain",
        lambda r: number(r.oracle_gain_share, ".1%"),
        ("of bound", lambda r: number(r.oracle_gain_share, ".0%")),
    ),
    RowColumn("interval", lambda r: interval(r.oracle_gain_share_ci_low, r.oracle_gain_share_ci_high, ".1%")),
    RowColumn("bound", lambda r: r.oracle_bound or "-", is_words=True),
    RowColumn("draft acceptance rate", lambda r: number(r.draft_acceptance_rate, ".1%")),
    RowColumn("verified acceptance rate", lambda r: number(r.verified_acceptance_rate, ".1%")),
    RowColumn(
        "mean acceptance length (with bonus)",
        lambda r: number(r.mean_acceptance_length, ".3f"),
        ("tok/step", lambda r: number(r.mean_acceptance_length, ".2f")),
    ),
    RowColumn(
        "mean verification length",
        lambda r: number(r.mean_verification_length, ".3f"),
        ("verified", lambda r: number(r.mean_verification_length, ".2f")),
    ),
    RowColumn(
        "rejected of verified",
        lambda r: number(r.rejected_share_of_verified, ".1%"),
        ("rejected", lambda r: number(r.rejected_share_of_verified, ".0%")),
    ),
    RowColumn(
        "step ms",
        lambda r: milliseconds(r.step_time_s),
        ("step ms", lambda r: milliseconds(r.step_time_s, 2)),
    ),
    RowColumn("overhead ms", lambda r: milliseconds(r.overhead_time_s)),
    RowColumn(
        "draft ms",
        lambda r: milliseconds(r.draft_time_s),
        ("draft", lambda r: milliseconds(r.draft_time_s, 2)),
    ),
    RowColumn(
        "companion ms",
        lambda r: milliseconds(r.companion_time_s),
        ("comp.", lambda r: milliseconds(r.companion_time_s, 2)),
    ),
    RowColumn(
        "verify ms",
        lambda r: milliseconds(r.verify_time_s),
        ("verify", lambda r: milliseconds(r.verify_time_s, 2)),
    ),
    RowColumn("prefill ms", lambda r: milliseconds(r.prefill_time_s)),
    RowColumn("TPOT ms", lambda r: milliseconds(r.tpot_s), ("TPOT ms", lambda r: milliseconds(r.tpot_s, 2))),
    RowColumn("steps", lambda r: f"{r.num_steps:,}"),
    RowColumn("emitted tokens", lambda r: f"{r.num_emitted_tokens:,}"),
    RowColumn("requests", lambda r: f"{r.num_requests:,}"),
    RowColumn("fits memory", lambda r: yes_no(r.fits_memory)),
    RowColumn("$ per million tokens", lambda r: number(r.usd_per_million_tokens, ",.2f")),
    RowColumn("kJ per million tokens", lambda r: kilojoules(r.joules_per_million_tokens)),
    RowColumn("lossless", lambda r: yes_no(r.lossless)),
    RowColumn(
        "replay",
        lambda r: r.replay_kind,
        ("replay", lambda r: "exact" if r.replay_kind == "exact" else "approx."),
        is_words=True,
    ),
    RowColumn("step times", lambda r: r.latency_source, is_words=True),
    RowColumn("engine", lambda r: r.engine, is_words=True),
    RowColumn("price error (1 sigma)", lambda r: number(r.price_error, ".1%")),
)
# On the terminal, in order; a narrow one leaves out the least needed, first to go first.
LEAST_NEEDED = (
    "comp.",
    "draft",
    "verify",
    "replay",
    "rejected",
    "95 % interval",
    "step ms",
    "verified",
    "interval",
    "TPOT ms",
    "of bound",
)


def terminal_cells(row: ResultRow) -> dict[str, str]:
    """What the terminal shows of a row, by column heading."""
    return {column.short[0]: column.short[1](row) for column in COLUMNS if column.short}
