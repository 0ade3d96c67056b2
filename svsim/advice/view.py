"""Advice on the terminal: the verdict in words, a table, what it rests on, how to settle what is open."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from svsim.advice.advise import AdviceResult, Drafting
from svsim.advice.decision import Advice
from svsim.advice.sentences import method_words, verdict_sentences
from svsim.errors import printable
from svsim.report.formats import milliseconds, number
from svsim.report.plain_table import PlainTable
from svsim.report.terminal_table import print_plain
from svsim.spelling import method_label

HEADS = (
    *("users", "advice", "method", "speedup", "90 % range", "tokens/step", "break-even"),
    *("tok/s", "ms/token", "$/M tokens", "$/M without"),
)


def print_advice(result: AdviceResult, console: Console, files: Sequence[str] = ()) -> None:
    """Everything a person needs in a minute; files: configurations that were written."""
    for sentence in verdict_sentences(result.advice):
        console.print(f"[bold]{escape(sentence)}[/bold]", highlight=False)
    console.print()
    for table in advice_tables(result):
        print_plain(table, console)
    for line in _what_it_rests_on(result):
        console.print(f"• {escape(line)}", highlight=False)
    for note in result.notes:
        console.print(f"[dim]note: {escape(printable(note, 400))}[/dim]", highlight=False)
    for line in measure_lines(result.advice):
        console.print(escape(line), highlight=False, soft_wrap=True)
    for file in files:
        console.print(f"written: {escape(printable(file, 300))}", highlight=False)


def advice_tables(result: AdviceResult) -> list[PlainTable]:
    """One table per hardware."""
    tables = []
    note = "* acceptance at this k was not recorded; the range holds what it may be"
    for hardware in dict.fromkeys(one.hardware for one in result.advice):
        here = [one for one in result.advice if one.hardware == hardware]
        star = note if any(one.is_assumed for one in here) else ""
        tables.append(PlainTable(_caption(result, hardware), star, HEADS, [_cells(one) for one in here], 3))
    return tables


def _caption(result: AdviceResult, hardware: str) -> str:
    row = next(row for row in result.rows if row.deployment == hardware)
    engine = "" if row.engine == "none" else f", engine {row.engine}"
    counted = "counted" if result.config["prefill"] == "include" else "not counted"
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


def _what_it_rests_on(result: AdviceResult) -> list[str]:
    lines = [_acceptance_words(one) for one in result.drafting]
    errors = sorted({row.price_error for row in result.rows if row.price_error is not None})
    if errors:
        span = " to ".join(dict.fromkeys(f"{error:.0%}" for error in (errors[0], errors[-1])))
        lines.append(
            f"Prices: on panels that did not help to fit {result.engine}, speedups were off by {span} "
            "(1 sigma); the range holds that, and what other lengths may accept."
        )
    lines.append(
        "tok/s, ms/token and $ are of what to run: with speculation unless it loses. break-even: with fewer "
        "tokens per step, decoding without drafts is faster."
    )
    return lines


def _acceptance_words(one: Drafting) -> str:
    evidence, name = one.evidence, one.name or "draft model"
    if evidence.profile is None:
        return f"Acceptance ({name}): as the trace has it at every position, to k = {evidence.longest}."
    rates = " ".join(f"{rate:.3g}" for rate in evidence.profile.rates[:16])
    length = evidence.profile.mean_acceptance_length
    return (
        f"Acceptance ({name}): {rates} by position at k = {evidence.profile.k}, {length:.2f} tokens a step; "
        f"lengths to {evidence.longest} searched."
    )


def measure_lines(advice: Sequence[Advice]) -> list[str]:
    """The command that settles the smallest open batch size."""
    first = next((one for one in advice if one.measure_with), None)
    if first is None:
        return []
    size, label = first.batch_size, method_label(first.method, first.params)
    return [
        f"To settle {size} at once: serve with and without, write output tokens/s into RESULTS.csv "
        f"(method,batch,tok_s / td,{size},... / {label},{size},...), then",
        f"  {first.measure_with}",
    ]
