"""``svsim value`` on the terminal: what the signals tell, and the goodput that they buy."""

from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from svsim.errors import printable
from svsim.metrics.signal_values import SignalValues, ValueRow
from svsim.report.formats import estimate, estimate_interval, number
from svsim.report.terminal_table import bare_table


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
    table = bare_table()
    table.add_column("belief from")
    for heading in ("bits", "of ceiling", "free tok/s", "over mean only", "95 %", "share",
                    "paid tok/s", f"over {rows[0].fixed_length}", "95 %"):  # fmt: skip
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.belief,
            estimate(row.gain_bits, ".3f"),
            estimate(row.share_of_ceiling, ".0%"),
            f"{row.goodput_tok_s:,.0f}",
            estimate(row.over_mean_only, ".3f"),
            estimate_interval(row.over_mean_only, ".3f"),
            number(row.share_of_perfect, ".0%"),
            number(row.paid_goodput_tok_s, ",.0f"),
            estimate(row.over_fixed, ".3f"),
            estimate_interval(row.over_fixed, ".3f"),
        )
    return table
