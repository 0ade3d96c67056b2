"""The table of an advice, for terminal and page."""

from collections.abc import Sequence

from svsim.advice.decision import Advice
from svsim.advice.sentences import method_words
from svsim.metrics.rows import ResultRow
from svsim.report.formats import milliseconds, number
from svsim.report.plain_table import PlainTable

HEADS = (
    *("users", "advice", "method", "speedup", "90 % range", "tokens/step", "break-even"),
    *("tok/s", "ms/token", "$/M tokens", "$/M without"),
)


def advice_tables(advice: Sequence[Advice], rows: Sequence[ResultRow], prefill: str) -> list[PlainTable]:
    """One table per hardware; prefill: ``include`` or ``exclude``."""
    tables = []
    note = "* acceptance at this k was not recorded; the range holds what it may be"
    for hardware in dict.fromkeys(one.hardware for one in advice):
        here = [one for one in advice if one.hardware == hardware]
        star = note if any(one.is_assumed for one in here) else ""
        tables.append(
            PlainTable(_caption(rows, prefill, hardware), star, HEADS, [_cells(one) for one in here], 3)
        )
    return tables


def _caption(rows: Sequence[ResultRow], prefill: str, hardware: str) -> str:
    row = next(row for row in rows if row.deployment == hardware)
    engine = "" if row.engine == "none" else f", engine {row.engine}"
    counted = "counted" if prefill == "include" else "not counted"
    return f"{hardware} ({row.latency_source} step times{engine}, prefill {counted})"


def _cells(one: Advice) -> list[str]:
    if one.fits_memory is False and one.goodput_tok_s is None:
        return [str(one.batch_size), "does not fit", *["-"] * (len(HEADS) - 2)]
    rounded = "-" if one.low is None else f"{one.low:.2f} to {one.high:.2f}"
    return [
        str(one.batch_size),
        one.verdict.value,
        f"{method_words(one)}{'*' if one.is_assumed else ''}",
        number(one.speedup_vs_td, ".2f", "x"),
        rounded,
        number(one.mean_acceptance_length, ".2f"),
        number(one.break_even_acceptance_length, ".2f"),
        number(one.goodput_tok_s, ",.0f"),
        milliseconds(one.tpot_s, 1),
        number(one.usd_per_million_tokens, ".2f"),
        number(one.usd_per_million_tokens_td, ".2f"),
    ]
