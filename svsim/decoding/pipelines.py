"""Pipelines: where drafting and verification are placed on the GPU, or on GPUs of their own."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# of each side, if it got exactly its part of a GPU split 30 : 70 (the share of arXiv 2509.24328)
DRAFT_SLOWDOWN, VERIFY_SLOWDOWN = 1 / 0.3, 1 / 0.7


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Drafting and verification one after another, or of two micro-batches beside each other.

    overlap: ``none``; ``half``: the batch is split in two (equal memory; the target's weights are read
    twice per round), a batch of one runs without overlap; ``full``: two micro-batches of the whole batch
    size each. While the target verifies one, draft and companion run for the other; a turn lasts as long
    as the longer side, and one micro-batch emits in it. The slowdowns (shares of the GPU and interference)
    multiply the seconds of each side.
    """

    overlap: Literal["none", "half", "full"] = "none"
    draft_slowdown: float = 1.0
    verify_slowdown: float = 1.0

    def num_micro_batches(self, batch_size: int) -> int:
        """Two, or one without overlap."""
        return 1 if self.overlap == "none" or (self.overlap == "half" and batch_size == 1) else 2

    def micro_batch_size(self, batch_size: int) -> int:
        """Sequences that are verified together. Half an odd batch is an error before any run."""
        return batch_size // 2 if self.overlap == "half" and batch_size > 1 else batch_size

    def splits(self, batch_size: int) -> bool:
        """Whether the batch size can be laid out."""
        return self.overlap != "half" or batch_size == 1 or batch_size % 2 == 0

    def num_sequences(self, batch_size: int) -> int:
        """Sequences that are held in memory."""
        return self.micro_batch_size(batch_size) * self.num_micro_batches(batch_size)

    @property
    def is_parallel(self) -> bool:
        """Whether draft and target run at the same time on devices of their own."""
        return False


@dataclass(frozen=True, slots=True)
class ParallelPipeline(Pipeline):
    """Draft and target on devices of their own, in steps that begin together (PEARL, arXiv 2408.11850).

    In a step the draft makes gamma more tokens of every sequence while the target reads those that the draft
    made in the last one. *Carried* tokens of a sequence: drafted, the first of them accepted, the others not
    looked at yet. None: the sequence is PRE, else POST.

    PRE:  the target reads the last token, and so tests the first token that is being drafted. Accepted: it is
          emitted, and the sequence carries the drafted gamma. Else the target's own token is emitted.
    POST: the target reads the carried tokens, and so tests all but the first of them and the first that is
          being drafted. The accepted ones in a row are emitted; if all were, the sequence carries the drafted
          gamma. Else the target's token is emitted too, all drafted ones are dropped, and it is PRE.

    There is no bonus token. gammas: draft tokens per step: by 0, 1, .. N sequences in it, or one for all; ():
    as many as the target's pass is longer than the draft's, not found yet (``engines/parallel.py``). sync_s:
    seconds that a step takes beyond the longer of the two sides.
    """

    gammas: tuple[int, ...] = ()
    sync_s: float = 0.0

    @property
    def is_parallel(self) -> bool:
        """Always."""
        return True

    @property
    def longest(self) -> int:
        """Most draft tokens of a step; 1 where they are not found yet."""
        return max(self.gammas, default=1)

    def by_count(self, num_sequences: int) -> NDArray[np.int64]:
        """Draft tokens per step by the number of sequences in it, int64 [num_sequences + 1]."""
        if len(self.gammas) == 1:
            return np.full(num_sequences + 1, self.gammas[0], np.int64)
        return np.array(self.gammas[: num_sequences + 1], np.int64)


SERIAL = Pipeline()
