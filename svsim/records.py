"""What happened: the plain results that engines return. They are never printed or written here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from svsim.spelling import deployment_name, method_label

ReplayKind = Literal["exact", "approximate"]
Estimator = Literal["ratio-of-sums", "mean-of-ratios"]

Sums = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GroupSums:
    """Sums over bootstrap groups (requests, or blocks of them, or batches), float64 [groups] each.

    Steps and seconds are those of the whole batch: a request in one of B slots counts for 1/B of the
    batch's steps and seconds while it is there, so tokens / seconds is the batch's goodput.
    """

    emitted_tokens: Sums
    sequence_steps: Sums
    steps: Sums
    accepted_tokens: Sums
    verified_tokens: Sums
    drafted_tokens: Sums
    overhead_s: Sums
    draft_s: Sums
    companion_s: Sums
    verify_s: Sums
    prefill_s: Sums

    @property
    def seconds(self) -> Sums:
        """All time, prefill included."""
        return self.overhead_s + self.draft_s + self.companion_s + self.verify_s + self.prefill_s


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One method at one batch size on one deployment.

    num_micro_batches: take turns; a sequence has a step once in so many. belief_error: relative standard
    deviation of goodput between the beliefs that other profile requests would have taught (infinite:
    unknown); None where none is learnt, or enough requests taught it. engine: the profile that priced the
    steps (``none``: bare passes); price_error: relative, 1 sigma, of its speedups on panels it was not fitted
    on, None of measured step times. prefills_stall: prefills are counted, and hold up running sequences.
    has_bonus: every step emits a token of the target's own beside the accepted ones.
    """

    method: str
    params: Mapping[str, int | float | str]
    num_speculative_tokens: int
    batch_size: int
    hardware: str
    tensor_parallel: int | None
    latency_source: str
    num_requests: int
    sums: GroupSums
    estimator: Estimator
    replay_kind: ReplayKind
    lossless: bool
    is_bound: bool = False
    num_micro_batches: int = 1
    belief_error: float | None = None
    asked: bool = True
    fits_memory: bool | None = None
    usd_per_hour: float | None = None
    power_w: float | None = None
    hardware_options: str | None = None
    engine: str = "none"
    price_error: float | None = None
    prefills_stall: bool = False
    has_bonus: bool = True

    @property
    def label(self) -> str:
        """The method as the command line spells it: ``sv:k=7``."""
        return method_label(self.method, self.params)

    @property
    def deployment(self) -> str:
        """``h100_sxm:tp=4,draft=replicated``, or the hardware's name alone."""
        return deployment_name(self.hardware, self.tensor_parallel, self.hardware_options)
