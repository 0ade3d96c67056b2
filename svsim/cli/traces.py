"""Commands that make and describe traces: info, value, synth."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from svsim.cli.app import F, command, common, option
from svsim.cli.options import MODEL_OPTIONS, engine_option, model_options, with_options
from svsim.cli.output import (
    command_without,
    console,
    integers,
    progress_bar,
    write_json,
)
from svsim.cli.words import as_flags
from svsim.errors import InputError

if TYPE_CHECKING:
    from svsim.model_choice import ModelChoice

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


@command(
    """
    svsim info traces/llama70b.parquet
    svsim info gsm8k.parquet --latency linear.json --json -
    """
)
@click.argument("trace")
@option("--profile-split", type=float, default=0.5, show_default=True, metavar="SHARE",
         help="Share of requests that beliefs learn from; they are judged on the others.")  # fmt: skip
@option("--latency", default="trace", show_default=True, metavar="trace|database|roofline|FILE",
         help="Step times for the share of slow steps.")  # fmt: skip
@option("--hardware", multiple=True, metavar="NAME[:tp=4]", help="Hardware of these step times.")
@engine_option
@model_options
@option("--seed", type=int, default=0, show_default=True, help="Seed of split, shuffles and intervals.")
@common
def info(trace: str, json_out: str | None, **options: Any) -> None:
    """What is in TRACE: provenance, acceptance, what its signals tell about it, and whether it is sound."""
    from svsim import api

    with progress_bar("reading") as progress:
        found = api.info(trace, progress=progress, **options)
    if json_out:
        write_json(found.to_dict(), json_out)
    if json_out != "-":
        from svsim.report.information import print_information

        print_information(found, console())


@command(
    """
    svsim value traces/llama70b.parquet
    svsim value T.parquet --k 5 --batch 16,64 --latency roofline --hardware h200_sxm:tp=2 --json -
    """
)
@click.argument("trace")
@option("--k", type=int, help="Draft tokens per step.  [default: 7, or K of the trace]")
@option("--batch", metavar="1,2,4", help="Batch sizes.  [default: 1,8,32,64]")
@option("--hardware", multiple=True, metavar="NAME[:key=value,...]", help="Hardware to price; repeatable.")
@option("--latency", default="trace", show_default=True, metavar="trace|database|roofline|FILE",
        help="Where step times come from.")  # fmt: skip
@engine_option
@model_options
@option("--profile-split", type=float, default=0.5, show_default=True, metavar="SHARE",
        help="Share of requests that beliefs learn from and nobody replays.")  # fmt: skip
@option("--seed", type=int, default=0, show_default=True, help="Seed of split, order and intervals.")
@option("--jobs", type=int, metavar="N", help="Worker threads; results do not depend on it.")
@common
def value(trace: str, batch: str | None, json_out: str | None, **options: Any) -> None:
    """What the signals of TRACE are worth: bits about acceptance, and the goodput that they buy.

    Beliefs from each signal, from the mean alone and from the acceptance probability itself drive the same
    selection; the companion's passes are counted apart.
    """
    from svsim import api

    sizes = integers("--batch", batch) if batch else ()
    with progress_bar("replaying") as progress:
        found = api.value(trace, batch_sizes=sizes, progress=progress, **options)
    if json_out:
        write_json(found.to_dict(), json_out)
    if json_out != "-":
        from svsim.report.signal_value import print_values

        print_values(found, console())


def _synth_options(function: F) -> F:
    """The settings of a synthetic trace."""
    options = [
        option("--settings", "settings_file", metavar="FILE",
                help="JSON object of settings; the options below are put over it."),
        option("--task", "tasks", multiple=True, metavar="NAME:key=value,...",
                help="A kind of request, as chat:acceptance=0.65,share=2,output_tokens=300:0.6; repeatable."),
        option("--acceptance", metavar="A|A1/.../AK",
                help="Mean acceptance at depth 1, or conditional at depths 1 to K.  [default: 0.75]"),
        option("--verified-acceptance", metavar="A", help="Accepted/verified of SD(K), instead."),
        option("--accept-by-position", metavar="R1/R2/...",
                help="Instead: as engines report it, the share of steps whose first 1, 2, ... tokens are "
                "accepted; a trace without signals."),
        option("--acceptance-length", type=float, metavar="LENGTH",
                help="Instead: mean tokens per step, bonus included; with --num-speculative-tokens."),
        option("--length-law", metavar="A,B,X",
                help="Instead: a mean of a + b log10 x tokens per step (Scylla, arXiv 2505.07858), with "
                "--num-speculative-tokens."),
        option("--shape", metavar="constant|decay:RATIO|even|front",
                help="How such a mean is spread over positions.  [default: constant]"),
        option("--proposal-share", type=float, metavar="SHARE",
                help="Of the steps that draft anything, for reported rates; n-gram drafters do not always.  "
                "[default: 1]"),
        option("--prompt-tokens", metavar="MEAN[:VARIATION]", help="Prompt lengths.  [default: 200:0.5]"),
        option("--output-tokens", metavar="MEAN[:VARIATION]", help="Output lengths.  [default: 200:0.5]"),
        *(option(f"--{name.replace('_', '-')}", type=kind,
                  help=f"{text}  [default: {'what follows' if default is None else default}]")
          for name, (kind, default, text) in SYNTH_NUMBERS.items()),
        option("--information-measure", metavar="acceptance|paper",
                help="Bits about acceptance, or I(X; S, A) of arXiv 2509.24328.  [default: acceptance]"),
        option("--also", multiple=True, metavar="KIND[:key=value,...]",
                help="Columns that single methods replay, drawn beside the trace: token_rank, judge:share=, "
                "fused:gain=, exits:layers=2/4/8,of=32,acceptance=.5/.6/.7, blocks:lengths=20/30,"
                "acceptance=.9, entropy:nats=, paths:rank=.4,spread=1,children=16,beam=10,depth=7; "
                "repeatable."),
        option("--greedy/--sampled", default=None, help="How the target decodes.  [default: sampled]"),
    ]  # fmt: skip
    return with_options(function, options)


@command(
    """
    svsim synth --acceptance 0.8 --information-gain-bits 0.2 --out T.parquet
    svsim synth --accept-by-position .77/.45/.24 --prompt-tokens 800 --output-tokens 300 --out T.parquet
    svsim synth --acceptance-length 2.46 --num-speculative-tokens 3 --shape decay:0.9 --out T.parquet
    svsim synth --length-law 1.2,0.35,2.4e8 --num-speculative-tokens 5 --out T.parquet
    svsim synth --task chat:acceptance=0.65,share=2 --task code:acceptance=0.9 --out T.parquet
    svsim synth --acceptance 0.7 --target llama-3.1-8b --drafter eagle3 --out T.parquet
    svsim synth --acceptance 0.8 --greedy --also blocks:lengths=20/25/30,acceptance=.9 --out T.parquet
    svsim synth --settings settings.json --num-requests 2000 --seed 7 --out T.parquet --json -
    """
)
@_synth_options
@model_options
@option("--drafter-parameters", type=float, metavar="N",
        help="What drafts: an EAGLE head of N parameters on --target, priced by that size.")  # fmt: skip
@option("--out", required=True, metavar="FILE", help="The trace to write (.parquet).")
@option("--seed", type=int, default=0, show_default=True, help="Same settings and seed, same bytes.")
@common
def synth(settings_file: str | None, tasks: tuple[str, ...], out: str, seed: int, json_out: str | None,
          **options: Any) -> None:  # fmt: skip
    """Make a synthetic trace with chosen properties, and measure what was made.

    Each property is an observable of the trace; what no trace can have together is refused, naming the
    limit. svsim info describes the result, svsim replay runs it (with --latency).
    """
    from svsim.model_choice import ModelChoice
    from svsim.report.outcomes import print_outcomes
    from svsim.synthetic.making import ReportedAcceptance, make
    from svsim.synthetic.method_columns import with_columns
    from svsim.synthetic.options import read_settings
    from svsim.synthetic.outcome import is_small
    from svsim.trace.file import save_trace

    words = ("accept_by_position", "acceptance_length", "shape", "proposal_share", "length_law")
    reported = ReportedAcceptance(**{name: options.pop(name) for name in words})
    models = ModelChoice(**{name: options.pop(name) for name in MODEL_OPTIONS})
    values, also = read_settings(settings_file) if settings_file else {}, options.pop("also")
    named = _with_sized_drafter(models, options.pop("drafter_parameters"))
    done = make(values, tasks, options, reported, seed, command_without(out, json_out))
    trace, added = with_columns(done.trace, also, seed)
    found = (*done.outcomes, *added)
    trace = replace(trace, metadata=replace(trace.metadata, models={**trace.metadata.models, **named}))
    save_trace(trace, out)
    notes = [as_flags(note, click.get_current_context()) for note in done.notes]
    if json_out:
        about = {"file": Path(out).name, **asdict(trace.metadata)}
        write_json(
            {"trace": about, "outcomes": [outcome.to_dict() for outcome in found], "notes": notes}, json_out
        )
    if json_out != "-":
        size = f"{trace.num_requests:,} requests, {trace.num_positions:,} positions"
        made = f"{out}: {size}, K = {trace.num_speculative_tokens}"
        print_outcomes(made, found, is_small(trace), console(), notes)


def _with_sized_drafter(models: "ModelChoice", num_parameters: float | None) -> dict[str, Any]:
    """The models of a trace's metadata; what drafts is a head of so many parameters, if that is said."""
    named = models.stored({})
    if num_parameters is None:
        return named
    from svsim.latency.geometry import find_model
    from svsim.latency.sized_head import head_config_of_size

    if models.target is None:
        raise InputError(
            "`drafter_parameters` is of a head on the target; give `target`, a preset or a config"
        )
    if any(given is not None for given in (models.draft, models.drafter, models.head)):
        raise InputError("`drafter_parameters` says what drafts; leave `draft`, `drafter` and `head` out")
    config = head_config_of_size(find_model(str(models.target)), num_parameters)
    entry = {"name": f"EAGLE head of {num_parameters:.3g} parameters, by size", "drafter": "eagle"}
    return {**named, "draft": {**entry, "geometry": config}}
