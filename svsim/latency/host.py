"""Host time of a step: scheduling, launches and bookkeeping outside the GPU, by what the step speculates.

A latency model that knows more than one constant per step says so with ``host_time``; any other charges
its ``overhead_per_step_s`` to every step of every method.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from svsim.latency.model import LatencyModel


@dataclass(frozen=True, slots=True)
class Speculation:
    """What a method's step runs beside the target's pass; all zero and false: target-only decoding.

    num_speculative_tokens: the most that a sequence drafts (K).
    num_draft_passes: passes one after another, of a full draft: K, 1 for a block, 0 without any.
    num_tokens_per_draft_pass: new tokens per sequence of each pass but the first of a sequential draft.
    runs_draft_model: those passes are of a model of its own; false for heads, early exits, n-grams.
    drafts_on_host: tokens are proposed without a pass (n-gram look-up).
    runs_companion: a companion scores the draft.
    """

    num_speculative_tokens: int = 0
    num_draft_passes: int = 0
    num_tokens_per_draft_pass: int = 0
    runs_draft_model: bool = False
    drafts_on_host: bool = False
    runs_companion: bool = False


@dataclass(frozen=True, slots=True)
class HostTime:
    """Seconds on the host: of every step, of every sequence in it, and of every draft pass that runs."""

    per_step_s: float
    per_sequence_s: float = 0.0
    per_draft_pass_s: float = 0.0


@runtime_checkable
class PricesHost(Protocol):
    """A latency model whose host time depends on what is speculated."""

    def host_time(self, speculation: Speculation) -> HostTime:
        """Host time of the steps of a method that speculates so."""
        ...


def host_time(latency: LatencyModel, speculation: Speculation) -> HostTime:
    """What the latency model says, or its one constant."""
    if isinstance(latency, PricesHost):
        return latency.host_time(speculation)
    return HostTime(float(latency.overhead_per_step_s))
