"""svsim advise: the user's own numbers in, a decision and a ready configuration out."""

from typing import Any

import click

from svsim.cli.app import F, command, common, option
from svsim.cli.options import engine_option, model_options, placement_options, with_options
from svsim.cli.output import console, integers, progress_bar, this_command, write_json, write_text
from svsim.errors import InputError


def _acceptance_options(function: F) -> F:
    """What is accepted, unless a trace says it."""
    options = [
        option("--import", "import_format", metavar="FORMAT",
                help="The files are recordings in this format of svsim import, as vllm-metrics."),
        option("--accept-by-position", multiple=True, metavar="[DRAFTER=]R1/R2/...",
                help="Instead of files: the share of steps whose first 1, 2, ... draft tokens are accepted; "
                "repeat with drafters to compare them."),
        option("--acceptance-length", type=float, metavar="LENGTH",
                help="Instead: mean tokens per step, bonus included; with --k."),
        option("--k", type=int, metavar="K",
                help="Draft tokens per step, of a mean or of a recording that lacks it."),
        option("--shape", metavar="constant|decay:RATIO|even|front",
                help="How a mean is spread over positions.  [default: constant]"),
        option("--prompt-tokens", metavar="MEAN[:VARIATION]",
                help="Prompt lengths.  [default: from the file, else 512]"),
        option("--output-tokens", metavar="MEAN[:VARIATION]",
                help="Output lengths.  [default: from the file, else 256]"),
    ]  # fmt: skip
    return with_options(function, options)


def _server_options(function: F) -> F:
    """What serves."""
    options = [
        option("--concurrency", metavar="1,8,64", help="Requests at once.  [default: a grid from 1 to 256]"),
        option("--hardware", multiple=True, metavar="NAME[:key=value,...]",
                help="As in svsim replay; repeatable.  [default: the first of a trace's step times]"),
        option("--latency", metavar="trace|database|roofline|FILE",
                help="Where step times come from.  [default: database, or a trace's own]"),
        option("--method", "methods", multiple=True, metavar="NAME[:key=value,...]",
                help="Instead of the search: compare these with td; repeatable."),
        option("--prefill", metavar="include|exclude",
                help="Count prefill passes.  [default: include where the numbers are a server's]"),
        option("--out-of-range", metavar="raise|clip|extrapolate",
                help="Passes outside the calibrated step times.  [default: raise]"),
        option("--gpu-memory-utilization", type=float, metavar="SHARE",
                help="Share of each GPU's memory that the server uses.  [default: 0.9]"),
        option("--prices", metavar="FILE", help="Your prices of a GPU-hour (JSON).  [default: examples]"),
        option("--seed", type=int, default=0, show_default=True, help="Seed of requests and intervals."),
        option("--jobs", type=int, metavar="N", help="Worker threads; results do not depend on it."),
        option("--emit", nargs=2, multiple=True, metavar="vllm|sglang|trtllm|llamacpp FILE",
                help="Write that engine's configuration; a .json file gets its bare settings."),
        option("--report", "report_out", metavar="FILE",
                help="Write the page: the advice, then the rows as svsim replay."),
    ]  # fmt: skip
    return with_options(function, options)


@command(
    """
    svsim advise a.prom b.prom --import vllm-metrics --target qwen3-8b --drafter eagle3 --hardware h100_sxm
    svsim advise --accept-by-position .7/.5 --target qwen3-32b --drafter eagle3 --hardware h200_sxm:tp=4
    svsim advise mine.parquet --concurrency 32 --hardware a100_sxm --engine vllm-0.24 --json advice.json
    svsim advise --accept-by-position eagle3=.7/.5 --accept-by-position ngram=.5/.3 --target qwen3-32b \
--hardware h100_sxm:quant=fp8 --emit vllm serve.sh
    """
)
@click.argument("files", nargs=-1, metavar="[TRACE|FILE...]")
@_acceptance_options
@_server_options
@engine_option
@model_options
@placement_options
@common
def advise(files: tuple[str, ...], json_out: str | None, report_out: str | None, concurrency: str | None,
           accept_by_position: tuple[str, ...], emit: tuple[tuple[str, str], ...],
           **options: Any) -> None:  # fmt: skip
    """Should this server speculate, with what, and how far is that sure?

    Takes a trace, an engine's counters (--import), or rates by position; searches lengths and batch sizes;
    says for each batch size speculate, do not speculate, or measure, with the command that settles it.
    """
    from svsim import api
    from svsim.advice.asking import named_rates
    from svsim.advice.configurations import ENGINES
    from svsim.advice.view import print_advice
    from svsim.options import word

    for engine, _ in emit:
        word("emit", engine, tuple(ENGINES))  # refused before the work
    if emit and len(options["hardware"]) > 1:
        raise InputError("`emit` is of one hardware, but several are asked about; name one with `hardware`")
    with progress_bar("replaying") as progress:
        found = api.advise(
            files or None,
            accept_by_position=named_rates(accept_by_position),
            concurrency=integers("--concurrency", concurrency) if concurrency is not None else (),
            progress=progress,
            **options,
        )
    made = [(path, found.configuration(engine).content(path)) for engine, path in emit]
    for path, text in made:
        write_text(text, path)
    if json_out:
        write_json(found.to_dict(), json_out)
    if report_out:
        found.report(report_out, command=this_command())
    if json_out != "-" and not any(path == "-" for path, _ in made):
        print_advice(found, console(), [path for path, _ in made])
