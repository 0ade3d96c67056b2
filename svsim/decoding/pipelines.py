"""Pipelines: where drafting and verification are placed on the GPU."""

from dataclasses import dataclass
from typing import Literal

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


SERIAL = Pipeline()
