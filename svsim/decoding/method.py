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

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from svsim.decoding.acceptances import AS_RECORDED, Acceptance
from svsim.decoding.beliefs import AcceptanceBelief
from svsim.decoding.drafters import (
    MODEL,
    Drafter,
    NoDrafter,
    ShapedHeadDrafter,
    TrimmedDrafter,
)
from svsim.decoding.pipelines import SERIAL, ParallelPipeline, Pipeline
from svsim.decoding.selections import (
    VERIFY_ALL,
    OraclePlan,
    PlanBySignals,
    SelectByRule,
    Selection,
    VerifyAll,
)
from svsim.decoding.switching import EntropySwitching
from svsim.decoding.tree_acceptance import TreeAcceptance
from svsim.decoding.tree_drafters import TreeDrafter
from svsim.decoding.work import ONCE, StepWork, Verification
from svsim.errors import MethodError
from svsim.latency.geometry import ModelGeometry
from svsim.spelling import method_label
from svsim.trace.token_trace import TraceMetadata

__all__ = [
    "DecodingMethod",
    "Losslessness",
    "OraclePlan",
    "PlanBySignals",
    "SelectByRule",
    "Selection",
    "VerifyAll",
]


class Losslessness(StrEnum):
    """Whether a method keeps the target's law, whatever the models."""

    LOSSLESS = "lossless"
    GREEDY_ONLY = "lossless-greedy-only"
    LOSSY = "lossy"


@dataclass(frozen=True, slots=True)
class DecodingMethod:
    """One method with its parameters; ``params`` holds what the user may vary, as shown in results.

    acceptance: what is accepted, if not what the trace's drafter was. verification: its new tokens.
    switching: two models take turns, and nothing is drafted. is_about_drafter: its drafter is what makes it.
    Raises MethodError where nothing drafts its draft tokens.
    """

    name: str
    num_speculative_tokens: int
    selection: Selection = VERIFY_ALL
    belief: AcceptanceBelief | None = None
    drafter: Drafter = MODEL
    pipeline: Pipeline = SERIAL
    uses_companion: bool = False
    lossless: Losslessness = Losslessness.LOSSLESS
    why_lossless: str = ""
    params: Mapping[str, int | float | str] = field(default_factory=dict)
    is_about_drafter: bool = False
    acceptance: Acceptance = AS_RECORDED
    verification: Verification = ONCE
    switching: EntropySwitching | None = None

    def __post_init__(self) -> None:
        if self.num_speculative_tokens and isinstance(self.drafter, NoDrafter):
            raise MethodError(
                f"{self.label} drafts {self.num_speculative_tokens} tokens, but the drafter is none; "
                "leave it out, or choose another drafter"
            )

    def with_drafter(self, drafter: Drafter) -> Self:
        """The same method with its tokens drafted so; one that drafts nothing stays as it is.

        A method about a head (``eagle``) takes another head, and keeps its own beside other drafters; a
        trimmed head stays trimmed. MethodError if ``drafter`` is none.
        """
        own = self.drafter.base if isinstance(self.drafter, TrimmedDrafter | TreeDrafter) else self.drafter
        heads = isinstance(own, ShapedHeadDrafter) and isinstance(drafter, ShapedHeadDrafter)
        if not self.num_speculative_tokens or (self.is_about_drafter and not heads):
            return self
        if isinstance(self.drafter, TrimmedDrafter | TreeDrafter):
            drafter = replace(self.drafter, base=drafter)
        return replace(self, drafter=drafter)

    def work(self, target: ModelGeometry | None = None) -> StepWork:
        """The passes of its steps; ``target``: its shape, where it is known."""
        if self.switching is not None:
            return StepWork(0, self.switching.work)
        if not self.num_speculative_tokens:
            return StepWork(0, runs_companion=self.uses_companion)
        draft = self.drafter.work(target)
        if isinstance(self.pipeline, ParallelPipeline):
            return StepWork(self.pipeline.longest, draft, is_parallel=True)
        return StepWork(self.num_speculative_tokens, draft, self.uses_companion, self.verification)

    @property
    def label(self) -> str:
        """The method as the command line spells it: ``sv:k=7``."""
        return method_label(self.name, self.params)

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the observable columns it reads."""
        if self.switching is not None:
            return self.switching.signals
        believed = self.belief.signals if self.belief is not None else ()
        return self.selection.reads or believed

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Columns of the target's half that its lengths, or its turns, are read off."""
        return self.selection.outcomes if self.switching is None else self.switching.outcomes

    @property
    def drafts_own(self) -> bool:
        """Whether what it drafts is recorded in columns of its own, not in the trace's chains."""
        return bool(self.selection.outcomes) or isinstance(self.acceptance, TreeAcceptance)

    @property
    def is_bound(self) -> bool:
        """Whether it uses the target's answer."""
        return self.selection.sees_coins or self.selection.knows_target

    def is_lossless_on(self, metadata: TraceMetadata) -> bool:
        """Whether the text is lossless at the sampling settings of a trace.

        A rule that looks at the token learns nothing where the prefix decides the draft; one that sees the
        target's coins does.
        """
        if self.lossless is Losslessness.GREEDY_ONLY:
            sees_coins = self.selection.sees_coins
            return metadata.is_greedy or (metadata.draft_is_deterministic and not sees_coins)
        return self.lossless is Losslessness.LOSSLESS

    def is_exact_on(self, metadata: TraceMetadata) -> bool:
        """Whether replaying a trace of these chains does exactly what a server would, coins as recorded.

        Chains that a head drafts depend on where the step began; a rule that remembers drafts which a
        recorded chain may still carry on knows more there than on a server.
        """
        if self.selection.is_exact_when_greedy:
            return metadata.is_greedy
        if isinstance(self.acceptance, TreeAcceptance):
            return self.acceptance.is_exact and self.is_lossless_on(metadata)
        stateless = self.drafter == MODEL and not self.selection.remembers_drafts
        stateless = stateless and self.acceptance == AS_RECORDED
        # whether one token after the true text is accepted is all that a parallel pipeline asks of a chain
        depth_one = self.pipeline.is_parallel and metadata.is_greedy and metadata.chains == "independent"
        is_known = metadata.chains == "coherent" or depth_one
        return is_known and self.is_lossless_on(metadata) and stateless

    @property
    def stops_draft(self) -> bool:
        """Whether the draft may end before K tokens; then all that is drafted is verified."""
        return self.selection.stops_draft
