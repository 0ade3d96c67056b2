"""A decoding method: how much is drafted, what is believed, what is verified. Never how long it takes.

Words
-----
td              target-only decoding: nothing is drafted (the baseline).
sd(k)           speculative decoding with a fixed length: drafts k, verifies k (arXiv 2211.17192).
sv(k)           Speculative Verification: drafts k, a companion scores them, a rule selects how many of
                each chain to verify (arXiv 2509.24328).
sv-lossless(k)  the same, but a token's own score and admission do not look at the token.
bound           uses what only the target knows; not a policy, and never called one.

Losslessness: does the emitted text keep the target's law? ``lossy`` names a rule that decides about
a token by looking at that token and redraws it when declined.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.beliefs import AcceptanceBelief
from svsim.decoding.selection_rules import best_goodput
from svsim.workload.token_trace import TraceMetadata


class Losslessness(StrEnum):
    """Whether a method keeps the target's law, whatever the models."""

    LOSSLESS = "lossless"
    GREEDY_ONLY = "lossless-greedy-only"
    LOSSY = "lossy"

    def holds_on(self, metadata: TraceMetadata) -> bool:
        """Whether the text is lossless at the sampling settings of a trace."""
        return self is Losslessness.LOSSLESS or (self is Losslessness.GREEDY_ONLY and metadata.is_greedy)


@dataclass(frozen=True, slots=True)
class VerifyAll:
    """Verify every drafted token."""


@dataclass(frozen=True, slots=True)
class SelectByRule:
    """Ask a compiled rule (``selection_rules.RULE``) every step; needs a belief."""

    rule: Any = best_goodput
    options: tuple[float, ...] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class OraclePlan:
    """A bound: verify exactly what will be accepted; ``drafts_exactly`` also drafts only that."""

    drafts_exactly: bool = False

    def lengths(self, accepted: NDArray[np.uint8], num_speculative_tokens: int) -> NDArray[np.uint8]:
        """Verification length per position from the target's own answer, uint8 [T]."""
        return np.minimum(accepted, num_speculative_tokens).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class DecodingMethod:
    """One method with its parameters; ``params`` holds what the user may vary, as shown in results."""

    name: str
    num_speculative_tokens: int
    selection: VerifyAll | SelectByRule | OraclePlan = VerifyAll()
    belief: AcceptanceBelief | None = None
    uses_companion: bool = False
    lossless: Losslessness = Losslessness.LOSSLESS
    why_lossless: str = ""
    params: Mapping[str, int | float | str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The method as the command line spells it: ``sv:k=7``."""
        inside = ",".join(f"{k}={v}" for k, v in self.params.items())
        return f"{self.name}:{inside}" if inside else self.name

    @property
    def is_bound(self) -> bool:
        """Whether it uses the target's answer."""
        return isinstance(self.selection, OraclePlan)
