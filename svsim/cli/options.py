"""Options that several commands share, each group one decorator."""

from collections.abc import Callable, Sequence
from typing import Any

from svsim.cli.app import F, option

MODEL_OPTIONS = ("target", "draft", "companion", "drafter", "head")  # as functions of ``svsim`` take them


def with_options(function: F, options: Sequence[Callable[[Any], Any]]) -> F:
    """``function`` with these options, in the order of the help."""
    for made in reversed(options):
        function = made(function)
    return function


def model_options(function: F) -> F:
    """Which models: ``MODEL_OPTIONS``, in the place of those that a trace names."""
    return with_options(
        function,
        [
            option("--target", metavar="MODEL", help="The target: a preset of svsim models, a Hugging Face "
                   "config.json, or its folder.  [default: as the trace says]"),
            option("--draft", metavar="MODEL", help="The same for the draft model."),
            option("--companion", metavar="MODEL", help="The same for the companion."),
            option("--drafter", metavar="model|eagle|eagle3|mtp|dflash|peagle|ngram|none",
                   help="What drafts, unless the method says: a model, a head on the target, a look-up.  "
                   "[default: as the trace says, else a model]"),
            option("--head", metavar="CONFIG", help="A head's own config.json, or its folder.  "
                   "[default: the usual head for the target]"),
        ],
    )  # fmt: skip


def placement_options(function: F) -> F:
    """Which models run on devices of their own."""
    return with_options(
        function,
        [
            option("--draft-hardware", metavar="NAME[:tp=N]|FILE", help="Where the draft model runs, split "
                   "over those GPUs: a name, or a linear .json.  [default: beside the target]"),
            option("--companion-hardware", metavar="NAME[:tp=N]|FILE", help="The same for the companion."),
            option("--link-s", type=float, default=0.0, metavar="S", help="Seconds that the exchange with a "
                   "model on devices of its own adds to a step.  [default: 0]"),
        ],
    )  # fmt: skip


def engine_option(function: F) -> F:
    """Which engine runs the passes."""
    made = option(
        "--engine",
        metavar="NAME",
        help="The engine whose steps are priced: see svsim engines; a version (vllm-0.24), a profile's .json "
        "file, or none (bare passes).  [default: vllm-0.20 with --latency database or roofline, else none]",
    )
    return made(function)
