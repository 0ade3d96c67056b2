"""``svsim import`` on the terminal: what the trace holds, what was assumed, what other k could be."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from svsim.errors import printable
from svsim.trace.token_trace import TokenTrace


def print_imported(
    out: str, trace: TokenTrace, acceptance: Mapping[str, Any], notes: Sequence[str], console: Console
) -> None:
    """Size and acceptance, a line for each assumption, and the range of other k."""
    size = f"{trace.num_requests:,} requests, {trace.num_positions:,} positions, K = {acceptance['k']}"
    console.print(
        f"[bold]{escape(printable(out, 300))}[/bold]: {size}, {trace.metadata.chains} chains", highlight=False
    )
    rates = " ".join(f"{rate:.3f}" for rate in acceptance["rates_at_step_starts"][:16])
    console.print(
        f"sd:k={acceptance['k']} has a mean acceptance length of "
        f"{acceptance['mean_acceptance_length']:.3f} (bonus "
        f"included); accepted by position, at step starts: {rates}",
        highlight=False,
    )
    if acceptance["other_k"]:
        console.print(_other_k(acceptance["other_k"]))
    for note in notes:
        console.print(f"[dim]note: {escape(printable(note, 400))}[/dim]", highlight=False)


def _other_k(rows: Sequence[Mapping[str, float]]) -> Table:
    view = Table(header_style="bold", box=None, pad_edge=False)
    view.add_column("mean acceptance length at k =")
    for row in rows:
        view.add_column(f"{row['k']:g}", justify="right")
    for word in ("low", "assumed", "high"):
        view.add_row(word, *(f"{row[word]:.2f}" for row in rows))
    return view
