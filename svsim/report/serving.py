"""Open-loop rows on the terminal: the decision first, then latencies, then the servers."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape

from svsim.errors import printable
from svsim.report.formats import DASH, number
from svsim.report.plain_table import PlainTable
from svsim.report.terminal_table import print_plain
from svsim.spelling import deployment_name, method_label

Row = Mapping[str, Any]
MILLI = 1e3


class ServingResult(Protocol):
    """What is shown of an open-loop run."""

    @property
    def rows(self) -> Sequence[Row]: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def verdict(self) -> Sequence[Mapping[str, Any]]: ...


def print_serving(table: ServingResult, console: Console) -> None:
    """The decision in words, one table of latencies and one of servers per hardware, notes."""
    for verdict in table.verdict:
        console.print(f"[bold]{escape(verdict['words'])}[/bold]", highlight=False)
    for name in dict.fromkeys(map(deployment_of, table.rows)):
        rows = [row for row in table.rows if deployment_of(row) == name]
        for made in (latency_table(table, rows), server_table(rows)):
            print_plain(made, console)
    for note in table.notes:
        console.print(f"[dim]note: {escape(printable(note, 400))}[/dim]", highlight=False)


def deployment_of(row: Row) -> str:
    """``h100_sxm:tp=4``."""
    return deployment_name(row["hardware"], row["tensor_parallel"], row["hardware_options"])


def label_of(row: Row) -> str:
    """The method as the command line spells it."""
    return method_label(row["method"], row["params"])


def latency_table(table: ServingResult, rows: Sequence[Row]) -> PlainTable:
    """Latencies by method, milliseconds but for whole requests."""
    first = rows[0]
    rate = "" if first["rate"] is None else f" ({first['rate']:.3g} requests/s)"
    caption = (
        f"{deployment_of(first)} ({first['latency_source']} step times), open loop, "
        f"{first['arrivals']}{rate}, lengths {table.config['lengths']}, "
        f"{first['replicas']} replica{'s' * (first['replicas'] > 1)}"
    )
    note = (
        f"measured: {first['duration_s'] - first['warm_up_s']:,.0f} s after a warm-up of "
        f"{first['warm_up_s']:,.0f} s, {first['num_replications']} "
        f"replication{'s' * (first['num_replications'] > 1)}, {first['num_requests']:,} requests; "
        "+- half of the 95 % interval of sampling"
    )
    heads = (
        *("method", "TTFT p50 ms", "p99", "TPOT p50 ms", "p99", "ITL p99 ms", "E2EL mean s", "p99"),
        *("tok/s", "requests/s", *(("good",) if first["slo"] else ())),
    )
    return PlainTable(caption, note, heads, [_latencies(row) for row in rows], 1)


def _latencies(row: Row) -> list[str]:
    cells = [
        label_of(row) + (" (saturated)" if row["saturated"] else ""),
        number(_milli(row["ttft_s_p50"]), ",.0f"),
        _with_half(row, "ttft_s_p99", ",.0f", MILLI),
        number(_milli(row["tpot_s_p50"]), ",.1f"),
        _with_half(row, "tpot_s_p99", ",.1f", MILLI),
        number(_milli(row["itl_step_s_p99"]), ",.1f"),
        _with_half(row, "e2el_s_mean", ",.2f", 1.0),
        number(row["e2el_s_p99"], ",.2f"),
        number(row["output_tok_s"], ",.0f"),
        number(row["request_throughput"], ",.2f"),
    ]
    if row["slo"]:
        met = all(slo["met"] for slo in row["slo"])
        cells.append(
            f"{row['slo_attainment']:.1%}{'' if met else ' missed'}"
            if row["slo_attainment"] is not None
            else DASH
        )
    return cells


def server_table(rows: Sequence[Row]) -> PlainTable:
    """How busy the servers are."""
    first = rows[0]
    blocks = "not modelled" if first["kv_blocks"] is None else f"{first['kv_blocks']:,}"
    heads = (
        *("method", "running", "waiting", "batch", "KV use", "max", "preemptions", "acceptance length"),
        *("$/M tokens", "J/token", "kind"),
    )
    caption = (
        f"Servers: {first['scheduler']} scheduler ({first['scheduling']}), "
        f"max_num_seqs {first['max_num_seqs']:,}, "
        f"max_num_batched_tokens {first['max_num_batched_tokens']:,}, "
        f"KV blocks of {label_of(first)}: {blocks}"
    )
    return PlainTable(caption, "", heads, [_servers(row) for row in rows], 1)


def _servers(row: Row) -> list[str]:
    joules = row["joules_per_million_tokens"]
    return [
        label_of(row),
        number(row["mean_running"], ",.1f"),
        number(row["mean_waiting"], ",.1f"),
        number(row["mean_batch"], ",.1f"),
        number(row["kv_use_mean"], ".1%") if row["kv_blocks"] is not None else DASH,
        number(row["kv_use_max"], ".1%") if row["kv_blocks"] is not None else DASH,
        f"{row['num_preemptions']:,}",
        number(row["mean_acceptance_length"], ".2f"),
        number(row["usd_per_million_tokens"], ",.2f"),
        number(None if joules is None else joules / 1e6, ",.2f"),
        row["replay_kind"],
    ]


def _milli(seconds: float | None) -> float | None:
    return None if seconds is None else MILLI * seconds


def _with_half(row: Row, name: str, form: str, scale: float) -> str:
    """``value +-half`` of its interval."""
    value, low, high = row[name], row[f"{name}_ci_low"], row[f"{name}_ci_high"]
    if value is None or low is None:
        return number(value, form)
    return f"{scale * value:{form}} +-{scale * 0.5 * (high - low):{form}}"
