"""What do users wait? Open-loop serving under arrivals."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from svsim.cli.app import F, command, common, option
from svsim.cli.options import engine_option, model_options, placement_options, with_options
from svsim.cli.output import console, progress_bar, this_command, write_json, write_text

if TYPE_CHECKING:
    from svsim.serving.metrics import ServingTable

FORMATS = "csv|azure|burstgpt|mooncake|bailian|aiperf|guidellm|vidur"


def demand_options(function: F) -> F:
    """What arrives."""
    options = [
        option("--arrivals", metavar="LAW:rate=R[,...]",
               help="poisson:rate=4, gamma:rate=4,burstiness=0.5, constant:rate=4, "
               "ramp:from=1,to=8,over=600, onoff:rate=4,on=10,off=30, diurnal:rate=4, or "
               "closed:users=64,think=1."),
        option("--workload", metavar="FILE", help="A recording of requests instead of a law."),
        option("--format", metavar=FORMATS, help="Of the workload file.  [default: csv]"),
        option("--time-scale", type=float, default=1.0, metavar="X",
               help="The workload's arrivals are X times as far apart.  [default: 1]"),
        option("--lengths", metavar="trace|fixed:P/O|uniform:P/O/r|lognormal:P/O/cv|normal:P/O/sd/sd/max/max",
               help="Prompt and output tokens.  [default: trace]"),
        option("--duration", type=float, metavar="S",
               help="Simulated seconds, warm-up included.  [default: 1000 requests, at least 300 s; the "
               "whole workload]"),
        option("--warm-up", default="auto", show_default=True, metavar="S|auto",
               help="Seconds that are simulated and not measured; auto: by MSER-5."),
        option("--replications", type=int, metavar="N",
               help="Independent runs, which intervals come from.  [default: 8; of a workload 1]"),
    ]  # fmt: skip
    return with_options(function, options)


def server_options(function: F) -> F:
    """What serves."""
    options = [
        option("--max-num-seqs", type=int, metavar="N",
               help="Running requests at most.  [default: as vLLM's server on that GPU]"),
        option("--max-num-batched-tokens", type=int, metavar="N",
               help="New tokens of a step at most.  [default: as vLLM's server on that GPU]"),
        option("--kv-blocks", type=int, metavar="N",
               help="KV blocks of a replica.  [default: what fits into memory]"),
        option("--block-size", type=int, default=16, show_default=True, metavar="N",
               help="Tokens of a block."),
        option("--watermark", type=float, default=0.0, metavar="SHARE",
               help="Share of the blocks that admission leaves free.  [default: 0]"),
        option("--long-prefill-token-threshold", type=int, default=0, metavar="N",
               help="Most new tokens of one request in a step, while there are others.  [default: no limit]"),
        option("--reserve-full-isl/--no-reserve-full-isl", default=True, show_default=True,
               help="Let a prompt in only if all of it fits."),
        option("--policy", default="fcfs", show_default=True, metavar="fcfs|priority", help="Who is first."),
        option("--scheduling", default="sync", show_default=True, metavar="sync|async",
               help="async: the next step is planned while one runs."),
        option("--scheduler", default="vllm", show_default=True, metavar="vllm|sglang|trtllm",
               help="Whose order of work, admission and preemption."),
        option("--replicas", type=int, default=1, show_default=True, metavar="N", help="Servers alike."),
        option("--router", default="round-robin", show_default=True, metavar="round-robin|least-loaded",
               help="Which replica an arrival goes to."),
        option("--failure", multiple=True, metavar="replica=I,at=S,for=S",
               help="A replica is down; its requests go to the others. Repeatable."),
        option("--gpu-memory-utilization", type=float, metavar="SHARE",
               help="Share of each GPU's memory that the server uses.  [default: 0.9]"),
    ]  # fmt: skip
    return with_options(function, options)


def answer_options(function: F) -> F:
    """What is compared, priced and written."""
    options = [
        option("--method", "methods", multiple=True, metavar="NAME[:key=value,...]",
               help="td, sd:k=5, sv:k=7 ...; repeatable, and sd:k=1-5 is all five. See svsim methods.  "
               "[default: td, sd at k = 1, 2, 3, 5, sv:k=7]"),
        option("--hardware", multiple=True, metavar="NAME[:key=value,...]",
               help="Hardware to price; repeatable.  [default: the first of the trace's step times]"),
        option("--latency", default="auto", metavar="trace|database|roofline|FILE",
               help="Where step times come from; FILE is a linear .json.  "
               "[default: the trace's own, else roofline]"),
        engine_option,
        model_options,
        placement_options,
        option("--slo", multiple=True, metavar="METRIC:STAT=S",
               help="ttft:p99=0.5, tpot:p95=0.05, good=0.95 ...; repeatable."),
        option("--profile-split", type=float, metavar="SHARE",
               help="Share of the trace that beliefs learn from and nobody borrows.  [default: 0.5]"),
        option("--out-of-range", metavar="raise|clip|extrapolate",
               help="Passes outside the calibrated step times.  [default: raise]"),
        option("--prices", metavar="FILE", help="Your prices of a GPU-hour (JSON).  [default: examples]"),
        option("--seed", type=int, default=0, show_default=True, help="Of everything that is drawn."),
        option("--jobs", type=int, metavar="N",
               help="Worker threads; results do not depend on it.  [default: all cores]"),
        option("--csv", "csv_out", metavar="FILE|-", help="Write the rows as CSV."),
        option("--requests-csv", "requests_out", metavar="FILE|-",
               help="Write every measured request as CSV."),
        option("--report", "report_out", metavar="FILE",
               help="Write one offline HTML page with figures; runs other rates around the asked one too."),
    ]  # fmt: skip
    return with_options(function, options)


@command(
    """
    svsim serve-sim traces/llama70b.parquet --arrivals poisson:rate=4
    svsim serve-sim traces/llama70b.parquet --arrivals gamma:rate=8,burstiness=0.5 --hardware h200_sxm:tp=4
    svsim serve-sim T.parquet --arrivals poisson:rate=20 --replicas 4 --slo ttft:p99=0.5 --slo tpot:p95=0.05
    svsim serve-sim traces/llama70b.parquet --arrivals poisson:rate=8 --slo ttft:p99=0.5 --report waits.html
    svsim serve-sim T.parquet --workload conversation.jsonl --format mooncake --requests-csv requests.csv
    svsim serve-sim --target llama-3.1-8b --hardware l40s --arrivals poisson:rate=9 --lengths fixed:512/128
    """
)
@click.argument("trace", required=False)
@demand_options
@server_options
@answer_options
@common
def serve_sim(
    trace: str | None,
    json_out: str | None,
    csv_out: str | None,
    requests_out: str | None,
    report_out: str | None,
    **options: Any,
) -> None:
    """How long do users wait? Serves requests as they arrive, with and without speculation.

    Simulates the scheduler, chunked prefill, KV cache and replicas of a server; requests borrow the
    acceptance of TRACE, which may be left out for target-only decoding. docs/serving.md says what is exact.
    """
    from svsim.open_loop.face import serve_sim as ask

    with progress_bar("simulating") as progress:
        table = ask(trace, progress=progress, **options)
    if report_out:
        with progress_bar("simulating other rates") as progress:
            table.report(report_out, command=this_command(), progress=progress)
    _show(table, json_out, csv_out, requests_out)
    if table.is_interrupted:
        raise KeyboardInterrupt


def _show(table: "ServingTable", json_out: str | None, csv_out: str | None, requests_out: str | None) -> None:
    outputs: Sequence[str | None] = (json_out, csv_out, requests_out)
    if json_out:
        write_json(table.to_dict(), json_out)
    if csv_out:
        write_text(table.to_csv(), csv_out)
    if requests_out:
        write_text(table.requests_csv(), requests_out)
    if "-" not in outputs:
        from svsim.report.serving import print_serving

        print_serving(table, console())
