"""svsim plan: how many GPUs, which method, at what cost."""

import sys
from typing import Any

import click
from click.core import ParameterSource

from svsim.cli.app import F, command, common, option
from svsim.cli.options import engine_option, model_options, with_options
from svsim.cli.output import (
    console,
    integers,
    progress_bar,
    this_command,
    write_json,
    write_text,
)
from svsim.errors import InputError


def _asked(function: F) -> F:
    """What shall hold, for whom."""
    options = [
        option("--slo", multiple=True, metavar="METRIC:STAT=S",
               help="What shall hold: ttft:p99=0.5, tpot:p95=0.05, good=0.95 ...; repeatable."),
        option("--demand", metavar="RATE|diurnal:...|FILE",
               help="Requests/s of the fleet: 20, diurnal:rate=20,amplitude=0.6, or a CSV file hour,rate.  "
               "[default: none; the best per request]"),
        option("--arrivals", metavar="LAW[:...]",
               help="poisson, gamma:burstiness=0.5, constant, onoff:on=10,off=30, without a rate.  "
               "[default: poisson]"),
        option("--lengths", metavar="trace|fixed:P/O|uniform:P/O/r|lognormal:P/O/cv|normal:P/O/sd/sd/max/max",
               help="Prompt and output tokens.  [default: trace]"),
    ]  # fmt: skip
    return with_options(function, options)


def _tried(function: F) -> F:
    """The grid."""
    options = [
        option("--method", "methods", multiple=True, metavar="NAME[:key=value,...]",
               help="td, sd:k=5, sv:k=7 ...; repeatable, and sd:k=1-5 is all five. See svsim methods.  "
               "[default: td, sd at k = 1, 2, 3, 5, sv:k=7]"),
        option("--schedule", "schedule", multiple=True, metavar="rra:be=B,nd=N|waa:be=B",
               help="Instead: phases of encoding B prompts and decoding N passes (ExeGPT), in closed form; "
               "be=1-64 and what is left out are searched; repeatable."),
        option("--hardware", multiple=True, metavar="NAME[:key=value,...]",
               help="h100_sxm, h100_sxm:tp=4; repeatable.  [default: the first of the trace's step times]"),
        option("--tp", metavar="1,2,4",
               help="GPUs per replica to try, where --hardware does not say.  [default: 1,2,4,8 where step "
               "times are computed]"),
        option("--quant", multiple=True, metavar="DTYPE",
               help="Precisions to try, where --hardware does not say: bf16, fp8 ...; repeatable."),
        option("--max-num-seqs", metavar="64,256",
               help="Running requests at most, to try.  [default: as vLLM's server on that GPU]"),
        option("--max-num-batched-tokens", metavar="2048,8192",
               help="New tokens of a step at most, to try.  [default: as vLLM's server on that GPU]"),
        option("--prune/--no-prune", default=True, show_default=True,
               help="Leave out what the analytic model says cannot be best."),
    ]  # fmt: skip
    return with_options(function, options)


def _served(function: F) -> F:
    """How it is priced and served."""
    options = [
        option("--latency", default="auto", metavar="trace|database|roofline|FILE",
               help="Where step times come from; FILE is a linear .json.  "
               "[default: the trace's own, else roofline]"),
        engine_option,
        model_options,
        option("--kv-blocks", type=int, metavar="N",
               help="KV blocks of a replica.  [default: what fits into memory]"),
        option("--scheduling", default="sync", show_default=True, metavar="sync|async",
               help="async: the next step is planned while one runs."),
        option("--scheduler", default="vllm", show_default=True, metavar="vllm|sglang|trtllm",
               help="Whose order of work, admission and preemption."),
        option("--router", default="round-robin", show_default=True, metavar="round-robin|least-loaded",
               help="Which replica an arrival goes to."),
        option("--profile-split", type=float, metavar="SHARE",
               help="Share of the trace that beliefs learn from and nobody borrows.  [default: 0.5]"),
        option("--out-of-range", metavar="raise|clip|extrapolate",
               help="Passes outside the calibrated step times.  [default: raise]"),
        option("--gpu-memory-utilization", type=float, metavar="SHARE",
               help="Share of each GPU's memory that the server uses.  [default: 0.9]"),
        option("--prices", metavar="FILE", help="Your prices of a GPU-hour (JSON).  [default: examples]"),
        option("--seed", type=int, default=0, show_default=True, help="Of everything that is drawn."),
        option("--jobs", type=int, metavar="N",
               help="Worker threads; results do not depend on it.  [default: all cores]"),
        option("--csv", "csv_out", metavar="FILE|-", help="Write the plans as CSV."),
        option("--report", "report_out", metavar="FILE", help="Write the page."),
        option("--emit", nargs=2, multiple=True, metavar="vllm|sglang|trtllm|llamacpp FILE",
               help="Write that engine's configuration of the best; a .json file gets its bare settings."),
    ]  # fmt: skip
    return with_options(function, options)


@command(
    """
    svsim plan traces/llama70b.parquet --slo ttft:p99=0.5 --slo tpot:p95=0.05 --demand 40
    svsim plan T.parquet --slo ttft:p99=0.5 --hardware h100_sxm --hardware b200_sxm --tp 2,4
    svsim plan T.parquet --slo good=0.95 --slo ttft:p99=1 --slo tpot:p99=0.05 --method td --method sd:k=1-5
    svsim plan T.parquet --slo e2el:p95=10 --demand diurnal:rate=20,amplitude=0.6 --report plan.html
    svsim plan --target llama-3.1-8b --hardware l40s --lengths fixed:512/128 --slo tpot:p95=0.05 \
--demand 100 --emit vllm serve.sh
    svsim plan --target llama-3.1-8b --hardware a40 --lengths normal:256/32/252/13/512/80 --schedule rra \
--slo e2el:p99=11.5
    """
)
@click.argument("trace", required=False)
@_asked
@_tried
@_served
@common
def plan(trace: str | None, json_out: str | None, csv_out: str | None, report_out: str | None,
         emit: tuple[tuple[str, str], ...], tp: str | None, max_num_seqs: str | None,
         max_num_batched_tokens: str | None, schedule: tuple[str, ...], **options: Any) -> None:  # fmt: skip
    """How many GPUs, which method, what does a million tokens cost?

    Searches for every method, hardware and scheduler the largest rate that meets every --slo, takes the
    cheapest, and simulates the fleet for --demand. docs/planning.md says how. Exit code 3, with the closest,
    where nothing meets them.
    """
    from svsim.advice.configurations import ENGINES
    from svsim.options import word
    from svsim.planning.face import plan as ask

    if schedule:
        _schedules(trace, schedule, _list("--tp", tp), options, json_out, csv_out)
        return
    for engine, _ in emit:
        word("emit", engine, tuple(ENGINES))  # refused before the work
    options["tp"], options["max_num_seqs"] = _list("--tp", tp), _list("--max-num-seqs", max_num_seqs)
    options["max_num_batched_tokens"] = _list("--max-num-batched-tokens", max_num_batched_tokens)
    with progress_bar("planning") as progress:
        found = ask(trace, progress=progress, say=_warn, **options)
    made = [(path, found.configuration(engine).content(path)) for engine, path in emit]
    for path, text in made:
        write_text(text, path)
    if json_out:
        write_json(found.to_dict(), json_out)
    if csv_out:
        write_text(found.to_csv(), csv_out)
    if report_out:
        found.report(report_out, command=this_command())
    if "-" not in (json_out, csv_out, *(path for path, _ in made)):
        from svsim.report.planning import print_plan

        print_plan(found, console(), [path for path, _ in made])


OF_SCHEDULES = (
    *("slo", "demand", "hardware", "quant", "lengths", "latency", "engine", "target", "kv_blocks"),
    *("out_of_range", "prices", "gpu_memory_utilization", "seed"),
)


def _schedules(
    trace: str | None,
    schedule: tuple[str, ...],
    tp: list[int],
    options: dict[str, Any],
    json_out: str | None,
    csv_out: str | None,
) -> None:
    """Phases in closed form, in the place of simulated servers."""
    from svsim.planning.face import plan_schedules

    context = click.get_current_context()
    beside = ("trace", "schedule", "tp", "json_out", "csv_out", "debug")
    for parameter in context.command.params:
        name = str(parameter.name)
        is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if is_given and name not in (*OF_SCHEDULES, *beside):
            raise InputError(f"`{name}` has no effect with `schedule`; leave it out")
    found = plan_schedules(trace, schedule=schedule, tp=tp, **{name: options[name] for name in OF_SCHEDULES})
    if json_out:
        write_json(found.to_dict(), json_out)
    if csv_out:
        write_text(found.to_csv(), csv_out)
    if "-" not in (json_out, csv_out):
        from svsim.report.planning import print_plan

        print_plan(found, console())


def _list(name: str, text: str | None) -> list[int]:
    return [] if text is None else integers(name, text)


def _warn(line: str) -> None:
    print(f"svsim: {line}", file=sys.stderr, flush=True)
