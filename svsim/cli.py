"""The command line. Commands understand their options, call ``svsim.api`` and show what came back.

Heavy imports happen inside commands, so that ``svsim --help`` is instant.
"""

import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

# Small matrices only: threads would cost more than they give. Must precede the import of NumPy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import click

from svsim.errors import InputError, SvsimError, printable

if TYPE_CHECKING:
    from svsim.api import Progress
    from svsim.metrics.rows import ResultTable

F = TypeVar("F", bound=Callable[..., Any])
EXIT_INTERRUPTED = 130


def main() -> NoReturn:
    """Entry point: one line on stderr and the right exit code instead of tracebacks."""
    debug = "--debug" in sys.argv[1:]
    try:
        sys.exit(cli.main(prog_name="svsim", standalone_mode=False) or 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _complain("interrupted")
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        _complain(error.format_message())
        sys.exit(2)
    except SvsimError as error:
        if debug:
            traceback.print_exc()
        _complain(str(error))
        sys.exit(error.exit_code)
    except Exception as error:
        if debug:
            traceback.print_exc()
        _complain(
            f"this is a bug in svsim ({type(error).__name__}: {error}); run again with --debug and report it"
        )
        sys.exit(1)


def _complain(message: str) -> None:
    print(f"svsim: {printable(' '.join(message.split()), 2000)}", file=sys.stderr)


class _Examples(click.Command):
    """A command whose help ends with its examples, one per line."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.strip().splitlines():
                    formatter.write(f"{' ' * formatter.current_indent}{line.strip()}\n")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="svsim")
def cli() -> None:
    """Simulator and analytic cost model for LLM serving with speculative decoding.

    \b
    First answer:   svsim replay traces/llama70b.parquet
    Every command:  svsim COMMAND --help
    """


def _option(*names: str, **attributes: Any) -> Callable[[F], F]:
    return click.option(*names, **attributes)


def _common(function: F) -> F:
    """--json and --debug, on every command."""
    function = _option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")(
        function
    )
    return _option(
        "--json", "json_out", metavar="FILE|-", help="Write JSON to FILE, or to stdout alone with -."
    )(function)


def _run_options(function: F) -> F:
    """The options that replay and analytic share."""
    options = [
        _option("--method", "methods", multiple=True, metavar="NAME[:key=value,...]",
                help="td, sd:k=5, sv:k=7 ...; repeatable. See svsim methods.  [default: td, sd:k=5, sv:k=7]"),
        _option("--batch", "batch", metavar="1,2,4", help="Batch sizes.  [default: 1,2,4,8,16,32,48,64]"),
        _option("--hardware", multiple=True, metavar="NAME[:tp=4]",
                help="Hardware to price; repeatable.  [default: the first of the step times]"),
        _option("--latency", default="trace", show_default=True, metavar="trace|database|roofline|FILE",
                help="Where step times come from; FILE is a linear .json or a step-time .parquet."),
        _option("--refill", metavar="continuous|static", help="New requests at once, or batches that drain."
                "  [default: continuous]"),
        _option("--batch-of", metavar="requests|copies", help="Distinct requests, or copies of one."
                "  [default: requests]"),
        _option("--prefill", metavar="include|exclude", help="Count prefill passes.  [default: exclude]"),
        _option("--profile-split", type=float, metavar="SHARE",
                help="Share of requests that beliefs learn from and nobody replays.  [default: 0.5]"),
        _option("--coins", default="recorded", show_default=True, metavar="recorded|redraw:N",
                help="Acceptance as recorded, or N fresh draws from its probabilities."),
        _option("--convention", default="native", show_default=True, metavar="native|specdecode-bench",
                help="Accounting of svsim, or of SpecDecode-Bench's simulator."),
        _option("--out-of-range", default="raise", show_default=True, metavar="raise|clip|extrapolate",
                help="Passes outside the calibrated step times."),
        _option("--prices", metavar="FILE", help="Your prices of a GPU-hour (JSON).  [default: examples]"),
        _option("--seed", type=int, default=0, show_default=True, help="Seed of split, order and intervals."),
        _option("--jobs", type=int, metavar="N", help="Worker threads; results do not depend on it."
                "  [default: all cores]"),
        _option("--csv", "csv_out", metavar="FILE|-", help="Write the rows as CSV."),
        _option("--report", "report_out", metavar="FILE", help="Write one offline HTML page with figures."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return _common(function)


def _command(examples: str, **attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:
    return cli.command(cls=_Examples, epilog=examples, **attributes)


@_command(
    """
    svsim replay traces/llama70b.parquet
    svsim replay traces/llama70b.parquet --batch 8,64 --hardware h100_sxm:tp=4 --hardware h200_sxm:tp=4
    svsim replay T.parquet --method sd:k=3 --method sv:k=7,objective=accepted,stop=first-drop --json rows.json
    svsim replay gsm8k.parquet --latency linear.json --method sd:k=3 --batch 1,32
    svsim replay traces/llama70b.parquet --report out.html
    """
)
@click.argument("trace")
@_run_options
def replay(trace: str, **options: Any) -> None:
    """Which method is fastest at which batch size? Replays TRACE in a closed loop.

    Target-only decoding (td), fixed-length speculation (sd) and Speculative Verification (sv) run on
    the same requests and the same coins; speedups carry paired 95 % intervals.
    """
    from svsim import api

    _answer(api.replay, "replaying", trace, **options)


@_command(
    """
    svsim analytic traces/llama70b.parquet
    svsim analytic traces/llama70b.parquet --batch 8,64 --hardware h100_sxm:tp=4 --hardware h200_sxm:tp=4
    svsim analytic T.parquet --method sd:k=3 --method sv:k=7 --refill static --json rows.json
    """
)
@click.argument("trace")
@_run_options
def analytic(trace: str, **options: Any) -> None:
    """The question of replay, answered by the analytic model: same options, same rows.

    Walks every request once per method instead of replaying batches; docs/analytic.md derives it.
    """
    from svsim import api

    _answer(api.analytic, "working out", trace, **options)


def _answer(
    ask: Callable[..., "ResultTable"],
    doing: str,
    trace: str,
    json_out: str | None,
    csv_out: str | None,
    report_out: str | None,
    **options: Any,
) -> None:
    """Ask one of the two engines and show its rows."""
    _check_outputs(json_out, csv_out, report_out)
    if report_out == "-":
        raise InputError("--report - is no file; a page goes to a file, as --report out.html")
    with _progress(doing, json_out, csv_out) as progress:
        table = ask(trace, progress=progress, **_understood(options))
    _show(table, json_out, csv_out)
    if report_out:
        _report(table, report_out)


def _understood(options: dict[str, Any]) -> dict[str, Any]:
    """Options as the API takes them."""
    batch = options.pop("batch")
    return {**options, "batch_sizes": _integers("--batch", batch) if batch is not None else ()}


def _integers(name: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{name} {text}: expected whole numbers separated by commas, as 1,8,64") from None


class _progress:
    """A progress bar on stderr, where a person watches; says when a first run compiles."""

    def __init__(self, what: str, *outputs: str | None) -> None:
        self.what = what

    def __enter__(self) -> "Progress | None":
        self.bar: Any = None
        if not sys.stderr.isatty():
            return None
        from rich.console import Console
        from rich.progress import Progress as Bar

        from svsim.compiled import is_compiled

        if not is_compiled():
            print("compiling the replay loop (first run only, about 20 s) ...", file=sys.stderr)
        self.bar = Bar(console=Console(stderr=True), transient=True)
        self.bar.start()
        task = self.bar.add_task(self.what, total=None)
        return lambda done, total: self.bar.update(task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()


def _check_outputs(*outputs: str | None) -> None:
    """Fail before the work, not after it."""
    if sum(out == "-" for out in outputs) > 1:
        raise InputError("only one output can go to stdout; write the other to a file")
    for out in outputs:
        if out and out != "-":
            folder = Path(out).resolve().parent
            if Path(out).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
                raise InputError(
                    f"{out} cannot be written: give a file in a folder that exists and is writable"
                )


def _show(table: "ResultTable", json_out: str | None, csv_out: str | None) -> None:
    if json_out:
        write_json(table.to_dict(), json_out)
    if csv_out:
        write_text(table.to_csv(), csv_out)
    if "-" not in (json_out, csv_out):
        from rich.console import Console

        from svsim.report.terminal import print_table

        width = None if sys.stdout.isatty() else 160
        print_table(table, Console(width=width))


def _report(table: "ResultTable", report_out: str) -> None:
    """Write the page; the only path to plotly."""
    from svsim.report.page import write_report

    write_report(table, report_out, command=shlex.join(["svsim", *sys.argv[1:]]))


def write_json(document: Any, out: str) -> None:
    """Write a JSON document to a file or to stdout."""
    write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", out)


def write_text(text: str, out: str) -> None:
    """Write to stdout, to a device as it is, or to a file by way of a temporary one."""
    if out == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    path = Path(out)
    is_device = path.exists() and not path.is_file()
    temporary = path if is_device else path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        if not is_device:
            os.replace(temporary, path)
    except OSError as error:
        if not is_device:
            temporary.unlink(missing_ok=True)
        raise InputError(f"{out} cannot be written ({error.strerror}); choose another place") from None


@_command(
    """
    svsim methods
    svsim methods --json -
    """
)
@_common
def methods(json_out: str | None) -> None:
    """List decoding methods, their options, losslessness and source."""
    from svsim.decoding.presets import PRESETS, parse_method

    entries = []
    for name, preset in PRESETS.items():
        built = parse_method(name)
        entries.append(
            {
                "method": name,
                "options": {key: option.default for key, option in preset.options.items()},
                "summary": preset.summary,
                "lossless": built.lossless.value,
                "why": built.why_lossless,
                "needs": list(built.belief.signals) if built.belief else [],
                "source": preset.source,
            }
        )
    if json_out:
        write_json({"methods": entries}, json_out)
    if json_out != "-":
        for entry in entries:
            options = ", ".join(f"{k}={v}" for k, v in entry["options"].items())  # type: ignore[attr-defined]
            click.echo(f"{entry['method']:10} {entry['summary']}  [{entry['source']}]")
            click.echo(f"{'':10} options: {options or 'none'}; {entry['lossless']}: {entry['why']}")


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)


@_command(
    """
    svsim hardware
    svsim hardware h100_sxm my_gpu.json --prices my_prices.json --json -
    """
)
@click.argument("names", nargs=-1)
@_option("--prices", metavar="FILE", help="Your own prices per GPU-hour (JSON).  [default: dated examples]")
@_common
def hardware(names: tuple[str, ...], prices: str | None, json_out: str | None) -> None:
    """List GPUs by data sheet, with sources. NAMES: some of them, or a .json file that describes one."""
    from svsim.catalogue import hardware_entries
    from svsim.report.catalogue_tables import print_hardware

    entries = hardware_entries(names, prices)
    if json_out:
        write_json({"hardware": entries}, json_out)
    if json_out != "-":
        print_hardware(entries, _console())


@_command(
    """
    svsim models
    svsim models --config my-model/config.json --json -
    """
)
@_option("--config", metavar="FILE", help="Read one model's Hugging Face config.json instead.")
@_common
def models(config: str | None, json_out: str | None) -> None:
    """List known model shapes, or read one from a config.json."""
    from svsim.catalogue import model_entries
    from svsim.report.catalogue_tables import print_models

    entries = model_entries(config)
    if json_out:
        write_json({"models": entries}, json_out)
    if json_out != "-":
        print_models(entries, _console())


@_command(
    """
    svsim import specdecode-bench gsm8k.jsonl --drafter eagle --out gsm8k.parquet
    """,
    name="import",
)
@click.argument("format_name", metavar="FORMAT")
@click.argument("file")
@_option(
    "--drafter", default="eagle", show_default=True, metavar="eagle|ngram", help="Whose acceptance to import."
)
@_option("--out", required=True, metavar="FILE", help="The trace to write (.parquet).")
@_common
def import_(format_name: str, file: str, drafter: str, out: str, json_out: str | None) -> None:
    """Turn another tool's recording into a trace. FORMAT: specdecode-bench."""
    from svsim.api import provenance
    from svsim.workload.trace_file import save_trace
    from svsim.workload.trace_importers import IMPORTERS

    if format_name not in IMPORTERS:
        raise InputError(f"unknown format {format_name}; known: {', '.join(IMPORTERS)}")
    _check_outputs(out, json_out)
    trace = IMPORTERS[format_name](file, drafter)
    save_trace(trace, out)
    if json_out:
        write_json({"trace": {"file": Path(out).name, **provenance(trace.metadata)}}, json_out)
    if json_out != "-":
        click.echo(f"{out}: {trace.num_requests:,} requests, {trace.num_positions:,} positions, "
                   f"K = {trace.num_speculative_tokens}")  # fmt: skip


@_command(
    """
    svsim info traces/llama70b.parquet
    svsim info gsm8k.parquet --latency linear.json --json -
    """
)
@click.argument("trace")
@_option("--profile-split", type=float, default=0.5, show_default=True, metavar="SHARE",
         help="Share of requests that beliefs learn from; they are judged on the others.")  # fmt: skip
@_option("--latency", default="trace", show_default=True, metavar="trace|database|roofline|FILE",
         help="Step times for the share of slow steps.")  # fmt: skip
@_option("--hardware", multiple=True, metavar="NAME[:tp=4]", help="Hardware of these step times.")
@_option("--seed", type=int, default=0, show_default=True, help="Seed of split, shuffles and intervals.")
@_common
def info(trace: str, json_out: str | None, **options: Any) -> None:
    """What is in TRACE: provenance, acceptance, what its signals tell about it, and whether it is sound."""
    from svsim import api

    _check_outputs(json_out)
    with _progress("reading", json_out) as progress:
        found = api.info(trace, progress=progress, **options)
    if json_out:
        write_json(found.to_dict(), json_out)
    if json_out != "-":
        from svsim.report.information import print_information

        print_information(found, _console())


# field of SyntheticSettings -> (kind, default, help)
SYNTH_NUMBERS: dict[str, tuple[type, int | float | None, str]] = {
    "num_requests": (int, 512, "Requests."),
    "num_speculative_tokens": (int, 7, "K, the draft tokens per position."),
    "information_gain_bits": (float, 0.2, "What S and A tell about acceptance, held out."),
    "overlap_correlation": (float, 0.7, "Correlation of S with the target overlap."),
    "draft_entropy_nats": (float, 0.8, "Mean entropy of the draft distribution."),
    "request_spread": (float, 0.06, "Deviation between requests of their acceptance."),
    "burstiness": (float, None, "Lag-1 autocorrelation of acceptance along the output."),
    "drift": (float, 0.0, "Change of acceptance from the first to the last token."),
    "wrong_prefix_decay": (float, None, "Share of acceptance lost after a rejected token."),
    "overlap_spread": (float, 1.5, "How polar the overlap is: deviation of the latent difficulty."),
}


def _synth_options(function: F) -> F:
    """The settings of a synthetic trace."""
    options = [
        _option("--settings", "settings_file", metavar="FILE",
                help="JSON object of settings; the options below are put over it."),
        _option("--task", "tasks", multiple=True, metavar="NAME:key=value,...",
                help="A kind of request, as chat:acceptance=0.65,share=2,output_tokens=300:0.6; repeatable."),
        _option("--acceptance", metavar="A|A1/.../AK",
                help="Mean acceptance at depth 1, or conditional at depths 1 to K.  [default: 0.75]"),
        _option("--verified-acceptance", metavar="A", help="Accepted/verified of SD(K), instead."),
        _option("--prompt-tokens", metavar="MEAN[:VARIATION]", help="Prompt lengths.  [default: 200:0.5]"),
        _option("--output-tokens", metavar="MEAN[:VARIATION]", help="Output lengths.  [default: 200:0.5]"),
        *(_option(f"--{name.replace('_', '-')}", type=kind,
                  help=f"{text}  [default: {'what follows' if default is None else default}]")
          for name, (kind, default, text) in SYNTH_NUMBERS.items()),
        _option("--information-measure", metavar="acceptance|paper",
                help="Bits about acceptance, or I(X; S, A) of arXiv 2509.24328.  [default: acceptance]"),
        _option("--greedy/--sampled", default=None, help="How the target decodes.  [default: sampled]"),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def _command_without(*outputs: str | None) -> str:
    """The command as typed, without where its results go: two files of one recipe are the same."""
    words = [w for w in sys.argv[1:] if w not in ("--out", "--json", "--debug", *outputs)]
    return shlex.join(["svsim", *(w for w in words if not w.startswith(("--out=", "--json=")))])


@_command(
    """
    svsim synth --acceptance 0.8 --information-gain-bits 0.2 --out T.parquet
    svsim synth --task chat:acceptance=0.65,share=2 --task code:acceptance=0.9 --out T.parquet
    svsim synth --settings settings.json --num-requests 2000 --seed 7 --out T.parquet --json -
    """
)
@_synth_options
@_option("--out", required=True, metavar="FILE", help="The trace to write (.parquet).")
@_option("--seed", type=int, default=0, show_default=True, help="Same settings and seed, same bytes.")
@_common
def synth(settings_file: str | None, tasks: tuple[str, ...], out: str, seed: int, json_out: str | None,
          **options: Any) -> None:  # fmt: skip
    """Make a synthetic trace with chosen properties, and measure what was made.

    Each property is an observable of the trace; what no trace can have together is refused, naming the
    limit. svsim info describes the result, svsim replay runs it (with --latency).
    """
    from svsim.api import provenance
    from svsim.metrics.synthetic_outcome import is_small, outcomes
    from svsim.report.outcomes import print_outcomes
    from svsim.workload.synthetic_options import read_settings, settings_of, with_options
    from svsim.workload.synthetic_trace import synthesize
    from svsim.workload.trace_file import save_trace

    _check_outputs(out, json_out)
    if out == "-":
        raise InputError("--out - is no file; a trace goes to a file, as --out T.parquet")
    settings = settings_of(
        with_options(read_settings(settings_file) if settings_file else {}, tasks, options)
    )
    trace = synthesize(settings, seed, _command_without(out, json_out))
    found = outcomes(settings, trace)
    save_trace(trace, out)
    if json_out:
        about = {"file": Path(out).name, **provenance(trace.metadata)}
        write_json({"trace": about, "outcomes": [outcome.to_dict() for outcome in found]}, json_out)
    if json_out != "-":
        size = f"{trace.num_requests:,} requests, {trace.num_positions:,} positions"
        made = f"{out}: {size}, K = {trace.num_speculative_tokens}"
        print_outcomes(made, found, is_small(trace), _console())
