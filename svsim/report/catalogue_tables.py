"""The terminal tables of ``svsim hardware`` and ``svsim models``."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from svsim.errors import printable

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
    ("GB in bf16", "weight_bytes", 1e9, ".1f"),
    ("KV kB/token", "kv_bytes_per_token", 1e3, ".0f"),
)


def print_hardware(entries: Sequence[Entry], console: Console) -> None:
    """Dense peaks per GPU; below, the documents they come from."""
    _print(entries, "name", "hardware", _HARDWARE, console)
    console.print(
        "Dense peaks per GPU; links: one direction to the peers in the server. Sources:", highlight=False
    )
    for source in dict.fromkeys(text for entry in entries for text in entry["sources"].values()):
        names = [entry["name"] for entry in entries if source in entry["sources"].values()]
        _line(f"{', '.join(names)}: {source}", console)


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
    view = Table(header_style="bold", box=None, pad_edge=False)
    view.add_column(heading, no_wrap=True)
    for title, *_ in columns:
        view.add_column(title, justify="right", no_wrap=True)
    for entry in entries:
        cells = (_number(entry[name], unit, form) for _, name, unit, form in columns)
        view.add_row(escape(printable(entry[key], 60)), *cells)
    console.print(view)


def _number(value: float | None, unit: float, form: str) -> str:
    return "-" if not value else f"{value / unit:{form}}"


def _line(text: str, console: Console) -> None:
    console.print(f"[dim]• {escape(printable(text, 600))}[/dim]", highlight=False)
