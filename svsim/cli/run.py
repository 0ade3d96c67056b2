"""Which method is fastest? The two engines: replay and analytic."""

from typing import TYPE_CHECKING, Any

import click

from svsim.cli.app import F, command, common, option
from svsim.cli.options import engine_option, model_options, placement_options, with_options
from svsim.cli.output import (
    console,
    integers,
    progress_bar,
    this_command,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from svsim.metrics.rows import ResultTable


def run_options(function: F) -> F:
    """The options that replay and analytic share."""
    options = [
        option("--method", "methods", multiple=True, metavar="NAME[:key=value,...]",
                help="td, sd:k=5, sv:k=7 ...; repeatable, and sd:k=1-5 is all five. See svsim methods.  "
                "[default: td, sd at k = 1, 2, 3, 5, sv:k=7]"),
        option("--batch", "batch_sizes", metavar="1,2,4",
                help="Batch sizes.  [default: 1,2,4,8,16,32,48,64]"),
        option("--hardware", multiple=True, metavar="NAME[:key=value,...]",
                help="Hardware to price; repeatable. Keys: tp=N; draft= and companion= one, replicated or "
                "sharded over tp; quant=fp8 (the target's weights); kv=fp8.  "
                "[default: the first of the step times]"),
        option("--latency", default="trace", show_default=True, metavar="trace|database|roofline|FILE",
                help="Where step times come from; FILE is a linear .json or a step-time .parquet."),
        engine_option,
        model_options,
        placement_options,
        option("--refill", metavar="continuous|static", help="New requests at once, or batches that drain."
                "  [default: continuous]"),
        option("--batch-of", metavar="requests|copies", help="Distinct requests, or copies of one."
                "  [default: requests]"),
        option("--prefill", metavar="include|exclude", help="Count prefill passes.  [default: exclude]"),
        option("--profile-split", type=float, metavar="SHARE",
                help="Share of requests that beliefs learn from and nobody replays.  [default: 0.5]"),
        option("--profile-from", metavar="TRACE",
                help="Another trace, whose profile part beliefs are learnt on.  [default: this one]"),
        option("--believed-prices", metavar="FILE",
                help="Step times that methods plan with; the clock charges --latency's (replay alone)."),
        option("--coins", default="recorded", show_default=True, metavar="recorded|redraw:N",
                help="Acceptance as recorded, or N fresh draws from its probabilities."),
        option("--convention", default="native", show_default=True, metavar="native|specdecode-bench",
                help="Accounting of svsim, or of SpecDecode-Bench's simulator."),
        option("--out-of-range", metavar="raise|clip|extrapolate",
                help="Passes outside the calibrated step times.  [default: raise]"),
        option("--gpu-memory-utilization", type=float, metavar="SHARE",
                help="Share of each GPU's memory that the server uses; what does not fit says so.  "
                "[default: 0.9]"),
        option("--prices", metavar="FILE", help="Your prices of a GPU-hour (JSON).  [default: examples]"),
        option("--seed", type=int, default=0, show_default=True, help="Seed of split, order and intervals."),
        option("--jobs", type=int, metavar="N", help="Worker threads; results do not depend on it."
                "  [default: all cores]"),
        option("--csv", "csv_out", metavar="FILE|-", help="Write the rows as CSV."),
        option("--report", "report_out", metavar="FILE", help="Write one offline HTML page with figures."),
    ]  # fmt: skip
    return common(with_options(function, options))


@command(
    """
    svsim replay traces/llama70b.parquet
    svsim replay traces/llama70b.parquet --batch 8,64 --hardware h100_sxm:tp=4 --hardware h200_sxm:tp=4
    svsim replay T.parquet --method sd:k=1-5 --method sv:k=7,stop=first-drop --json rows.json
    svsim replay T.parquet --target llama-3.1-8b --draft draft/config.json --latency roofline --hardware l40s
    svsim replay T.parquet --latency database --hardware a100_sxm --engine vllm-0.24 --prefill include
    svsim replay T.parquet --latency roofline --hardware h100_sxm:tp=4 --draft-hardware l40s --link-s 5e-5
    svsim replay T.parquet --latency cpu.json --draft-hardware l40s --draft llama-3.2-1b --method sd:k=1-7
    svsim replay gsm8k.parquet --latency linear.json --method sd:k=3 --batch 1,32
    svsim replay traces/llama70b.parquet --report out.html
    svsim replay traces/llama70b.parquet --method sd:k=1-5 --method joint:k=8
    svsim replay T.parquet --method joint --profile-from other.parquet --believed-prices guess.json
    """
)
@click.argument("trace")
@run_options
def replay(trace: str, **options: Any) -> None:
    """Which method is fastest at which batch size? Replays TRACE in a closed loop.

    Target-only decoding (td), fixed-length speculation (sd) and Speculative Verification (sv) run on
    the same requests and the same coins; speedups carry paired 95 % intervals.
    """
    _answer("replay", trace, **options)


@command(
    """
    svsim analytic traces/llama70b.parquet
    svsim analytic traces/llama70b.parquet --batch 8,64 --hardware h100_sxm:tp=4 --hardware h200_sxm:tp=4
    svsim analytic T.parquet --method sd:k=3 --method sv:k=7 --refill static --json rows.json
    """
)
@click.argument("trace")
@run_options
def analytic(trace: str, **options: Any) -> None:
    """The question of replay, answered by the analytic model: same options, same rows.

    Walks every request once per method instead of replaying batches; docs/analytic.md derives it.
    """
    _answer("analytic", trace, **options)


def _answer(
    way: str,
    trace: str,
    json_out: str | None,
    csv_out: str | None,
    report_out: str | None,
    **options: Any,
) -> None:
    """Ask one of the two engines and show its rows."""
    from svsim import api

    sizes = options["batch_sizes"]
    asked = {**options, "batch_sizes": integers("--batch", sizes) if sizes is not None else ()}
    ask = api.replay if way == "replay" else api.analytic
    with progress_bar(way) as progress:
        table = ask(trace, progress=progress, **asked)
    try:
        _show(table, json_out, csv_out)
    finally:  # a reader of the table that has left (| head) does not cost the page
        if report_out:
            table.report(report_out, command=this_command())


def _show(table: "ResultTable", json_out: str | None, csv_out: str | None) -> None:
    if json_out:
        write_json(table.to_dict(), json_out)
    if csv_out:
        write_text(table.to_csv(), csv_out)
    if "-" not in (json_out, csv_out):
        from svsim.report.terminal import print_table

        print_table(table, console())
