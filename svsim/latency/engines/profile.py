"""Engine profiles: what an engine adds to the bare passes of a step, and how sure that is.

A step of n sequences, K draft tokens each, on an engine (host times are what the GPU does not hide)::

    target-only   pass(n) + target_only_host
    speculative   verification(n (K + 1)) + (verify_attention - 1) attention(n)
                  + drafter's passes + draft_pass * passes + speculative_host
    on the host   the same without passes, + retrieval_host (tokens looked up, as n-grams)
    prefill       prefill * pass of the prompt

``attention``: what reading the KV cache costs in a decoding pass. Engines compute the K + 1 queries of a
sequence with kernels made for prompts, or read the cache once per group of queries. A mixture priced by the
roofline reads too many experts, as the tokens of one sequence choose alike: its verification is
pass + mixture_verification * (verification - pass).

``calibration/fit_engines.py`` fits the constants to published measurements; docs/engine_prices.md shows
every measurement beside its prediction.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

# Names of the constants; ``_s`` are seconds, the others factors.
#   cut_vocabulary_pass_s  per pass of a head with its own vocabulary (EAGLE-3): mapping it to the target's
#   async_hidden_s         what asynchronous scheduling hides of every step: comes back where it is off
#   fp8_kv_draft_s         per speculative step with an FP8 KV cache on a GPU without FP8
#   eager_layer_s          floor of a layer's time in a pass that no captured graph covers
SECONDS = (
    "target_only_host_s",
    "speculative_host_s",
    "draft_pass_s",
    "cut_vocabulary_pass_s",
    "retrieval_host_s",
    "async_hidden_s",
    "fp8_kv_draft_s",
    "eager_layer_s",
)
FACTORS = ("verify_attention", "mixture_verification", "prefill")
MEASURES = ("speedup", "target_only_step", "speculative_step")


@dataclass(frozen=True, slots=True)
class Constant:
    """One fitted number, and the spread of its fits with one family of panels left out each time.

    panels: what pins it; none where only the value that all engines share is known.
    """

    value: float
    low: float
    high: float
    panels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProfileErrors:
    """Relative errors of one quantity on cells of families that had no part in the fit that judges them.

    mean, p80, p90: of the absolute errors.
    """

    num_cells: int
    num_panels: int
    mean: float
    p80: float
    p90: float


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """One engine and the versions it stands for.

    versions: first and last version (``0.20``), None: open. variant: what else the name says (``mrv2``).
    constants: by the names of ``SECONDS`` and ``FACTORS``. errors: by the names of ``MEASURES``; none of a
    profile that nobody judged. price_error: relative, 1 sigma, of speedups; None without errors.
    roofline_mixture_error: the same for mixtures whose target the roofline prices.
    largest_batch_size: of the panels that judged it, None: not said; beyond, every doubling of the batch adds
    ``error_per_doubling`` (an assumption) to the error, in squares.
    prefills_apart: prompts run in steps of their own instead of beside the running batch.
    """

    name: str
    engine: str
    summary: str
    versions: tuple[str | None, str | None]
    variant: str
    prefills_apart: bool
    constants: Mapping[str, Constant]
    errors: Mapping[str, ProfileErrors]
    price_error: float | None
    roofline_mixture_error: float | None
    largest_batch_size: int | None = None
    error_per_doubling: float = 0.0

    def error_at(self, batch_size: int, of_roofline_mixture: bool = False) -> float | None:
        """The price error of speedups at a batch size; None without errors."""
        error = self.roofline_mixture_error if of_roofline_mixture else self.price_error
        if error is None or self.largest_batch_size is None:
            return error
        doublings = max(math.log2(batch_size / self.largest_batch_size), 0.0)
        return math.hypot(error, self.error_per_doubling * doublings)

    def value(self, name: str) -> float:
        """The value of one constant."""
        return self.constants[name].value
