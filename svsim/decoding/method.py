"""A decoding method: how much is drafted, what is believed, what is verified. Never how long it takes.

Words
-----
td              target-only decoding: nothing is drafted (the baseline).
sd(k)           speculative decoding with a fixed length: drafts k, verifies k (arXiv 2211.17192).
sv(k)           Speculative Verification: drafts k, a companion scores them, a rule selects how many of
                each chain to verify (arXiv 2509.24328).
sv-lossless(k)  the same, but a token's own score and admission do not look at the token.
rivals          other published rules on the same parts: see ``rivals``.
bound           uses what only the target knows; not a policy, and never called one.

Losslessness: does the emitted text keep the target's law? ``lossless-greedy-only`` names a rule that
decides about a token by looking at that token and redraws it when declined: harmless where the target is
greedy or the prefix decides the draft. Proof: docs/losslessness.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.beliefs import AcceptanceBelief, Signal
from svsim.decoding.drafters import MODEL, Drafter, HeadDrafter
from svsim.decoding.pipelines import SERIAL, Pipeline
from svsim.decoding.selection_rules import best_goodput
from svsim.errors import MethodError
from svsim.spelling import method_label
from svsim.trace.token_trace import TraceMetadata


class Losslessness(StrEnum):
    """Whether a method keeps the target's law, whatever the models."""

    LOSSLESS = "lossless"
    GREEDY_ONLY = "lossless-greedy-only"
    LOSSY = "lossy"


@dataclass(frozen=True, slots=True)
class VerifyAll:
    """Verify every drafted token."""


@dataclass(frozen=True, slots=True)
class SelectByRule:
    """Ask a compiled rule (``selection_rules.RULE``) every step.

    before_draft: the rule decides how long to draft, and all of it is verified. knows_target: a bound,
    whose survival is the target's own acceptance probability; otherwise it comes from the belief.
    remembers_drafts: it still knows drafts that it dropped less than K steps ago.
    """

    rule: Any = best_goodput
    options: tuple[float, ...] = (0.0, 0.0)
    before_draft: bool = False
    knows_target: bool = False
    remembers_drafts: bool = False


@dataclass(frozen=True, slots=True)
class PlanBySignals:
    """A length per output position, read off the signals there; no batch, no prices, no memory.

    plan(signals [T, K] each) -> uint8 [T]. stops_draft: the draft ends there, and
    all of it is verified; otherwise K tokens are drafted. tosses_coins: plan(signals, first_row), with
    coins that belong to the rows of the replayed part.
    """

    signals: tuple[str, ...]
    plan: Callable[..., NDArray[np.uint8]]
    stops_draft: bool
    tosses_coins: bool = False

    def lengths(self, signals: tuple[Signal, ...], first_row: int = 0) -> NDArray[np.uint8]:
        """Verification lengths of the rows ``first_row`` on, uint8 [T]."""
        return self.plan(signals, first_row) if self.tosses_coins else self.plan(signals)


@dataclass(frozen=True, slots=True)
class OraclePlan:
    """A bound: verify exactly what will be accepted; ``drafts_exactly`` also drafts only that."""

    drafts_exactly: bool = False

    def lengths(self, accepted: NDArray[np.uint8], num_speculative_tokens: int) -> NDArray[np.uint8]:
        """Verification length per position from the target's own answer, uint8 [T]."""
        return np.minimum(accepted, num_speculative_tokens).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class DecodingMethod:
    """One method with its parameters; ``params`` holds what the user may vary, as shown in results.

    Raises MethodError for a head that drafts other than fixed lengths.
    """

    name: str
    num_speculative_tokens: int
    selection: VerifyAll | SelectByRule | PlanBySignals | OraclePlan = VerifyAll()
    belief: AcceptanceBelief | None = None
    drafter: Drafter = MODEL
    pipeline: Pipeline = SERIAL
    uses_companion: bool = False
    lossless: Losslessness = Losslessness.LOSSLESS
    why_lossless: str = ""
    params: Mapping[str, int | float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.drafter, HeadDrafter) and not isinstance(self.selection, VerifyAll):
            raise MethodError(
                f"{self.label}: a head that drafts is priced for fixed lengths only; give it VerifyAll, or "
                "use ModelDrafter"
            )

    @property
    def label(self) -> str:
        """The method as the command line spells it: ``sv:k=7``."""
        return method_label(self.name, self.params)

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the observable columns it reads."""
        if isinstance(self.selection, PlanBySignals):
            return self.selection.signals
        return self.belief.signals if self.belief is not None else ()

    @property
    def is_bound(self) -> bool:
        """Whether it uses the target's answer."""
        selection = self.selection
        return isinstance(selection, OraclePlan) or (
            isinstance(selection, SelectByRule) and selection.knows_target
        )

    def is_lossless_on(self, metadata: TraceMetadata) -> bool:
        """Whether the text is lossless at the sampling settings of a trace.

        A rule that looks at the token learns nothing where the prefix decides the draft; one that sees the
        target's coins does.
        """
        if self.lossless is Losslessness.GREEDY_ONLY:
            sees_coins = isinstance(self.selection, OraclePlan)
            return metadata.is_greedy or (metadata.draft_is_deterministic and not sees_coins)
        return self.lossless is Losslessness.LOSSLESS

    def is_exact_on(self, metadata: TraceMetadata) -> bool:
        """Whether replaying a trace of these chains does exactly what a server would, coins as recorded.

        Chains that a head drafts depend on where the step began; a rule that remembers drafts which a
        recorded chain may still carry on knows more there than on a server.
        """
        remembers = isinstance(self.selection, SelectByRule) and self.selection.remembers_drafts
        stateless = self.drafter == MODEL and not remembers
        return metadata.chains == "coherent" and self.is_lossless_on(metadata) and stateless

    @property
    def stops_draft(self) -> bool:
        """Whether the draft may end before K tokens; then all that is drafted is verified."""
        match self.selection:
            case OraclePlan(drafts_exactly=stops) | PlanBySignals(stops_draft=stops):
                return stops
            case SelectByRule(before_draft=stops):
                return stops
        return False
