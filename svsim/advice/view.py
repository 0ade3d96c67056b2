"""Advice on the terminal: the verdict in words, a table, what it rests on, how to settle what is open."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from svsim.advice.advise import AdviceResult, Drafting
from svsim.advice.decision import Advice
from svsim.advice.sentences import verdict_sentences
from svsim.advice.tables import advice_tables
from svsim.errors import printable
from svsim.report.terminal_table import print_plain
from svsim.spelling import method_label


def print_advice(result: AdviceResult, console: Console, files: Sequence[str] = ()) -> None:
    """Everything a person needs in a minute; files: configurations that were written."""
    for sentence in verdict_sentences(result.advice):
        console.print(f"[bold]{escape(sentence)}[/bold]", highlight=False)
    console.print()
    for table in advice_tables(result.advice, result.rows, result.prefill):
        print_plain(table, console)
    for line in _what_it_rests_on(result):
        console.print(f"• {escape(line)}", highlight=False)
    for note in result.notes:
        console.print(f"[dim]note: {escape(printable(note, 400))}[/dim]", highlight=False)
    for line in measure_lines(result.advice):
        console.print(escape(line), highlight=False, soft_wrap=True)
    for file in files:
        console.print(f"written: {escape(printable(file, 300))}", highlight=False)


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
