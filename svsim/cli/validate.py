"""Is the prediction right? The replay against results of the user, real passes, or models that generate."""

import math
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from svsim.cli.app import CommandWithExamples, cli, common, option
from svsim.cli.collect import live_progress
from svsim.cli.options import MODEL_OPTIONS, engine_option, model_options
from svsim.cli.output import (
    console,
    csv_text,
    integers,
    progress_bar,
    this_command,
    write_json,
    write_text,
)
from svsim.cli.words import as_flags
from svsim.errors import InputError, OutOfRangeError

if TYPE_CHECKING:
    from svsim.report.accuracy_view import AccuracyView

# options of each way to compare, in the order of the help; what is in none belongs to all
WAYS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "bench": (
        "--bench: your own results",
        ("bench", "methods", "batch", "prefill", "hardware", "latency", "engine", *MODEL_OPTIONS, "refill",
         "out_of_range"),
    ),
    "loop": (
        "--loop: the replay's steps as passes of random-weight models on this machine",
        ("loop", "target", "draft", "companion", "table", "out_of_range", "methods", "batch", "steps",
         "repeats", "seconds", "calibration_seconds", "device", "dtype"),
    ),
    "live": (
        "--live: a trained triplet generates, its trace is captured first",
        ("live", "task", "methods", "batch", "k", "max_requests", "output_tokens", "temperature", "greedy",
         "texts", "repeats", "device"),
    ),
}  # fmt: skip


Shown = tuple[dict[str, Any], list[dict[str, Any]], "AccuracyView"]  # document, rows, what is shown


class ValidateCommand(CommandWithExamples):
    """Help with the options of each way under a heading of its own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {p.name: p.get_help_record(ctx) for p in self.get_params(ctx)}
        placed: set[str | None] = set()
        for heading, names in (*WAYS.values(), ("All", tuple(filter(None, records)))):
            rows = [r for name in names if name not in placed and (r := records.get(name)) is not None]
            placed |= set(names)
            with formatter.section(heading):
                formatter.write_dl(rows)


@cli.command(
    cls=ValidateCommand,
    epilog="""
    svsim validate traces/llama70b.parquet --bench measured.csv --hardware h100_sxm:tp=4
    svsim validate T.parquet --bench td.json --bench eagle.json --hardware h100_sxm --latency database
    svsim validate T.parquet --bench sglang.jsonl --method sd:k=3 --hardware h100_sxm --latency roofline
    svsim validate T.parquet --loop --target qwen2.5-32b --draft qwen2.5-0.5b --companion qwen2.5-1.5b
    svsim validate T.parquet --loop --target config.json --device cpu --batch 1,8 --report errors.html
    svsim validate --live triplet/ --device cpu --batch 8 --max-requests 100 --json live.json
    """,
)
@click.argument("trace", required=False)
@option("--bench", multiple=True, metavar="FILE", help="Measured results: of vllm bench serve, SGLang, "
        "GuideLLM, AIPerf, or a CSV with method,batch,tok_s[,ttft_s][,tpot_s]; repeatable.")  # fmt: skip
@option("--prefill", metavar="include|exclude", help="Whether prefills are in the throughput.  "
        "[default: include for a server's results, exclude for a CSV]")  # fmt: skip
@option("--hardware", metavar="NAME[:tp=4]", help="What they were measured on.  [default: first step times]")
@option("--latency", default="trace", metavar="trace|database|roofline|FILE",
        help="Where predicted step times come from.  [default: trace]")  # fmt: skip
@engine_option
@option("--refill", metavar="continuous|static", help="How the measured run was fed.  [default: continuous]")
@option("--out-of-range", metavar="raise|clip|extrapolate",
        help="Passes outside the calibrated step times.  [default: raise]")  # fmt: skip
@option("--loop", is_flag=True, help="Hardware in the loop: the replay's clock is replaced by this machine.")
@model_options
@option("--table", type=Path, metavar="FILE", help="Step times of svsim calibrate to predict from; written "
        "there by calibrating now if it does not exist.  [default: calibrate now]")  # fmt: skip
@option("--live", type=Path, metavar="DIR", help="A folder with target/, draft/, companion/.")
@option("--task", default="mixed", metavar="TASK", help="Which prompts.  [default: mixed]")
@option("--method", "methods", multiple=True, metavar="NAME[:key=value,...]",
        help="td, sd:k=5, sv:k=7 ...; repeatable. With --bench: how the runs decoded, if files do not say.  "
        "[default: td, sd and sv as models allow]")  # fmt: skip
@option("--batch", metavar="1,2,4", help="Batch sizes, most valuable first; one with --live, and with "
        "--bench where files do not say it.  [default: 1,64,8,32,4,16,2; 8]")  # fmt: skip
@option("--steps", type=int, default=24, metavar="N", help="Steps of each method and batch size."
        "  [default: 24]")  # fmt: skip
@option("--k", type=int, default=8, metavar="K", help="Draft tokens that are captured.  [default: 8]")
@option("--max-requests", type=int, metavar="N", help="Use the first N prompts only.")
@option("--output-tokens", type=int, default=64, metavar="N", help="Tokens of a request.  [default: 64]")
@option("--temperature", type=float, default=0.7, metavar="T", help="Sampling temperature.  [default: 0.7]")
@option("--greedy", is_flag=True, help="Target and draft take their most likely token.")
@option("--texts", type=int, default=512, metavar="N", help="Texts of each method for the test of laws."
        "  [default: 512]")  # fmt: skip
@option("--repeats", type=int, default=4, metavar="N", help="Repeats, forwards and backwards.  [default: 4]")
@option("--seconds", type=float, default=280.0, metavar="S", help="No batch size is begun after that long."
        "  [default: 280]")  # fmt: skip
@option("--calibration-seconds", type=float, default=15.0, metavar="S",
        help="Time for each model's table.  [default: 15]")  # fmt: skip
@option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda",
        help="The CPU is used only when asked for.  [default: cuda]")  # fmt: skip
@option("--dtype", type=click.Choice(["auto", "bfloat16", "float16", "float32"]), default="auto",
        help="Numbers the models compute with.  [default: auto]")  # fmt: skip
@option("--seed", type=int, default=0, show_default=True, help="Seed of split, order, weights and coins.")
@option("--csv", "csv_out", metavar="FILE|-", help="Write the rows as CSV.")
@option("--report", "report_out", metavar="FILE", help="Write one offline HTML page with figures.")
@common
def validate(
    trace: str | None,
    json_out: str | None,
    csv_out: str | None,
    report_out: str | None,
    **options: Any,
) -> None:
    """Compare a prediction with what really happens, speculation on.

    Errors of goodput and of speedups, the crossover batch size, and what following the recommendation would
    have cost: against your own measured results (--bench), against the passes of every step run on this
    machine (--loop), or against a trained triplet that really generates (--live).
    """
    way = _way(click.get_current_context(), trace, options)
    ways: Mapping[str, Callable[[Any, Mapping[str, Any]], Shown]]
    ways = {"bench": _bench, "loop": _loop, "live": _live}
    document, rows, view = ways[way](trace, options)
    if json_out:
        write_json(document, json_out)
    if csv_out:
        write_text(csv_text(rows), csv_out)
    if "-" not in (json_out, csv_out):
        from svsim.report.accuracy import print_accuracy

        print_accuracy(view, console())
    if report_out:
        from svsim.report.accuracy_page import write_accuracy_page
        from svsim.version import __version__

        write_accuracy_page(view, report_out, this_command(), __version__)


def _way(ctx: click.Context, trace: str | None, options: Mapping[str, Any]) -> str:
    """Which comparison is asked for; InputError unless it is one, and no option is of another."""
    ways = [name for name in WAYS if options[name]]
    if len(ways) != 1:
        asked = " and ".join(f"--{name}" for name in ways) or "none of them"
        raise InputError(f"compare with --bench FILE, --loop or --live DIR, one of them; got {asked}")
    (way,) = ways
    if (trace is None) != (way == "live"):
        raise InputError(
            f"--live captures its own trace; leave {trace} out"
            if trace
            else f"--{way} needs a TRACE to replay; give its file"
        )
    own = set(WAYS[way][1])
    for _, names in WAYS.values():
        for name in sorted(set(names) - own):
            if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
                flag = next(p.opts[0] for p in ctx.command.params if p.name == name)
                raise InputError(f"{flag} does not go with --{way}; svsim validate --help tells what does")
    given = {name for name in own if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT}
    if way == "live" and options["greedy"] and "temperature" in given:
        raise InputError("--temperature has no effect with --greedy; leave one of them out")
    if way == "loop" and "calibration_seconds" in given and options["table"] and options["table"].exists():
        raise InputError(
            f"--calibration-seconds has no effect: --table {options['table']} is there and not measured "
            "again; leave one of them out"
        )
    return way


def _bench(trace: str, options: Mapping[str, Any]) -> Shown:
    """A user's results against the replay."""
    from svsim import api
    from svsim.report.accuracy_view import bench_view
    from svsim.run import open_source
    from svsim.validation.bench import compare_with_bench, mean_lengths, read_bench

    source = open_source(trace)
    batch = integers("--batch", options["batch"]) if options["batch"] else [None]
    if len(batch) != 1:
        raise InputError(f"--batch {options['batch']}: with --bench it is one size, as --batch 8")
    measured = read_bench(
        options["bench"],
        source.metadata.num_speculative_tokens,
        source.signals,
        options["methods"],
        batch[0],
    )
    prefill = options["prefill"] or ("include" if measured.is_server else "exclude")
    hardware = options["hardware"]
    with progress_bar("replaying") as progress:
        table = api.replay(
            trace,
            methods=measured.methods,
            batch_sizes=measured.batch_sizes,
            hardware=(hardware,) if hardware else (),
            prefill=prefill,
            progress=progress,
            **{
                name: options[name]
                for name in (*MODEL_OPTIONS, "latency", "engine", "refill", "out_of_range", "seed")
            },
        )
    found = compare_with_bench(table.rows, measured, *mean_lengths(source))
    first = table.rows[0]
    files = ", ".join(options["bench"])
    counted = "prefill counted" if prefill == "include" else "prefill not counted"
    priced = f"{first.latency_source} step times, engine {first.engine}, {counted}"
    title = f"{first.deployment} ({priced}) against {files}"
    facts = {"results": files, "prefill": prefill, "trace": table.trace, "run": table.config}
    document = {
        **found.accuracy.to_dict(),
        "prefill": prefill,
        "latencies": [pair.to_dict() for pair in found.latencies],
        "cautions": list(found.cautions),
    }
    latencies = [(p.batch_size, p.label, p.name, p.predicted_s, p.measured_s) for p in found.latencies]
    notes = [as_flags(note, click.get_current_context()) for note in measured.notes]
    view = bench_view(found.accuracy, title, facts, latencies, notes, found.cautions)
    return {"validation": document, "prediction": table.to_dict()}, document["rows"], view


def _loop(trace: str, options: Mapping[str, Any]) -> Shown:
    """Real passes against the table's prediction of them."""
    from svsim.latency.measured import MeasuredLatency, read_step_times
    from svsim.report.accuracy_view import loop_view
    from svsim.run import open_source
    from svsim.validation.hardware_in_the_loop import LoopSettings, hardware_in_the_loop
    from svsim.validation.loop_table import calibrate_for, usual_batch_sizes, usual_methods

    if not options["target"]:
        raise InputError("--loop needs a model to run; give --target MODEL, a preset or a config.json")
    for name in ("seconds", "calibration_seconds"):
        if not 0 < options[name] < math.inf:
            raise InputError(
                f"--{name.replace('_', '-')} {options[name]:g} is out of range; expected seconds > 0"
            )
    source = open_source(trace)
    models = {role: options[role] for role in ("target", "draft", "companion")}
    batch = options["batch"]
    settings = LoopSettings(
        **models,
        methods=options["methods"] or usual_methods(source, models),
        batch_sizes=tuple(integers("--batch", batch)) if batch else usual_batch_sizes(source),
        num_steps=options["steps"],
        num_repeats=options["repeats"],
        one_context=options["device"] == "cuda",
        seconds=options["seconds"],
        seed=options["seed"],
        device=options["device"],
        dtype=options["dtype"],
        command=this_command(),
    )
    with tempfile.TemporaryDirectory() as scratch, live_progress() as on_progress:
        table = options["table"] or Path(scratch) / "step_times.parquet"
        is_new = not table.exists()
        if is_new:
            calibrate_for(source, settings, table, options["calibration_seconds"], on_progress)
        latency = MeasuredLatency.from_file(table, out_of_range=options["out_of_range"] or "raise")
        try:
            report = hardware_in_the_loop(source, latency, settings, on_progress, read_step_times(table))
        except OutOfRangeError as error:
            if not is_new:
                raise
            message = f"{error}; or raise --calibration-seconds, which ended before such passes were timed"
            raise OutOfRangeError(message) from None
    document = {
        **report.to_dict(),
        "trace": Path(trace).name,
        "latency_table": str(options["table"] or "now"),
    }
    accuracies = {"device": report.logged, "re-timed": report.retimed, "wall clock": report.online}
    return document, document["rows"], loop_view(document, accuracies)


def _live(trace: None, options: Mapping[str, Any]) -> Shown:
    """A triplet generating against the replay of its captured trace."""
    from svsim.report.accuracy_view import live_view
    from svsim.trace_capture.settings import SamplingSettings
    from svsim.validation.live_report import LiveSettings, usual_live_methods
    from svsim.validation.live_run import live_run

    sizes = integers("--batch", options["batch"] or "8")
    if len(sizes) != 1:
        raise InputError(f"--batch {options['batch']}: --live runs one batch size, as --batch 8")
    greedy, temperature = options["greedy"], options["temperature"]
    with tempfile.TemporaryDirectory() as scratch:
        settings = LiveSettings(
            options["live"],
            Path(scratch),
            task=options["task"],
            methods=options["methods"] or usual_live_methods(options["k"]),
            batch_size=sizes[0],
            max_requests=options["max_requests"],
            num_output_tokens=options["output_tokens"],
            num_speculative_tokens=options["k"],
            num_repeats=options["repeats"],
            num_law_texts=options["texts"],
            sampling=SamplingSettings(greedy=True) if greedy else SamplingSettings(temperature=temperature),
            seed=options["seed"],
            device=options["device"],
            command=this_command(),
        )
        report = live_run(settings, _say())
    document = report.to_dict()
    return document, document["live_rows"], live_view(document, report.accuracy)


def _say() -> Callable[[str], None]:
    """Lines of progress on stderr, where a person watches."""
    return (lambda line: click.echo(f"  {line}", err=True)) if sys.stderr.isatty() else lambda line: None
