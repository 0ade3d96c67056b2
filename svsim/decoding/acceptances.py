"""What a method accepts, where that is not simply what the trace's drafter was accepted.

Words
-----
run        accepted draft tokens of a chain: those before the first that does not pass.
own coin   uniform, of an output position: the draft token at depth d of row t is tested with the coin of row
           t + d - 1. A walk tests every position once, so chains of neighbouring rows agree.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from svsim.random_streams import RandomStreams
from svsim.trace.token_trace import Signal, TargetColumns

Accepted = NDArray[np.uint8]
Passes = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class At:
    """Which rows are resolved, for whom: first row in the replayed part, replicate of the coins, method."""

    method: str
    first_row: int = 0
    replicate: int = 0

    def own_coins(self, name: str, num_rows: int, num_drafted: int) -> NDArray[np.float32]:
        """Own coins of chains, float32 [T, K]."""
        shape = num_rows + num_drafted - 1, 1
        coins = RandomStreams(0).coins(name, self.replicate, shape=shape, first_row=self.first_row)
        return sliding_window_view(coins[:, 0], num_drafted)


class Acceptance(Protocol):
    """From the target's half of a trace to accepted draft tokens per row."""

    def needs(self, present: Collection[str]) -> tuple[str, ...]:
        """Columns of the target's half that it reads, of those that a trace has; one that is not among them
        where it lacks what is needed."""
        ...

    def resolve(self, target: TargetColumns, accepted: Accepted, num_drafted: int, at: At) -> Accepted:
        """Accepted tokens of chains of ``num_drafted``, uint8 [T]; ``accepted``: as the coins have it."""
        ...

    def first_accept(self, target: TargetColumns, accept: Signal) -> Signal:
        """Probability that the first token is accepted, float32 [T], where ``accept`` is the recorded one."""
        return accept


def run_length(passes: Passes) -> Accepted:
    """Tokens before the first that does not pass, uint8 [T], of [T, K]."""
    return np.asarray(np.logical_and.accumulate(passes, axis=1).sum(axis=1), np.uint8)


@dataclass(frozen=True, slots=True)
class AsRecorded(Acceptance):
    """As the trace's drafter was accepted."""

    def needs(self, present: Collection[str]) -> tuple[str, ...]:
        """Nothing of its own."""
        return ()

    def resolve(self, target: TargetColumns, accepted: Accepted, num_drafted: int, at: At) -> Accepted:
        """``accepted``."""
        return accepted


AS_RECORDED = AsRecorded()


@dataclass(frozen=True, slots=True)
class OfTrimmedHead(Acceptance):
    """Of a drafter whose head has the ``rows`` most frequent tokens alone (VocabTrim, arXiv 2506.22694).

    Column ``trim_accept_ROWS``, tested with own coins; without it *at least* this much: a row whose y_t lies
    outside the head is rejected (``token_rank``), all else stays as recorded. Trimming can promote what
    remains, and never demotes it.
    """

    rows: int

    @property
    def column(self) -> str:
        """The column that says it exactly."""
        return f"trim_accept_{self.rows}"

    def needs(self, present: Collection[str]) -> tuple[str, ...]:
        """The exact column if there is one, else the ranks."""
        return (self.column if self.column in present else "token_rank",)

    def resolve(self, target: TargetColumns, accepted: Accepted, num_drafted: int, at: At) -> Accepted:
        """Runs of the trimmed drafter."""
        if self.column in target.outcomes:
            return _tested(target.outcomes[self.column], num_drafted, "trimmed head", at)
        inside = target.require_outcome("token_rank", at.method)[:, 0] <= self.rows
        return np.minimum(accepted, run_length(_ahead(inside, num_drafted)))

    def first_accept(self, target: TargetColumns, accept: Signal) -> Signal:
        """The column's, or nothing for tokens outside the head."""
        if self.column in target.outcomes:
            return target.outcomes[self.column][:, 0]
        return np.where(target.outcomes["token_rank"][:, 0] <= self.rows, accept, np.float32(0.0))


@dataclass(frozen=True, slots=True)
class Diluted(Acceptance):
    """As recorded, but each accepted token is lost with a probability (own coins)."""

    loss: float

    def needs(self, present: Collection[str]) -> tuple[str, ...]:
        """Nothing of its own."""
        return ()

    def resolve(self, target: TargetColumns, accepted: Accepted, num_drafted: int, at: At) -> Accepted:
        """Runs that the losses cut."""
        kept = at.own_coins("lost acceptance", len(accepted), num_drafted) >= self.loss
        return np.minimum(accepted, run_length(kept))


@dataclass(frozen=True, slots=True)
class Judged(Acceptance):
    """A rejected token has a second chance: a judge lets it pass, and the chain goes on (arXiv 2501.19309).

    share: the chance that it passes; None: column ``judge_accept``. Behind a token that the judge let pass
    the recorded coins say nothing: the standard test has own coins there.
    """

    share: float | None = None

    def needs(self, present: Collection[str]) -> tuple[str, ...]:
        """The judge's column, and what the standard test goes on with."""
        return ("accept_prob",) if self.share is not None else ("accept_prob", "judge_accept")

    def resolve(self, target: TargetColumns, accepted: Accepted, num_drafted: int, at: At) -> Accepted:
        """Runs in which every token passes one of the two tests."""
        accept_prob = target.require_accept_prob(at.method)[:, :num_drafted]
        depth = np.arange(num_drafted)
        recorded = accepted[:, None].astype(np.int64)
        fresh = at.own_coins("standard test again", len(accepted), num_drafted) < accept_prob
        standard = np.where(depth < recorded, True, (depth > recorded) & fresh)
        chance = self.share
        if chance is None:
            judge = target.require_outcome("judge_accept", at.method)[:, :num_drafted]
        else:
            judge = np.full((1, 1), chance, np.float32)
        return run_length(standard | (at.own_coins("judge", len(accepted), num_drafted) < judge))


@dataclass(frozen=True, slots=True)
class OfColumn(Acceptance):
    """As a column of acceptance probabilities says, tested with own coins."""

    column: str

    def needs(self, present: Collection[str]) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def resolve(self, target: TargetColumns, accepted: Accepted, num_drafted: int, at: At) -> Accepted:
        """Runs of its coins."""
        return _tested(target.require_outcome(self.column, at.method), num_drafted, self.column, at)


def _tested(chance: Signal, num_drafted: int, coins: str, at: At) -> Accepted:
    drawn = at.own_coins(coins, len(chance), num_drafted)
    return run_length(drawn < chance[:, :num_drafted])


def _ahead(of_row: Passes, num_drafted: int) -> Passes:
    """What holds of rows t, t + 1, ... t + K - 1, bool [T, K]; true beyond the last."""
    beyond = np.ones(num_drafted - 1, np.bool_)
    return sliding_window_view(np.concatenate([of_row, beyond]), num_drafted)
