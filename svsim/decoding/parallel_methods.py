"""Methods whose draft runs beside the verification, on devices of its own."""

from collections.abc import Mapping

from svsim.decoding.method import DecodingMethod
from svsim.decoding.pipelines import ParallelPipeline
from svsim.decoding.preset import Option, Preset, Value, shown
from svsim.errors import MethodError
from svsim.limits import MAX_SPECULATIVE_TOKENS

AUTO = "auto"
PEARL_OPTIONS: Mapping[str, Option] = {
    "gamma": Option(AUTO, pattern=r"auto|[0-9]{1,9}", form="auto or a whole number"),
    "sync_s": Option(0.0, at_least=0.0, at_most=10.0),
}


def parallel(options: Mapping[str, Value]) -> DecodingMethod:
    """PEARL: the draft goes on while the target verifies, each on devices of its own.

    Of a trace's chains only the first token is read: whether it is accepted, at every position.
    """
    gamma = options["gamma"]
    gammas = () if gamma == AUTO else (int(gamma),)
    if gammas and not 1 <= gammas[0] <= MAX_SPECULATIVE_TOKENS:
        raise MethodError(f"pearl: gamma={gamma} is not a whole number from 1 to {MAX_SPECULATIVE_TOKENS}")
    params = shown(PEARL_OPTIONS, options)
    return DecodingMethod(
        "pearl",
        1,
        pipeline=ParallelPipeline(gammas=gammas, sync_s=float(options["sync_s"])),
        why_lossless="each token is tested once, on text that stands, whatever was drafted beside it",
        params={**params, "gamma": gammas[0]} if gammas else params,
        is_about_drafter=True,
    )


PARALLEL_METHODS: Mapping[str, Preset] = {
    "pearl": Preset(
        parallel,
        PEARL_OPTIONS,
        "draft and target at the same time, on devices of their own",
        "PEARL, arXiv 2408.11850, and nano-PEARL",
    ),
}
