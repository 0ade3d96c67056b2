"""``svsim synth`` on the terminal: what was asked of a synthetic trace beside what was made."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from svsim.errors import printable
from svsim.report.formats import number
from svsim.report.terminal_table import bare_table
from svsim.synthetic.outcome import Outcome

_MARKS = {True: "[green]✓[/green]", False: "[bold red]✗[/bold red]", None: ""}


def print_outcomes(
    made: str, outcomes: Sequence[Outcome], is_small: bool, console: Console, notes: Sequence[str] = ()
) -> None:
    """What was made, in words, then one line per observable; what is off is marked."""
    console.print(f"[bold]{escape(printable(made, 300))}[/bold], synthetic", highlight=False)
    view = bare_table()
    for heading in ("", "asked", "measured", "within", ""):
        view.add_column(heading, justify="right" if heading else "left", no_wrap=bool(heading))
    for outcome in outcomes:
        view.add_row(
            escape(printable(outcome.name, 60)),
            number(outcome.asked, ".3f"),
            number(outcome.measured, ".3f"),
            "" if outcome.asked is None else f"± {outcome.tolerance:.3f}",
            _MARKS[outcome.is_met],
        )
    console.print(view)
    for note in notes:
        console.print(f"[dim]note: {escape(printable(note, 400))}[/dim]", highlight=False)
    if any(outcome.is_met is False for outcome in outcomes):
        reason = "a trace this small deviates by chance; ask for more requests" if is_small else "see ✗"
        console.print(f"[dim]note: not all settings are met within their tolerance ({reason})[/dim]")
