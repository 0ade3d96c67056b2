"""``svsim synth`` on the terminal: what was asked of a synthetic trace beside what was made."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from svsim.errors import printable
from svsim.synthetic.outcome import Outcome

_MARKS = {True: "[green]✓[/green]", False: "[bold red]✗[/bold red]", None: ""}


def print_outcomes(made: str, outcomes: Sequence[Outcome], is_small: bool, console: Console) -> None:
    """What was made, in words, then one line per observable; what is off is marked."""
    console.print(f"[bold]{escape(printable(made, 300))}[/bold], synthetic", highlight=False)
    view = Table(header_style="bold", box=None, pad_edge=False)
    for heading in ("", "asked", "measured", "within", ""):
        view.add_column(heading, justify="right" if heading else "left", no_wrap=bool(heading))
    for outcome in outcomes:
        view.add_row(
            escape(printable(outcome.name, 60)),
            _number(outcome.asked),
            _number(outcome.measured),
            "" if outcome.asked is None else f"± {outcome.tolerance:.3f}",
            _MARKS[outcome.is_met],
        )
    console.print(view)
    if any(outcome.is_met is False for outcome in outcomes):
        reason = "a trace this small deviates by chance; ask for more requests" if is_small else "see ✗"
        console.print(f"[dim]note: not all settings are met within their tolerance ({reason})[/dim]")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
