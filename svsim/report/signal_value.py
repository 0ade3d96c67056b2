"""``svsim value`` on the terminal: what the signals tell, and the goodput that they buy."""

from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from svsim.errors import printable
from svsim.metrics.request_sums import Estimate
from svsim.metrics.signal_values import SignalValues, ValueRow

_ABSENT = "[dim]-[/dim]"


def print_values(values: SignalValues, console: Console) -> None:
    """A table per deployment and batch size, and how to read it."""
    kind = values.trace["acceptance_kind"]
    about = f"k = {values.config['k']}, {kind} acceptance"
    console.print(f"[bold]{escape(printable(values.trace['file'] or 'trace', 100))}[/bold]: {about}")
    for (deployment, batch_size), rows in groupby(values.rows, lambda r: (r.deployment, r.batch_size)):
        cell = list(rows)
        console.print(f"\n[bold]{escape(deployment)}, batch {batch_size}[/bold]", highlight=False)
        console.print(_table(cell))
    console.print(
        "[dim]bits: held-out information about acceptance of the first draft token. free: selection with "
        "these signals for nothing, over knowing the mean only; share: of the way to the acceptance "
        "probability itself. paid: with the companion's passes, over the best fixed length.[/dim]"
    )
    for note in values.notes:
        console.print(f"[dim]note: {escape(printable(note, 400))}[/dim]", highlight=False)


def _table(rows: list[ValueRow]) -> Table:
    table = Table(header_style="bold", box=None, pad_edge=False)
    table.add_column("belief from")
    for heading in ("bits", "of ceiling", "free tok/s", "over mean only", "95 %", "share",
                    "paid tok/s", f"over {rows[0].fixed_length}", "95 %"):  # fmt: skip
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.belief,
            _number(row.gain_bits, ".3f"),
            _number(row.share_of_ceiling, ".0%"),
            f"{row.goodput_tok_s:,.0f}",
            _number(row.over_mean_only, ".3f"),
            _range(row.over_mean_only),
            _ABSENT if row.share_of_perfect is None else f"{row.share_of_perfect:.0%}",
            _ABSENT if row.paid_goodput_tok_s is None else f"{row.paid_goodput_tok_s:,.0f}",
            _number(row.over_fixed, ".3f"),
            _range(row.over_fixed),
        )
    return table


def _number(estimate: Estimate | None, form: str) -> str:
    return _ABSENT if estimate is None or estimate.value is None else f"{estimate.value:{form}}"


def _range(estimate: Estimate) -> str:
    if estimate.ci_low is None or estimate.ci_high is None:
        return _ABSENT
    return f"{estimate.ci_low:.3f}-{estimate.ci_high:.3f}"
