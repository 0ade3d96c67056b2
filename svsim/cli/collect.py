"""Commands that run real models: capture and calibrate. They need the extra ``capture``."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from svsim.cli.app import command, common, option
from svsim.cli.output import integers, this_command, write_json
from svsim.errors import printable

if TYPE_CHECKING:
    from svsim.calibration.calibrate import CalibrationReport
    from svsim.progress import OnProgress


def model_options(function: Any) -> Any:
    """Device, number type, seed and output of both commands."""
    for made in (
        option("--seed", type=int, default=0, show_default=True, help="Seed of prompts, drafts and coins."),
        option("--dtype", type=click.Choice(["auto", "bfloat16", "float16", "float32"]), default="auto",
               show_default=True, help="Numbers the models compute with."),
        option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True,
               help="The CPU is used only when asked for."),
        option("--out", type=Path, required=True, metavar="FILE", help="The Parquet file to write."),
    ):  # fmt: skip
        function = made(function)
    return function


@command(
    """
    svsim capture --target T --draft D --companion C --prompts p.jsonl --temperature 0.7 --out trace.parquet
    svsim capture --target T --draft D --companion C --prompts p.txt --greedy --out trace.parquet --resume
    """
)
@option(
    "--target",
    required=True,
    metavar="MODEL",
    help="A causal language model: folder, hub id, .gguf file, or a package that holds one.",
)
@option("--draft", required=True, metavar="MODEL", help="The drafter; same tokenizer as the target.")
@option(
    "--companion", metavar="MODEL", help="The companion; same tokenizer. Without one its signals are absent."
)
@option("--prompts", type=Path, required=True, metavar="FILE", help='JSON Lines ({"prompt": ...}) or text.')
@option("--dataset", metavar="NAME", help="What the prompts are, for the trace's provenance.")
@option("--greedy", is_flag=True, help="Target and draft take their most likely token.")
@option("--temperature", type=float, default=1.0, show_default=True, help="Sampling temperature.")
@option("--top-k", type=int, default=0, show_default=True, help="Keep the k most likely tokens; 0: all.")
@option("--top-p", type=float, default=1.0, show_default=True, help="Keep this much probability; 1: all.")
@option("--deterministic-draft", is_flag=True, help="The draft proposes its most likely token.")
@option("--k", "num_speculative_tokens", type=int, default=8, show_default=True, help="Draft tokens.")
@option("--output-tokens", "num_output_tokens", type=int, default=128, show_default=True,
        help="Output positions of a request.")  # fmt: skip
@option("--batch", "batch_size", type=int, default=64, show_default=True, help="Requests run together.")
@option("--max-requests", type=int, metavar="N", help="Use the first N prompts only.")
@option("--ignore-eos", is_flag=True, help="Go on after the end-of-sequence token.")
@option("--long-prompts", type=click.Choice(["raise", "skip"]), default="raise", show_default=True,
        help="Prompts that do not fit the models.")  # fmt: skip
@option(
    "--trust-pickle-weights", is_flag=True, help="Also load weights that are not safetensors (can run code)."
)
@option("--step-times", type=Path, metavar="FILE", help="A table of svsim calibrate to embed.")
@option("--leave-out", multiple=True, type=click.Choice(["diagnostics", "histogram"]),
        help="Column groups not to write; repeatable.")  # fmt: skip
@option("--resume", is_flag=True, help="Go on where an interrupted capture stopped: the same bytes.")
@model_options
@common
def capture(json_out: str | None, **options: Any) -> None:
    """Record a dense coherent trace from a real target, its draft and, if there is one, a companion.

    At every output position: a chain of K draft tokens, what the draft and the companion say of them,
    and what the target accepts. An interrupted capture keeps its finished batches; --resume goes on.
    """
    from svsim.trace_capture.capture import capture as run
    from svsim.trace_capture.settings import CaptureSettings, SamplingSettings

    sampling = SamplingSettings(
        **{
            name: options.pop(name)
            for name in ("greedy", "temperature", "top_k", "top_p", "deterministic_draft")
        }
    )
    with live_progress() as on_progress:
        report = run(CaptureSettings(sampling=sampling, command=this_command(), **options), on_progress)
    if json_out:
        write_json(asdict(report), json_out)
    if json_out != "-":
        click.echo(
            f"{printable(report.path)}: {report.num_requests:,} requests, {report.num_positions:,} positions "
            f"in {report.elapsed_s:.0f} s, mean acceptance length {report.mean_acceptance_length:.2f}"
        )
        for count, what in (
            (report.num_dropped_not_a_number, "requests dropped: a model gave NaN"),
            (report.num_skipped_too_long, "prompts skipped: longer than the models take"),
        ):
            if count:
                click.echo(f"note: {count:,} {what}")


@command(
    """
    svsim calibrate --target Llama-3.1-8B --draft Llama-3.2-1B --out h200.parquet
    svsim calibrate --target qwen3-30b-a3b --held-out 32 --out h200_moe.parquet
    svsim calibrate --target config.json --device cpu --sequences 1,4 --contexts 128 --out cpu.parquet
    """
)
@option("--target", metavar="MODEL", help="A preset of svsim models, or a Hugging Face config.json.")
@option("--draft", metavar="MODEL", help="The same for the drafter.")
@option("--companion", metavar="MODEL", help="The same for the companion.")
@option("--k", "num_speculative_tokens", type=int, default=8, show_default=True, help="Draft tokens.")
@option("--sequences", default="1,2,4,8,16,32,64", show_default=True, metavar="1,2,4", help="Batch sizes.")
@option("--contexts", default="128,1024,4096", show_default=True, metavar="128,1024",
        help="KV tokens per sequence.")  # fmt: skip
@option("--layers", "num_layers", type=int, metavar="N", help="Time N layers of the target and scale up.")
@option("--check-layers", "checked_layers", type=int, metavar="N",
        help="Also report how far scaling up N layers misses the whole model.")  # fmt: skip
@option("--tp", "tensor_parallel", type=int, default=1, show_default=True,
        help="Time one shard of the target (without the all-reduce).")  # fmt: skip
@option("--overlap", "overlap_batches", default="", metavar="1,4,16",
        help="Also time draft and companion beside verification on two streams of the GPU, at these batch "
        "sizes (all three models).")  # fmt: skip
@option("--repeats", "num_repeats", type=int, default=10, show_default=True, help="Timings of a shape.")
@option("--held-out", "num_held_out", type=int, default=0, show_default=True,
        help="Random shapes to judge the table by.")  # fmt: skip
@option("--seconds-per-model", type=float, default=55.0, show_default=True, help="Time budget.")
@model_options
@common
def calibrate(
    json_out: str | None, sequences: str, contexts: str, overlap_batches: str, **options: Any
) -> None:
    """Measure step times of models on the GPU (or, when asked, the CPU) at hand.

    Weights are random: only shapes matter for time. Mixtures of experts route their tokens.
    Writes a step-time table for --latency FILE.
    """
    from svsim.calibration.calibrate import calibrate as run
    from svsim.calibration.settings import CalibrationSettings

    settings = CalibrationSettings(
        num_sequences=tuple(integers("--sequences", sequences)),
        contexts=tuple(integers("--contexts", contexts)),
        overlap_batches=tuple(integers("--overlap", overlap_batches)) if overlap_batches else (),
        command=this_command(),
        **options,
    )
    with live_progress() as on_progress:
        report = run(settings, on_progress)
    if json_out:
        write_json(asdict(report), json_out)
    if json_out != "-":
        click.echo(
            f"{printable(report.path)}: {report.num_rows:,} step times of {printable(report.hardware)}"
        )
        say_calibration(report)


def say_calibration(report: "CalibrationReport") -> None:
    """What was left out, how well the table predicts, what overlap costs."""
    for role, one in report.roles.items():
        for count, why in (
            (one.num_skipped_for_time, "no time left; --seconds-per-model gives more"),
            (one.num_skipped_for_memory, "too large for the memory"),
        ):
            if count:
                click.echo(f"note: {role}: {count:,} shapes not timed: {why}")
        if one.num_layers_timed != one.num_layers:
            click.echo(f"note: {role}: {one.num_layers_timed} of {one.num_layers} layers timed and scaled up")
        if one.held_out is not None:
            slope = one.held_out.slope_error
            click.echo(
                f"{role}: error on {one.held_out.num_shapes} shapes that are not in the table: median "
                f"{one.held_out.median_error:.1%}, p95 {one.held_out.p95_error:.1%}"
                + ("" if slope is None else f", slope per token {slope:+.1%}")
            )
    for row in report.overlap:
        click.echo(
            f"overlap, {row.num_sequences} sequences: verification takes "
            f"{row.verify_beside_s / row.verify_alone_s:.2f} times as long, draft and companion "
            f"{row.speculate_beside_s / row.speculate_alone_s:.2f} times"
        )


@contextmanager
def live_progress() -> "Iterator[OnProgress]":
    """Progress and the time left on stderr: a bar where a person watches, else a line now and then."""
    if not sys.stderr.isatty():
        from svsim.progress import ProgressLines

        yield ProgressLines(lambda line: click.echo(line, err=True))
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda p: bar.update(task, description=p.what, completed=p.done, total=p.total)
