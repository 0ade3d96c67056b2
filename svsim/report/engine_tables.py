"""Engine profiles on the terminal: what they add to a step, and how wrong they were."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from svsim.errors import printable

# Constants as columns: heading, name, unit (of milliseconds or of a factor).
_COLUMNS = (
    ("target-only ms", "target_only_host_s", 1e3),
    ("speculative ms", "speculative_host_s", 1e3),
    ("per draft pass ms", "draft_pass_s", 1e3),
    ("attention x", "verify_attention", 1.0),
    ("prefill x", "prefill", 1.0),
)
_MEASURES = (
    ("speedup", "speedup"),
    ("step", "speculative_step"),
    ("target-only", "target_only_step"),
)


def print_engines(entries: Sequence[Mapping[str, Any]], console: Console) -> None:
    """A line of constants and a line of errors per profile; the default is marked."""
    view = Table(header_style="bold", box=None, pad_edge=False)
    view.add_column("engine", no_wrap=True)
    for heading, *_ in _COLUMNS:
        view.add_column(heading, justify="right")
    view.add_column("price error", justify="right")
    for entry in entries:
        cells = (f"{entry['constants'][name]['value'] * unit:.2f}" for _, name, unit in _COLUMNS)
        view.add_row(_name(entry), *cells, _percent(entry["price_error"]))
    console.print(view)
    console.print(
        "Host times are what the GPU does not hide. price error: relative, 1 sigma, of speedups.",
        highlight=False,
    )
    for entry in entries:
        _line(f"{entry['name']}: {_versions(entry)}; {entry['summary']}. {_judged(entry)}", console)


def _name(entry: Mapping[str, Any]) -> str:
    return escape(printable(entry["name"], 40)) + (" (default)" if entry.get("is_default") else "")


def _versions(entry: Mapping[str, Any]) -> str:
    first, last, engine = entry["first_version"], entry["last_version"], entry["engine"]
    if first is None:
        return f"{engine} up to {last}" if last else str(engine)
    return f"{engine} {first} to {last}" if last else f"{engine} {first} and later"


def _judged(entry: Mapping[str, Any]) -> str:
    """Mean errors on panels that had no part in the fit."""
    found = [
        f"{word} {errors['mean']:.1%} ({errors['num_cells']} cells of {errors['num_panels']} panels)"
        for word, key in _MEASURES
        if (errors := entry["errors"].get(key))
    ]
    panels = {panel for constant in entry["constants"].values() for panel in constant["panels"]}
    pinned = f"pinned by {len(panels)} panels" if panels else "no panel of its own"
    if not found:
        return f"Judged by nobody; {pinned}."
    largest = entry["largest_batch_size"]
    judged = f", judged up to batch {largest}" if largest else ""
    return f"Mean error left out: {', '.join(found)}{judged}; {pinned}."


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _line(text: str, console: Console) -> None:
    console.print(f"[dim]• {escape(printable(text, 600))}[/dim]", highlight=False)
