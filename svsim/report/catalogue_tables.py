"""The terminal tables of ``svsim methods``, ``svsim hardware`` and ``svsim models``."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from svsim.errors import printable
from svsim.report.formats import number
from svsim.report.terminal_table import bare_table

Entry = Mapping[str, Any]
# heading, key, unit, format
_HARDWARE = (
    ("bf16 TFLOP/s", "bf16_flop_per_s", 1e12, ",.0f"),
    ("fp8", "fp8_flop_per_s", 1e12, ",.0f"),
    ("int8", "int8_op_per_s", 1e12, ",.0f"),
    ("fp4", "fp4_flop_per_s", 1e12, ",.0f"),
    ("memory GiB", "memory_bytes", 2**30, ".0f"),
    ("TB/s", "memory_bytes_per_s", 1e12, ".2f"),
    ("links GB/s", "interconnect_bytes_per_s", 1e9, ".0f"),
    ("W", "power_w", 1, ".0f"),
    ("$/h", "usd_per_gpu_hour", 1, ".2f"),
)
_MODELS = (
    ("layers", "num_layers", 1, ".0f"),
    ("hidden", "hidden_size", 1, ".0f"),
    ("heads", "num_heads", 1, ".0f"),
    ("KV", "num_kv_heads", 1, ".0f"),
    ("head", "head_size", 1, ".0f"),
    ("MLP", "intermediate_size", 1, ".0f"),
    ("vocabulary", "vocabulary_size", 1, ".0f"),
    ("experts", "num_experts", 1, ".0f"),
    ("used", "num_experts_per_token", 1, ".0f"),
    ("billion weights", "num_parameters", 1e9, ".2f"),
    ("GB", "weight_bytes", 1e9, ".1f"),
    ("KV kB/token", "kv_bytes_per_token", 1e3, ".0f"),
)


def print_methods(entries: Sequence[Entry], console: Console) -> None:
    """A paragraph per method, whatever the width: what it does, losslessness, needs, options, source."""
    view = Table.grid(padding=(0, 2))
    view.add_column(style="bold", no_wrap=True)
    view.add_column()
    for entry in entries:
        colour = "green" if entry["lossless"] == "lossless" else "yellow"
        view.add_row(entry["method"], escape(entry["summary"]))
        view.add_row("", f"[{colour}]{entry['lossless']}[/]: {escape(entry['why'])}")
        for line in (*_needs(entry), *_options(entry), f"source: {entry['source']}"):
            view.add_row("", f"[dim]{escape(line)}[/dim]")
    console.print(view, highlight=False)


def print_drafters(entries: Sequence[Entry], console: Console) -> None:
    """A line per drafter: what it is, and what a draft of k tokens costs."""
    view = Table.grid(padding=(0, 2))
    view.add_column(style="bold", no_wrap=True)
    view.add_column()
    for entry in entries:
        view.add_row(entry["drafter"], escape(entry["summary"]))
    console.print("\nDrafters: what sd and every chain method may draft with", highlight=False)
    console.print(view, highlight=False)


def _needs(entry: Entry) -> Iterator[str]:
    parts = [f"reads {', '.join(entry['needs'])}"] if entry["needs"] else []
    parts += ["learns from the profile part"] if entry["learns_from_profile"] else []
    parts += ["runs the companion"] if entry["runs_companion"] else []
    if parts:
        yield "; ".join(parts)


def _options(entry: Entry) -> Iterator[str]:
    """``k=7 (1 to 255), overlap=none|half|full``, the default first."""
    parts = []
    for key, domain in entry["option_domains"].items():
        default = entry["options"][key]
        if domain["type"] == "word":
            words = [default] * (default in domain["words"]) + [w for w in domain["words"] if w != default]
            parts.append(f"{key}={'|'.join(words)}" + ("" if default in words else f" ({default})"))
        elif domain["type"] == "text":
            parts.append(f"{key}={default}")
        else:
            shown = f"{default:.3g}" if isinstance(default, float) else str(default)
            parts.append(f"{key}={shown} ({domain['at_least']:,.9g} to {domain['at_most']:,.9g})")
    if parts:
        yield f"options: {', '.join(parts)}"


def print_hardware(entries: Sequence[Entry], console: Console) -> None:
    """Dense peaks per GPU; below, the documents they come from."""
    _print(entries, "name", "hardware", _HARDWARE, console)
    console.print(
        "Dense peaks per GPU; links: one direction to the peers in the server. Sources:", highlight=False
    )
    for source in dict.fromkeys(text for entry in entries for text in entry["sources"].values()):
        names = [entry["name"] for entry in entries if source in entry["sources"].values()]
        _line(f"{', '.join(names)}: {source}", console)
    unchecked = [entry["name"] for entry in entries if not entry["checked"]]
    if unchecked:
        _line(
            f"{', '.join(unchecked)}: not checked. A roofline's prices on these were compared with no pass "
            "measured there.",
            console,
        )


def print_models(entries: Sequence[Entry], console: Console) -> None:
    """Shapes and sizes; below, where they come from."""
    _print(entries, "model", "model", _MODELS, console)
    for source in dict.fromkeys(entry["source"] for entry in entries):
        _line(f"Shapes: {source}", console)


def _print(
    entries: Sequence[Entry],
    key: str,
    heading: str,
    columns: Sequence[tuple[str, str, float, str]],
    console: Console,
) -> None:
    view = bare_table()
    view.add_column(heading, no_wrap=True)
    for title, *_ in columns:
        view.add_column(title, justify="right", no_wrap=True)
    for entry in entries:
        cells = (_number(entry[name], unit, form) for _, name, unit, form in columns)
        view.add_row(escape(printable(entry[key], 60)), *cells)
    console.print(view)


def _number(value: float | None, unit: float, form: str) -> str:
    return number(value / unit if value else None, form)


def _line(text: str, console: Console) -> None:
    console.print(f"[dim]• {escape(printable(text, 600))}[/dim]", highlight=False)
