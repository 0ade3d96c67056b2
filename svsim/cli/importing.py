"""svsim import: what engines and benchmarks recorded, as traces."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from svsim.cli.app import F, command, common, option
from svsim.cli.options import MODEL_OPTIONS, model_options, with_options
from svsim.cli.output import command_without, console, write_json
from svsim.cli.words import as_flags

FORMAT_NAMES = (
    "specdecode-bench, vllm-metrics (one scrape, or two: before, after), vllm-log, vllm-requests, "
    "vllm-bench, "
    "sglang-metrics, sglang-log, trtllm, llamacpp, aiperf, golden-al, spec-bench, accept-lengths"
)


def _import_options(function: F) -> F:
    """What a recording does not say."""
    options = [
        option("--k", type=int, metavar="K", help="Draft tokens per step.  [default: from the file]"),
        option("--requests", "num_requests", type=int, metavar="N",
                help="Requests of the trace.  [default: as recorded, else 512]"),
        option("--prompt-tokens", metavar="MEAN[:VARIATION]",
                help="Prompt lengths.  [default: from the file, else 512]"),
        option("--output-tokens", metavar="MEAN[:VARIATION]",
                help="Output lengths.  [default: from the file, else 256]"),
        option("--accept-by-position", metavar="R1/R2/...",
                help="Cumulative share of steps that accept so many draft tokens; for means."),
        option("--shape", metavar="constant|decay:RATIO|even|front",
                help="How a mean is spread over positions.  [default: constant]"),
        option("--proposal-share", type=float, metavar="SHARE",
                help="Of the steps that draft anything; n-gram drafters do not always.  [default: 1]"),
        option("--series", metavar="NAME", help="Which model or mode, where a file holds several."),
        option("--greedy/--sampled", default=None, help="How the target decoded.  [default: unknown]"),
    ]  # fmt: skip
    return with_options(function, options)


@command(
    """
    svsim import vllm-metrics before.prom after.prom --prompt-tokens 800 --output-tokens 300 --out T.parquet
    svsim import vllm-log server.log --out T.parquet
    svsim import sglang-log bench.jsonl --k 3 --shape decay:0.9 --out T.parquet
    svsim import golden-al kimik2.5_eagle3.yaml --series thinking_off --k 4 --out T.parquet
    svsim import specdecode-bench gsm8k.jsonl --drafter eagle --out gsm8k.parquet
    """,
    name="import",
)
@click.argument("format_name", metavar="FORMAT")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@_import_options
@model_options
@option("--seed", type=int, default=0, show_default=True, help="Same files, options and seed, same bytes.")
@option("--out", required=True, metavar="FILE", help="The trace to write (.parquet).")
@common
def import_(format_name: str, files: tuple[str, ...], out: str, json_out: str | None, **options: Any) -> None:
    """Turn what an engine or a benchmark recorded into a trace.

    Replayed with sd at the recorded k, the trace has the recorded acceptance length and rates. What the file
    does not say stays unknown, or is assumed and said so. FORMAT: {formats}.
    """
    from svsim.importing.formats import import_acceptance
    from svsim.report.imported import print_imported
    from svsim.trace.file import save_trace

    made = import_acceptance(
        format_name,
        files,
        _options(options, format_name == "specdecode-bench", command_without(out, json_out)),
    )
    save_trace(made.trace, out)
    ctx = click.get_current_context()
    notes = [as_flags(note, ctx) for note in made.notes]
    if json_out:
        about = {"file": Path(out).name, **asdict(made.trace.metadata)}
        write_json({"trace": about, "acceptance": made.acceptance(), "notes": notes}, json_out)
    if json_out != "-":
        print_imported(out, made.trace, made.acceptance(), notes, console())


assert import_.help is not None
import_.help = import_.help.replace("{formats}", FORMAT_NAMES)


def _options(options: dict[str, Any], is_dense: bool, written_as: str) -> Any:
    """The command line's words as ``ImportOptions``; is_dense: SpecDecode-Bench's form."""
    from svsim.importing.record import ImportOptions
    from svsim.model_choice import ModelChoice
    from svsim.synthetic.options import length_of_text, rates_of_text

    named = {name: options.pop(name) for name in MODEL_OPTIONS}
    if is_dense:  # its drafter is the column that is read
        options["drafter"] = named.pop("drafter")
    models = ModelChoice(**named).stored({})
    for name in ("prompt_tokens", "output_tokens"):
        if options[name] is not None:
            options[name] = length_of_text(name, options[name])
    if options["accept_by_position"] is not None:
        options["accept_by_position"] = rates_of_text(options["accept_by_position"])
    return ImportOptions(**options, models=models, command=written_as)
