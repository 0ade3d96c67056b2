"""Block drafts whose length a sequence's own past decides: followed from each request's first row.

What a sequence does next depends on nothing but its own path, so lengths can be written down per row before
any engine runs. Rows that no path visits (a sequence that starts in the middle) begin a path of their own.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from svsim.compiled import compiled
from svsim.decoding.selections import Lengths, Plan, Selection
from svsim.errors import MethodError
from svsim.trace.token_trace import TokenTrace

ACCEPTED, LENGTH = "block_accepted", "block_length"


class Walked(NamedTuple):
    """What a path does at every row, uint8 [T] each: tokens accepted, verified and drafted."""

    accepted: Lengths
    verified: Lengths
    drafted: Lengths


@dataclass(frozen=True, slots=True)
class FollowedBlocks(Selection):
    """DiffuSpec's adaptive draft length (arXiv 2510.02358, section 3.3), a sequence by itself.

    A block of k tokens yields L_gen tokens before its end of text, which are verified, and L_acc of them are
    accepted. With moving averages X <- (1 - rho) X + rho x of both, from 0 on, the next block has
    clip(floor(gen) + delta [acc >= gen], k_min, k_max) tokens, the first k_max; the recorded length nearest
    to that within these bounds is drafted (the shorter of two).
    """

    k_min: int
    k_max: int
    delta: float
    rho: float

    @property
    def lengths_from(self) -> Plan:
        """Columns."""
        return Plan.PLANNED

    @property
    def stops_draft(self) -> bool:
        """A block may yield less than it drafted."""
        return True

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Blocks that were recorded."""
        return ACCEPTED, LENGTH

    def walked(self, trace: TokenTrace, label: str) -> Walked:
        """Along every request of the trace. MethodError where no recorded length lies in the bounds."""
        sizes = np.array(trace.metadata.blocks or (), np.int64)
        allowed = np.flatnonzero((sizes >= self.k_min) & (sizes <= self.k_max))
        if len(allowed) == 0:
            raise MethodError(
                f"{label}: the trace holds blocks of {'/'.join(map(str, sizes)) or 'no'} tokens, none from "
                f"{self.k_min} to {self.k_max}; give k_min and k_max that hold one of them"
            )
        target = trace.target
        length = target.require_outcome(LENGTH, label)[:, allowed].astype(np.uint8)
        accepted = target.require_outcome(ACCEPTED, label)[:, allowed].astype(np.uint8)
        accepted = np.minimum(accepted, length)
        sizes = sizes[allowed]
        asked = np.arange(self.k_max + 1)
        nearest = np.abs(asked[:, None] - sizes).argmin(axis=1)
        chosen = np.full(len(length), nearest[self.k_max])
        options = np.array([self.k_min, self.k_max, self.delta, self.rho])
        follow_blocks(trace.first_position, accepted, length, nearest, options, chosen)
        rows = np.arange(len(length))
        return Walked(accepted[rows, chosen], length[rows, chosen], sizes[chosen].astype(np.uint8))


@compiled()
def follow_blocks(  # type: ignore[no-untyped-def]
    first: NDArray[np.int64],
    accepted: Lengths,
    length: Lengths,
    nearest: NDArray[np.int64],
    options: NDArray[np.float64],
    chosen: NDArray[np.int64],
):
    """Write the recorded length that each visited row drafts; options = [k_min, k_max, delta, rho]."""
    k_min, k_max, delta, rho = options[0], options[1], options[2], options[3]
    for request in range(first.size - 1):
        here, generated, kept = first[request], 0.0, 0.0
        k = k_max
        while here < first[request + 1]:
            j = nearest[int(k)]
            chosen[here] = j
            generated += rho * (length[here, j] - generated)
            kept += rho * (accepted[here, j] - kept)
            more = delta if kept >= generated else 0.0
            k = min(max(np.floor(generated) + more, k_min), k_max)
            here += accepted[here, j] + 1
