"""Acceptance rules: how many draft tokens of each chain the target accepts."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from svsim.errors import MissingSignalError
from svsim.random_streams import RandomStreams
from svsim.trace.token_trace import TargetColumns


class AcceptanceRule(Protocol):
    """Resolves the target's half of a trace into accepted counts."""

    @property
    def num_replicates(self) -> int:
        """How many independent outcomes there are."""
        ...

    def resolve(self, target: TargetColumns, replicate: int, first_row: int = 0) -> NDArray[np.uint8]:
        """Accepted draft tokens of the whole chain at every position, uint8 [T].

        first_row: where these positions begin in the part that is replayed.
        """
        ...


@dataclass(frozen=True, slots=True)
class RecordedCoins:
    """The coins of the recording: exact on coherent chains."""

    num_replicates: int = 1

    def resolve(self, target: TargetColumns, replicate: int, first_row: int = 0) -> NDArray[np.uint8]:
        """``num_accepted`` as recorded."""
        return target.num_accepted.astype(np.uint8)


@dataclass(frozen=True, slots=True)
class RedrawnCoins:
    """Fresh coins from ``accept_prob``: more replicates, but neighbouring chains lose coherence.

    A coin belongs to its row: a trace read in stretches meets those of a trace in memory.
    """

    num_replicates: int
    seed: int

    def resolve(self, target: TargetColumns, replicate: int, first_row: int = 0) -> NDArray[np.uint8]:
        """Accepted counts from independent uniform coins against a_d."""
        if target.accept_prob is None:
            raise MissingSignalError(
                "`coins=redraw` needs the column accept_prob, which this trace lacks; use `coins=recorded`"
            )
        num_rows, k = target.accept_prob.shape
        streams = RandomStreams(self.seed)
        coins = streams.coins("acceptance", replicate, shape=(num_rows, k), first_row=first_row)
        accepted = np.logical_and.accumulate(coins < target.accept_prob, axis=1)
        return np.asarray(accepted.sum(axis=1), np.uint8)
