"""Predicted against measured, on the terminal."""

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from svsim.metrics.accuracy import TARGETS, Accuracy, AccuracyRow

SUMMARY_WORDS: Mapping[str, str] = {
    "goodput_error_mean": "goodput, mean error",
    "goodput_error_worst": "goodput, worst error",
    "common_scale_error": "  of which common to all (cancels in speedups)",
    "speedup_error_mean": "speedups, mean error",
    "speedup_error_worst": "speedups, worst error",
    "marginal_error_mean": "seconds per verified token, mean error",
    "marginal_error_worst": "seconds per verified token, worst error",
    "crossover_grid_steps_worst": "crossover, batch-grid steps apart at worst",
    "regret_mean": "regret of the recommendation, mean",
    "regret_worst": "regret of the recommendation, worst",
}


def print_accuracy(accuracy: Accuracy, console: Console, title: str) -> None:
    """Every pair, the choices, and the summary beside its targets."""
    console.print(_pairs(accuracy, title))
    console.print(_summary(accuracy))
    for choice in accuracy.choices:
        if choice.regret > 0:
            console.print(
                f"• batch {choice.batch_size}: {escape(choice.recommended)} recommended, "
                f"{escape(choice.fastest)} was fastest: {choice.regret:.1%} lost",
                highlight=False,
            )
    for c in accuracy.crossovers:
        if c.grid_steps_apart:
            console.print(
                f"• {escape(c.label)} stops paying at batch {c.predicted_batch or 'none'} predicted, "
                f"{c.measured_batch or 'none'} measured",
                highlight=False,
            )


def _pairs(accuracy: Accuracy, title: str) -> Table:
    view = Table(title=escape(title), title_justify="left", title_style="", box=None, pad_edge=False)
    for heading in (
        "batch",
        "method",
        "predicted tok/s",
        "measured tok/s",
        "error",
        "vs TD",
        "measured",
        "error",
    ):
        view.add_column(heading, justify="left" if heading == "method" else "right", no_wrap=True)
    previous = None
    for row in accuracy.rows:
        if previous is not None and previous != row.batch_size:
            view.add_row()
        previous = row.batch_size
        view.add_row(
            str(row.batch_size),
            escape(row.label),
            f"{row.predicted_tok_s:,.1f}",
            measured_text(row),
            f"{row.goodput_error:+.1%}",
            _ratio(row.predicted_speedup_vs_td),
            _ratio(row.measured_speedup_vs_td),
            "-" if row.speedup_vs_td_error is None else f"{row.speedup_vs_td_error:+.1%}",
        )
    return view


def measured_text(row: AccuracyRow) -> str:
    """Tokens per second with the standard error, where there is one."""
    spread = "" if row.measured_standard_error is None else f" ± {row.measured_standard_error:,.1f}"
    return f"{row.measured_tok_s:,.1f}{spread}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def summary_lines(accuracy: Accuracy) -> list[tuple[str, str, str, str]]:
    """(what, value, target, met) of every figure that is known; empty where there is no target."""
    lines = []
    for name, value in accuracy.summary().items():
        if value is None:
            continue
        is_count = name.startswith("crossover")
        form = "{:.0f}" if is_count else ("{:+.1%}" if name == "common_scale_error" else "{:.1%}")
        target = TARGETS.get(name)
        met = "" if target is None else ("yes" if value <= target else "no")
        aim = "" if target is None else f"<= {form.format(target)}"
        lines.append((SUMMARY_WORDS[name], form.format(value), aim, met))
    return lines


def _summary(accuracy: Accuracy) -> Table:
    view = Table(title="Errors", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("", "found", "target", "met"):
        view.add_column(heading, justify="left" if heading == "" else "right", no_wrap=True)
    for line in summary_lines(accuracy):
        view.add_row(*line, style="yellow" if line[-1] == "no" else "")
    return view
