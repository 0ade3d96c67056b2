"""``svsim retrieval`` on the terminal: the best stride in words, one line per stride, notes."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape

from svsim.report.formats import interval, number, yes_no
from svsim.report.plain_table import PlainTable
from svsim.report.terminal_table import print_plain

Row = Mapping[str, Any]


class RetrievalResult(Protocol):
    """What is shown of speculative retrieval."""

    @property
    def rows(self) -> Sequence[Row]: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def best_stride(self) -> int: ...
    @property
    def notes(self) -> Sequence[str]: ...


def print_retrieval(found: RetrievalResult, console: Console) -> None:
    """The decision, the table, notes."""
    asked = found.config
    words = f"Best stride up to {asked['max_stride']}: {found.best_stride}"
    console.print(f"[bold]{escape(words)}[/bold]", highlight=False)
    print_plain(stride_table(found), console)
    for note in found.notes:
        console.print(f"[dim]note: {escape(note)}[/dim]", highlight=False)


def stride_table(found: RetrievalResult) -> PlainTable:
    """Seconds of a request by stride."""
    asked = found.config
    caption = (
        f"Speculative retrieval: a {asked['a']:g} s, b {asked['b']:g} s, gamma {asked['gamma']:g}, "
        f"{asked['documents']} documents, baseline {asked['baseline_s']:.2f} s"
        f"{', asynchronous' if asked['async'] else ''}{', regenerating' if asked['regenerate'] else ''}"
    )
    note = (
        "seconds of a request: renewal is the paper's N/E cycles, exact ends at the last document; speedup "
        f"of {asked['requests']:,} simulated requests over the baseline, with its 95 % interval"
    )
    heads = (
        "stride",
        "documents/cycle",
        "cycle s",
        "renewal s",
        "exact s",
        "simulated s",
        "speedup",
        "",
        "best",
    )
    return PlainTable(caption, note, heads, [_cells(row) for row in found.rows], 1)


def _cells(row: Row) -> list[str]:
    return [
        str(row["stride"]),
        number(row["documents_per_cycle"], ".3f"),
        number(row["cycle_s"], ".3f"),
        number(row["renewal_s"], ".2f"),
        number(row["request_s"], ".2f"),
        number(row["simulated_s"], ".2f"),
        number(row["speedup"], ".3f"),
        interval(row["speedup_ci_low"], row["speedup_ci_high"], ".3f"),
        yes_no(True) if row["is_best"] else "",
    ]
