"""What drafts trees: another drafter level by level, or heads that guess a depth each."""

from dataclasses import dataclass, replace

from svsim.decoding.drafters import HEAD_SHARE, Drafter
from svsim.decoding.work import DraftWork, Reading, Schedule
from svsim.errors import MethodError
from svsim.latency.geometry import ModelGeometry
from svsim.latency.shape import Role


@dataclass(frozen=True, slots=True)
class TreeDrafter:
    """A drafter of a tree, level by level: its passes behind the first run over ``widths`` nodes.

    The first pass reads every token emitted in the last step, as heads do; what was drafted off the text is
    dropped. scan_share: layers with a state, which run over the emitted tokens once more (STree, arXiv
    2505.14969). MethodError for a base that does not draft pass by pass.
    """

    base: Drafter
    widths: tuple[int, ...] = ()
    scan_share: float = 0.0

    def __post_init__(self) -> None:
        if self.base.work(None).schedule is not Schedule.SEQUENTIAL:
            raise MethodError(
                f"a tree is drafted level by level, and drafter {self.base.name} does not draft pass by "
                "pass; take a draft model or a head with passes of its own"
            )

    @property
    def name(self) -> str:
        """The base's: the same drafter."""
        return self.base.name

    @property
    def summary(self) -> str:
        """The base's."""
        return f"{self.base.summary}; a tree of {len(self.widths) + 1} levels"

    def work(self, target: ModelGeometry | None) -> DraftWork:
        """One of the base's passes per level."""
        return replace(
            self.base.work(target),
            schedule=Schedule.TREE,
            reading=Reading.ALL,
            widths=self.widths,
            scan_share=self.scan_share,
        )


@dataclass(frozen=True, slots=True)
class HeadsDrafter:
    """Heads that each guess one depth, in the pass that verifies (Medusa, arXiv 2401.10774).

    share_of_target: seconds of all heads, as a share of a target's pass over a token per sequence; None: by
    their weights, a residual layer and rows of logits each.
    """

    num_heads: int
    share_of_target: float | None = None

    name = "medusa"
    summary = "heads that guess a depth each: a share of a target's pass for all of them"

    def work(self, target: ModelGeometry | None) -> DraftWork:
        """One pass of that share; nothing is read again."""
        share, needs = self.share_of_target, ""
        if share is None and target is not None:
            weights = target.hidden_size * (target.hidden_size + target.vocabulary_size)
            share = self.num_heads * weights / target.num_parameters
        elif share is None:
            needs = "what its heads cost follows from"
        return DraftWork(
            Schedule.TREE,
            Role.TARGET,
            Reading.LAST,
            share=HEAD_SHARE if share is None else share,
            needs_target=needs and f"{needs} their weights",
        )
