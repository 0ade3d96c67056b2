"""Figures of a result table, for the page and for notebooks; one panel per hardware, one above the other.

Every function takes ``hardware`` to draw that one alone; looks stay those of the whole table.

::

    import svsim
    from svsim.report.figures import goodput_figure

    goodput_figure(svsim.replay("traces/llama70b.parquet")).show()

Milliseconds and rounding live here; the rows keep seconds. All names are escaped: a trace or a file
may carry anything. The same table gives the same figure, byte for byte.
"""

from operator import attrgetter
from typing import Literal

import plotly.graph_objects as go

from svsim.errors import InputError, printable
from svsim.metrics.agreement import WARNING_SHARE, compare
from svsim.metrics.rows import ResultRow, ResultTable
from svsim.report.bars import Stack, bar_figure
from svsim.report.lines import Quantity, line_figure
from svsim.report.palette import TIME_PARTS, TOKEN_PARTS, Part

Baseline = Literal["td", "sd"]
BASELINE_WORDS = {"td": "target-only", "sd": "best fixed length"}


def goodput_figure(table: ResultTable, hardware: str | None = None) -> go.Figure:
    """Token goodput (tokens/s) against batch size: a line per method, 95 % intervals shaded."""
    quantity = Quantity(
        attrgetter("goodput_tok_s"),
        attrgetter("goodput_ci_low"),
        attrgetter("goodput_ci_high"),
        "goodput (tokens/s)",
        lambda value: f"{value:,.0f} tok/s",
    )
    return line_figure(table, quantity, _names(table, hardware))


def speedup_figure(table: ResultTable, baseline: Baseline = "td", hardware: str | None = None) -> go.Figure:
    """Speedup over target-only decoding (``td``) or the best fixed length (``sd``), paired intervals.

    The dotted line at 1 is the baseline. Without an ``sd`` row in the run, ``sd`` gives no lines.
    """
    field = f"speedup_vs_{baseline}"
    quantity = Quantity(
        attrgetter(field),
        attrgetter(f"{field}_ci_low"),
        attrgetter(f"{field}_ci_high"),
        f"speedup over {BASELINE_WORDS[baseline]}",
        lambda value: f"{value:.2f}x",
        reference=1.0,
    )
    return line_figure(table, quantity, _names(table, hardware))


def gain_share_figure(table: ResultTable, hardware: str | None = None) -> go.Figure:
    """Share of the fastest bound's gain over target-only decoding; the dotted line at 1 is the bound.

    Without a bound in the run (``oracle``, ``oracle-belief``) there are no lines.
    """
    quantity = Quantity(
        attrgetter("oracle_gain_share"),
        attrgetter("oracle_gain_share_ci_low"),
        attrgetter("oracle_gain_share_ci_high"),
        "share of the bound's gain",
        lambda value: f"{value:.1%}",
        reference=1.0,
        least_span=(0.0, 1.0),
    )
    return line_figure(table, quantity, _names(table, hardware))


def difference_figure(table: ResultTable, analytic: ResultTable, hardware: str | None = None) -> go.Figure:
    """Analytic goodput relative to the replayed one, in percent, against batch size."""
    percent = {
        (d.row.deployment, d.row.label, d.row.batch_size): 100 * d.relative for d in compare(table, analytic)
    }
    most = 100 * WARNING_SHARE
    quantity = Quantity(
        lambda row: percent.get((row.deployment, row.label, row.batch_size)),
        lambda row: None,
        lambda row: None,
        "analytic vs replay (%)",
        lambda value: f"{value:+.2f} %",
        reference=0.0,
        least_span=(-most, most),
    )
    return line_figure(table, quantity, _names(table, hardware))


def time_figure(table: ResultTable, hardware: str | None = None) -> go.Figure:
    """Where a step's time goes, in milliseconds; prefill too, where the run counts it."""

    def sizes(row: ResultRow) -> dict[str, float]:
        return {part.name: 1e3 * (getattr(row, part.name) or 0.0) for part in TIME_PARTS}

    stack = Stack(
        time_parts(table),
        sizes,
        "time per step (ms)",
        lambda part, whole: f"{part:.2f} ms" + (f", {part / whole:.0%} of the step" if whole else ""),
        lambda row: "" if row.step_time_s is None else f"{sum(sizes(row).values()):.1f} ms",
    )
    return bar_figure(table, stack, _names(table, hardware))


def time_parts(table: ResultTable) -> list[Part]:
    """The parts of a step that take any time in this table."""
    return [part for part in TIME_PARTS if any(getattr(r, part.name) for r in table.rows)]


def tokens_figure(table: ResultTable, hardware: str | None = None) -> go.Figure:
    """What becomes of draft tokens, per sequence and step: accepted, rejected, never verified.

    The text at a bar's end is the rejected share of the verified tokens.
    """

    def text(row: ResultRow) -> str:
        if not drafted_tokens(row):
            return "no draft"
        share = row.rejected_share_of_verified
        return "-" if share is None else f"{share:.0%}"

    stack = Stack(
        TOKEN_PARTS,
        token_shares,
        "draft tokens per sequence and step",
        lambda part, whole: f"{part:.2f} tokens" + (f", {part / whole:.0%} of the drafted" if whole else ""),
        text,
    )
    return bar_figure(table, stack, _names(table, hardware))


def drafted_tokens(row: ResultRow) -> float:
    """Mean number of draft tokens per sequence and step, from the rates; as verified where that is lost."""
    accepted = (row.verified_acceptance_rate or 0.0) * (row.mean_verification_length or 0.0)
    verified = row.mean_verification_length or 0.0
    return max(verified, accepted / row.draft_acceptance_rate if row.draft_acceptance_rate else 0.0)


def token_shares(row: ResultRow) -> dict[str, float]:
    """Draft tokens per sequence and step by what became of them; they add up to the drafted."""
    accepted = (row.verified_acceptance_rate or 0.0) * (row.mean_verification_length or 0.0)
    verified = row.mean_verification_length or 0.0
    return {
        "accepted": accepted,
        "rejected": max(0.0, verified - accepted),
        "unverified": drafted_tokens(row) - verified,
    }


def _names(table: ResultTable, hardware: str | None) -> list[str]:
    """The hardware to draw: all of the table, or the one asked for."""
    names = list(dict.fromkeys(r.deployment for r in table.rows))
    if not names:
        raise InputError("the result holds no rows, so there is nothing to draw; ask for a method")
    if hardware is None:
        return names
    if hardware not in names:
        raise InputError(f"no row is of hardware {printable(hardware)}; choose one of {', '.join(names)}")
    return [hardware]
