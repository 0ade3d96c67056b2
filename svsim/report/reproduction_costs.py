"""What drafting costs SV, in the paper's engine and in a modern one, as plain tables and sentences."""

from svsim.papers.sv_paper.modern_engine import BESIDE, HALVED, SERIAL, Best, ModernRow, least_and_most
from svsim.papers.sv_paper.sv_paper import Reproduction
from svsim.report.plain_table import PlainTable

COST_WORDS = {"sv:k=5": "SV(5)", "sv:k=7": "SV(7)"}


def serial_cost_table(found: Reproduction) -> PlainTable:
    """Milliseconds before verification, and what of them the published bars leave room for."""
    rows = [
        (
            s.panel,
            COST_WORDS[s.method],
            str(s.batch_size),
            f"{1e3 * s.step_s:.1f}",
            f"{1e3 * s.before_s:.1f}",
            f"{1e3 * s.published_step_s:.1f}",
            f"{1e3 * s.missing_s:.1f}",
            f"{s.missing_share:.0%}",
            f"{s.mean_length:.2f} -> {s.planned_length:.2f}",
            f"{s.planning_gain:+.1%}",
        )
        for s in found.serial_costs
    ]
    return PlainTable(
        "The serial cost that SV misses, largest batch",
        "Serial: the step without overlap; before: its drafts and the companion's pass; published: the step "
        "that the bar leaves at the replay's tokens per step; missing: the difference, and its share of what "
        "comes before verification. The paper's rule divides by verification alone and misses that cost too: "
        "verified tokens per step, and goodput, when the whole step is counted.",
        (
            "panel",
            "method",
            "batch",
            "serial ms",
            "before ms",
            "published ms",
            "missing ms",
            "of before",
            "verified, step counted",
            "goodput",
        ),
        tuple(rows),
        2,
    )


def modern_table(found: Reproduction) -> PlainTable:
    """SD and SV of the panels at svsim's own prices."""
    rows = [
        (
            row.panel,
            str(row.batch_size),
            _best(row.sd),
            *(f"{_best(row.sv[name])}, {row.sv_over_sd(name):.2f}" for name in (SERIAL, BESIDE, HALVED)),
        )
        for row in found.modern
    ]
    one = found.modern[0]
    price_errors = _percents(found.modern)
    return PlainTable(
        "The same acceptance on a modern engine: times as fast as TD (draft length), and over SD",
        f"{one.engine} on {one.hardware}, passes from {one.latency_source}, price error "
        f"{price_errors} (1 sigma, of speedups over TD); each method at its best draft length. "
        "Overlapped: drafting hidden, verification x 1.1, of two micro-batches of the batch size (twice the "
        "sequences in memory), or of the batch in two halves (the target's weights are read twice).",
        ("panel", "batch", "SD", "SV, serial", "SV, overlapped", "SV, halves overlapped"),
        tuple(rows),
        1,
    )


def modern_findings(rows: tuple[ModernRow, ...]) -> str:
    """What the rows say about when SV pays."""
    halved, one = least_and_most(rows, HALVED), rows[0]
    said = (
        f"On a modern engine ({one.engine}, {one.hardware}) SV over the best fixed length is "
        f"{_spans(rows, SERIAL)} if drafting comes first, and {_spans(rows, BESIDE)} if it hides behind a "
        f"second micro-batch; of one batch in two halves {halved[0]:.2f} to {halved[1]:.2f}."
    )
    if all(row.is_to_be_measured for row in rows):
        said += f" The price error is {_percents(rows)} (1 sigma): leads that small are to be measured."
    return said


def _percents(rows: tuple[ModernRow, ...]) -> str:
    """The price errors of the rows: one, or from the least to the most."""
    least, most = (f"{pick(row.price_error for row in rows):.0%}" for pick in (min, max))
    return least if least == most else f"{least} to {most}"


def _spans(rows: tuple[ModernRow, ...], pipeline: str) -> str:
    """SV over SD by batch size."""
    found = []
    for batch_size in sorted({row.batch_size for row in rows}):
        least, most = least_and_most([row for row in rows if row.batch_size == batch_size], pipeline)
        found.append(f"{least:.2f} to {most:.2f} at batch {batch_size}")
    return ", ".join(found)


def _best(best: Best) -> str:
    return f"{best.speedup_vs_td:.2f} ({best.num_draft_tokens})"
