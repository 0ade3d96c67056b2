"""What work a step is: the passes of drafter, companion and target. Never how long they take.

A drafter answers with one ``DraftWork``. Step programs, analytic grids, prefills, batches of copies and
live plans are all laid out from it, so a new drafter is one object.

n sequences, K draft tokens, mean context c; *owed* are emitted tokens that a drafter must read first::

    schedule     passes of a step
    NONE         none (target-only decoding, or tokens found on the host)
    SEQUENTIAL   the first of n + owed new tokens, then K - 1 of n, each at one more token of context
    BLOCK        one of n (K + tokens_beside) new tokens
    TREE         the first of n + owed new tokens, then one of n w_j for each level's w_j nodes with children;
                 K nodes are verified, and no more of them accepted than there are levels
"""

from dataclasses import dataclass, replace
from enum import IntEnum

from svsim.closed_forms import parallel_attention_pass
from svsim.latency.geometry import ModelGeometry
from svsim.latency.host import Speculation
from svsim.latency.shape import Role


class Schedule(IntEnum):
    """How the passes of a draft follow one another."""

    NONE = 0
    SEQUENTIAL = 1
    BLOCK = 2
    TURNS = 3  # no draft: one pass over the sequences where the draft model is at work
    TREE = 4


class Reading(IntEnum):
    """Which emitted tokens the first pass of a sequential draft takes per sequence."""

    UNSEEN = 0  # those it did not draft itself: the last, and one more where all K were accepted
    ALL = 1  # every token since its last draft: heads read them again with the target's features
    LAST = 2  # the last only: early layers of the target share its cache


@dataclass(frozen=True, slots=True)
class FuzzyLayers:
    """Attention layers of a draft model that run side by side on as many GPUs, fed with one hidden state.

    attention_share: of the seconds of a pass (None: by the draft model's shape). Their keys and values are
    thrown away after verification: one exact pass a step computes those of the emitted tokens anew, and of
    one before them (EasySpec, arXiv 2502.02493).
    """

    num_together: int
    attention_share: float | None = None

    @property
    def factor(self) -> float:
        """On the seconds of a fuzzy pass."""
        return parallel_attention_pass(self.attention_share or 0.0, self.num_together)


@dataclass(frozen=True, slots=True)
class Verification:
    """New tokens of a verification: of each sequence one, ``copies`` of every draft token, and ``beside``."""

    copies: int = 1
    beside: int = 0


ONCE = Verification()


@dataclass(frozen=True, slots=True)
class DraftWork:
    """Passes of a drafter in one step.

    role:           whose weights run: the draft's own, or (a share of) the target's.
    share:          seconds of a pass, as a share of the role's whole pass of that shape.
    layer_share:    share of the role's layers that run before logits; verification runs the others.
    tokens_beside:  of a block: new tokens per sequence beside the drafted ones.
    of_one_sequence: a block is priced at the tokens of a single sequence.
    geometry:       shape of a head, priced in the place of the draft model; None: the draft model's own.
    is_head:        the passes are of a head on the target, not of a draft model.
    fallback_share: of a target's pass, where a source of step times cannot price the geometry.
    is_beside_model: draft passes of such a source are another drafter's.
    on_host:        tokens are proposed on the host, without a pass.
    adapter_share:  layers that a draft pass runs behind the exit, as a share of the role's; never skipped.
    head_share:     of the rows of logits that a draft pass computes (a trimmed vocabulary).
    kv_budget:      tokens of context per sequence that a pass reads at most; None: all.
    rereads_context: a pass has no cache: it computes the context anew.
    is_sized_before: a block's length is decided before it is drafted, and paid as such.
    repeats:        times that every pass runs.
    beside_s:       seconds besides every pass (exchange, search).
    fuzzy:          attention layers that run side by side.
    exit_shares:    layer shares of exits that a step chooses among; of one drafter alone: none.
    widths:         of a tree: nodes per sequence that its passes behind the first run over.
    scan_share:     of a tree on a target with a state: layers that run over the emitted tokens once more.
    needs_target:   shares stand in for those of a target whose shape is not known.
    """

    schedule: Schedule
    role: Role = Role.DRAFT
    reading: Reading = Reading.UNSEEN
    share: float = 1.0
    layer_share: float = 1.0
    tokens_beside: int = 0
    of_one_sequence: bool = False
    geometry: ModelGeometry | None = None
    is_head: bool = False
    fallback_share: float = 1.0
    is_beside_model: bool = False
    on_host: bool = False
    adapter_share: float = 0.0
    head_share: float = 1.0
    kv_budget: int | None = None
    rereads_context: bool = False
    is_sized_before: bool = False
    repeats: int = 1
    beside_s: float = 0.0
    fuzzy: FuzzyLayers | None = None
    exit_shares: tuple[float, ...] = ()
    widths: tuple[int, ...] = ()
    scan_share: float = 0.0
    needs_target: str = ""

    @property
    def has_passes(self) -> bool:
        """Whether anything runs on the GPU."""
        return self.schedule is not Schedule.NONE

    @property
    def is_model(self) -> bool:
        """Whether a draft model of its own runs, not a head or a part of the target."""
        return self.has_passes and self.role is Role.DRAFT and not self.is_head

    @property
    def has_own_prefill(self) -> bool:
        """Whether prompts run through the drafter, too: not with the target's own cache, nor without one."""
        return self.has_passes and self.reading is not Reading.LAST and not self.rereads_context

    @property
    def is_paid_whole(self) -> bool:
        """Whether a block is paid for K tokens also where its signals stop the draft: it comes at once."""
        return self.schedule is Schedule.BLOCK and self.tokens_beside == 0 and not self.is_sized_before

    @property
    def verified_layer_share(self) -> float:
        """Share of the target's layers that a verification still has to run."""
        return 1.0 - self.layer_share if self.exits_early else 1.0

    @property
    def exits_early(self) -> bool:
        """Whether the drafter is the target's own first layers."""
        return self.has_passes and self.role is Role.TARGET and self.layer_share < 1.0

    def most_owed(self, num_drafted: int, stops: bool) -> int:
        """Most emitted tokens per sequence beyond the last that the first pass is laid out for."""
        if self.reading is Reading.LAST:
            return 0
        if self.schedule is Schedule.TREE:
            num_drafted = min(num_drafted, len(self.widths) + 1)
        most = num_drafted if self.reading is Reading.ALL else 1
        # a drafter that skipped more steps is priced along the mean slope
        return max(most, MAX_OWED_TOKENS - 1) if stops else most

    def num_passes(self, num_drafted: int) -> int:
        """Passes one after another of a draft of so many tokens."""
        if num_drafted == 0 or not self.has_passes:
            return 0
        if self.schedule is Schedule.TREE:
            return len(self.widths) + 1
        return num_drafted if self.schedule is Schedule.SEQUENTIAL else 1

    def in_one_block(self, of_one_sequence: bool) -> "DraftWork":
        """The same tokens in one pass, with one more per sequence."""
        return DraftWork(
            Schedule.BLOCK, tokens_beside=1, of_one_sequence=of_one_sequence, is_head=self.is_head
        )

    def by_share(self, share: float) -> "DraftWork":
        """The same passes, priced as a share of the target's."""
        return replace(self, role=Role.TARGET, share=share, geometry=None)


MAX_OWED_TOKENS = 8
NO_DRAFT = DraftWork(Schedule.NONE)


@dataclass(frozen=True, slots=True)
class StepWork:
    """What the steps of a method run: a draft of up to K tokens, a companion over them, a verification.

    is_parallel: the draft runs beside the verification, on devices of its own (``ParallelPipeline``).
    """

    num_speculative_tokens: int
    draft: DraftWork = NO_DRAFT
    runs_companion: bool = False
    verification: Verification = ONCE
    is_parallel: bool = False

    @property
    def longest_verification(self) -> int:
        """Most new tokens per sequence that a target's pass reads."""
        return self.num_speculative_tokens + (not self.is_parallel)

    @property
    def roles(self) -> frozenset[Role]:
        """The models whose passes are priced."""
        drafting = {self.draft.role} if self.draft.has_passes else set()
        return frozenset({Role.TARGET, *drafting, *([Role.COMPANION] if self.runs_companion else [])})

    @property
    def speculation(self) -> Speculation:
        """The same in the words of host time."""
        draft, k = self.draft, self.num_speculative_tokens
        is_block = draft.schedule is Schedule.BLOCK
        return Speculation(
            num_speculative_tokens=k,
            num_draft_passes=draft.num_passes(k),
            num_tokens_per_draft_pass=k + draft.tokens_beside if is_block else int(draft.has_passes),
            runs_draft_model=draft.is_model,
            drafts_on_host=draft.on_host,
            runs_companion=self.runs_companion,
        )
