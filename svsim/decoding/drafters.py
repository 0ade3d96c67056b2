"""Drafters: what proposes the draft tokens. Each answers what work that is; never how long it takes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from svsim.decoding.work import NO_DRAFT, DraftWork, FuzzyLayers, Reading, Schedule
from svsim.errors import MethodError, printable
from svsim.latency.draft_heads import DraftHead, draft_head
from svsim.latency.geometry import ModelGeometry
from svsim.latency.head_shape import HeadKind
from svsim.latency.shape import Role

# A decoder layer and the output head, of an 8B target, by parameters (of a 70B target 0.03).
HEAD_SHARE = 0.1


class Drafter(Protocol):
    """One object per way of drafting. Equal ones do equal work, and they can be hashed."""

    @property
    def name(self) -> str:
        """As ``--drafter`` spells it."""
        ...

    @property
    def summary(self) -> str:
        """What it is and what it costs, one line."""
        ...

    def work(self, target: ModelGeometry | None) -> DraftWork:
        """Passes of a step; ``target``: its shape, where it is known."""
        ...


@dataclass(frozen=True, slots=True)
class ModelDrafter:
    """An autoregressive draft model: one pass per depth; its first pass reads what it has not seen.

    That is the last emitted token, and one more where the whole chain was accepted.
    """

    name = "model"
    summary = "a draft model: one of its passes per draft token"

    def work(self, target: ModelGeometry | None) -> DraftWork:
        """Sequential passes of the draft model."""
        return DraftWork(Schedule.SEQUENTIAL)


@dataclass(frozen=True, slots=True)
class HeadDrafter:
    """An autoregressive head on the target's hidden states, as EAGLE has it (arXiv 2401.15077), by share.

    One pass per depth; its first pass reads every token emitted in the last step again, with the
    target's features in place of its own. A pass costs ``share_of_target`` of a target pass of the same
    shape: a decoder layer and the output head are about a tenth of an 8B model, 0.03 of a 70B model.
    """

    share_of_target: float = HEAD_SHARE

    name = "eagle"
    summary = "a head: a given share of a target pass per draft token"

    def work(self, target: ModelGeometry | None) -> DraftWork:
        """Sequential passes at a share of the target's."""
        return DraftWork(Schedule.SEQUENTIAL, Role.TARGET, Reading.ALL, share=self.share_of_target)


@dataclass(frozen=True, slots=True)
class ShapedHeadDrafter:
    """A head of a kind, priced by its own shape: of its config, or the usual one for the target.

    Where the hardware is not known, a pass is the draft pass of the latency file, if it has one; else a share
    of the target's: the weights that it reads against the target's, or HEAD_SHARE of an unknown shape.
    is_beside_model: the file's draft pass is another drafter's.
    """

    kind: HeadKind
    head: DraftHead | None = None
    is_beside_model: bool = False

    @property
    def name(self) -> str:
        """The kind."""
        return self.kind.value

    @property
    def summary(self) -> str:
        """What it is and costs."""
        costs = "one pass of a head's layers per draft token"
        if self.kind.is_one_pass:
            costs = "one pass of a head of several layers for all draft tokens"
        return f"{HEAD_WORDS[self.kind]}: {costs}"

    def on(self, target: ModelGeometry | None) -> DraftHead | None:
        """The head itself; None where neither its config nor the target is known."""
        if self.head is not None or target is None:
            return self.head
        return draft_head(self.kind, target)

    def work(self, target: ModelGeometry | None) -> DraftWork:
        """Passes of the head's own layers; sequential ones read every emitted token again."""
        head = self.on(target)
        return DraftWork(
            Schedule.BLOCK if self.kind.is_one_pass else Schedule.SEQUENTIAL,
            reading=Reading.ALL,
            geometry=head.geometry if head is not None else None,
            is_head=True,
            fallback_share=HEAD_SHARE if head is None or target is None else head.share_of(target),
            is_beside_model=self.is_beside_model,
        )


HEAD_WORDS = {
    HeadKind.EAGLE: "EAGLE (arXiv 2401.15077)",
    HeadKind.EAGLE3: "EAGLE-3 (arXiv 2503.01840)",
    HeadKind.MTP: "multi-token prediction module (arXiv 2412.19437)",
    HeadKind.DFLASH: "DFlash block drafter (arXiv 2602.06036)",
    HeadKind.PEAGLE: "P-EAGLE (arXiv 2602.01469)",
}


@dataclass(frozen=True, slots=True)
class NgramDrafter:
    """Draft tokens copied from the context where its last tokens occurred before (prompt look-up).

    No pass and no prefill: all its time is the host's.
    """

    name = "ngram"
    summary = "look-up of earlier text: no pass, host time only"

    def work(self, target: ModelGeometry | None) -> DraftWork:
        """Nothing on the GPU."""
        return DraftWork(Schedule.NONE, on_host=True)


@dataclass(frozen=True, slots=True)
class EarlyExitDrafter:
    """The target's own first layers draft (LayerSkip, arXiv 2404.16710); verification runs the others.

    layer_share: exit layer / layers, between 0 and 1. The logits of a draft pass are the target's. The
    first layers of the last draft token run with its verification.
    """

    layer_share: float

    name = "early-exit"
    summary = "the target's first layers: a share of a target pass per draft token, and less to verify"

    def __post_init__(self) -> None:
        if not 0.0 < self.layer_share < 1.0:
            raise MethodError(
                f"an early exit after {self.layer_share:g} of the layers; expected 0 < share < 1"
            )

    def work(self, target: ModelGeometry | None) -> DraftWork:
        """Sequential passes of a share of the target's layers."""
        return DraftWork(Schedule.SEQUENTIAL, Role.TARGET, Reading.LAST, layer_share=self.layer_share)


@dataclass(frozen=True, slots=True)
class ExitDrafter:
    """The target's first layers, a small adapter and the target's own head (Kangaroo, arXiv 2404.18911).

    exit: layers before the exit; below 1: their share. adapter: one attention without an MLP, run for every
    draft token; the hidden states at the exit are kept, and verification runs the layers behind it.
    """

    exit: float

    name = "exit"
    summary = "the target's first layers and an adapter: a share of a target pass per draft token"

    def work(self, target: ModelGeometry | None) -> DraftWork:
        """Sequential passes of a share of the target's layers, adapter beside them."""
        share, adapter, needs = self.exit, 0.0, ""
        if target is not None:
            share = self.exit / target.num_layers if self.exit >= 1 else self.exit
            adapter = target.attention_weights_per_layer / target.num_layer_parameters
        elif self.exit >= 1:
            share, needs = 0.5, f"exit={self.exit:g} counts its layers"
        if not 0.0 < share < 1.0:
            raise MethodError(f"an exit after {share:g} of the layers; expected fewer than all of them")
        return DraftWork(
            Schedule.SEQUENTIAL,
            Role.TARGET,
            Reading.LAST,
            layer_share=share,
            adapter_share=adapter,
            needs_target=needs,
        )


@dataclass(frozen=True, slots=True)
class BudgetDrafter:
    """A draft with a cache of the last (and first) ``budget`` tokens alone (MagicDec, arXiv 2408.11049).

    is_self: the target itself drafts, and so shares what it emitted; else a draft model of its own.
    """

    budget: int
    is_self: bool = True

    name = "budget"
    summary = "the target, or a draft model, with a cache of a fixed number of tokens"

    def work(self, target: ModelGeometry | None) -> DraftWork:
        """Sequential passes that read ``budget`` tokens of context at most."""
        if self.is_self:
            return DraftWork(Schedule.SEQUENTIAL, Role.TARGET, Reading.LAST, kv_budget=self.budget)
        return DraftWork(Schedule.SEQUENTIAL, kv_budget=self.budget)


@dataclass(frozen=True, slots=True)
class FuzzyDrafter:
    """A draft model whose attention layers run n at a time on as many GPUs (EasySpec, arXiv 2502.02493).

    attention_share: of a pass; None: by the draft model's shape. exchange_s: seconds of swapping the
    outputs, per pass.
    """

    num_together: int
    attention_share: float | None = None
    exchange_s: float = 0.0

    name = "fuzzy"
    summary = "a draft model with attention layers side by side, and one exact pass a step"

    def work(self, target: ModelGeometry | None) -> DraftWork:
        """Fuzzy passes, the first behind an exact one over the emitted tokens and one more."""
        fuzzy = FuzzyLayers(self.num_together, self.attention_share)
        return DraftWork(Schedule.SEQUENTIAL, reading=Reading.ALL, beside_s=self.exchange_s, fuzzy=fuzzy)


@dataclass(frozen=True, slots=True)
class BlockDrafter:
    """A model that fills a block of tokens in ``passes`` passes (diffusion: DiffuSpec, arXiv 2510.02358).

    has_cache: it keeps keys and values of the context; else every pass computes them anew. search_s: of
    finding a path through the block, on the host.
    """

    passes: int = 1
    has_cache: bool = False
    search_s: float = 0.0

    name = "diffusion"
    summary = "a diffusion model: passes over a whole block, and over the context without a cache"

    def work(self, target: ModelGeometry | None) -> DraftWork:
        """A block of as many tokens as were asked for."""
        return DraftWork(
            Schedule.BLOCK,
            rereads_context=not self.has_cache,
            is_sized_before=True,
            repeats=self.passes,
            beside_s=self.search_s,
        )


@dataclass(frozen=True, slots=True)
class ExitsDrafter:
    """Any of several exits of the target, chosen anew every step (DEL, arXiv 2504.05598).

    shares: of its layers before each exit, rising; none: as the trace will say.
    """

    shares: tuple[float, ...] = ()

    name = "exits"
    summary = "any of several exits of the target: a share of its pass per draft token, and less to verify"

    def work(self, target: ModelGeometry | None) -> DraftWork:
        """Passes at the first exit; those at the others differ in their share."""
        shares = self.shares or (0.5,)
        return DraftWork(
            Schedule.SEQUENTIAL, Role.TARGET, Reading.LAST, layer_share=shares[0], exit_shares=shares
        )


@dataclass(frozen=True, slots=True)
class TrimmedDrafter:
    """A drafter whose head has ``rows`` of the vocabulary's rows (VocabTrim, arXiv 2506.22694)."""

    base: Drafter
    rows: int

    @property
    def name(self) -> str:
        """The base's: the same drafter."""
        return self.base.name

    @property
    def summary(self) -> str:
        """The base's."""
        return f"{self.base.summary}; {self.rows} rows of its head"

    def work(self, target: ModelGeometry | None) -> DraftWork:
        """The base's passes with a share of the rows of logits; a head's vocabulary may be its own."""
        work = self.base.work(target)
        shape = work.geometry or target
        if shape is None:
            return replace(work, needs_target=f"head_rows={self.rows} is a part of its vocabulary")
        return replace(work, head_share=min(self.rows / shape.vocabulary_size, 1.0))


@dataclass(frozen=True, slots=True)
class NoDrafter:
    """Nothing drafts: target-only decoding."""

    name = "none"
    summary = "nothing: target-only decoding"

    def work(self, target: ModelGeometry | None) -> DraftWork:
        """None."""
        return NO_DRAFT


MODEL = ModelDrafter()
DRAFTER_NAMES = ("model", *HeadKind, "ngram", "none")


def drafter_named(name: str, head: str | Path | None = None) -> Drafter:
    """The drafter that ``--drafter NAME`` and ``--head CONFIG`` choose.

    head: a head's own ``config.json`` or its folder (of an MTP module also the target's). MethodError for
    an unknown name, or a head that the drafter has no use for; LatencyError for a config that is no head.
    """
    if name in set(HeadKind):
        kind = HeadKind(name)
        return ShapedHeadDrafter(kind, None if head is None else draft_head(kind, None, head))
    plain: dict[str, Drafter] = {"model": MODEL, "ngram": NgramDrafter(), "none": NoDrafter()}
    if name not in plain:
        raise MethodError(
            f"unknown drafter {printable(name, 40)!r}; choose one of {', '.join(DRAFTER_NAMES)}"
        )
    if head is not None:
        raise MethodError(f"drafter {name} has no head; leave `head` out, or choose {', '.join(HeadKind)}")
    return plain[name]
