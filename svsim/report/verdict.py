"""Verdicts in words: where to speculate, where not, where to measure, and with which command."""

from collections.abc import Sequence
from itertools import groupby

from svsim.metrics.rows import ResultTable
from svsim.metrics.verdict import Answer, Verdict, verdicts


def verdict_sentences(table: ResultTable, hardware: str) -> list[str]:
    """One sentence per run of neighbouring batch sizes with one verdict, of modelled prices.

    Empty where step times were measured: intervals tell the rest.
    """
    found = [v for v in verdicts(table.rows) if v.hardware == hardware and v.price_error is not None]
    runs = groupby(sorted(found, key=lambda v: v.batch_size), key=lambda v: (v.verdict, v.lossless))
    return [_sentence(hardware, answer, list(run)) for (answer, _), run in runs]


def price_caveats(table: ResultTable) -> list[str]:
    """Which engine ran the passes, how sure its prices are, and whether prefills are counted."""
    sentences = []
    for engine in dict.fromkeys(row.engine for row in table.rows):
        errors = [r.price_error for r in table.rows if r.engine == engine and r.price_error is not None]
        if errors:
            low, high = f"{min(errors):.0%}", f"{max(errors):.0%}"
            sentences.append(
                f"Steps are priced as {engine} runs them; such speedups are off by "
                f"{low if low == high else f'{low} to {high}'} (1 sigma, from panels that did not "
                "help to fit it; more beyond their batch sizes and on GPUs nobody compared). "
                "Intervals are of sampling alone."
            )
    if table.config.get("prefill") == "exclude":
        sentences.append("Prefill is not counted: a server that runs prompts beside them is slower.")
    return sentences


def engine_words(table: ResultTable, hardware: str) -> list[str]:
    """``engine vllm-0.20``, ``prefill not counted``: what a title says of one hardware's prices."""
    engines = dict.fromkeys(row.engine for row in table.rows if row.deployment == hardware)
    said = [f"engine {name}" for name in engines if name != "none"]
    prefill = table.config.get("prefill")
    if prefill:
        said.append("prefill counted" if prefill == "include" else "prefill not counted")
    return said


def _sentence(hardware: str, answer: Answer, run: Sequence[Verdict]) -> str:
    first, last = run[0].batch_size, run[-1].batch_size
    where = f"batch {first}" if first == last else f"batch {first} to {last}"
    low, high = min(v.low for v in run), max(v.high for v in run)
    bar = f"90 % error bar {low:.2f}x to {high:.2f}x"
    if answer is Answer.SPECULATE:
        if not run[0].lossless:
            names = ", ".join(dict.fromkeys(v.method for v in run))
            return (
                f"{hardware}, {where}: faster than target-only decoding ({bar}, prices and sampling) only "
                f"with methods that are not lossless: {names}."
            )
        return f"{hardware}, {where}: speculate ({bar}, prices and sampling)."
    if answer is Answer.DO_NOT:
        return f"{hardware}, {where}: do not speculate ({bar}, prices and sampling)."
    return (
        f"{hardware}, {where}: measure, the price error covers both sides of 1 ({bar}): {run[0].measure_with}"
    )
