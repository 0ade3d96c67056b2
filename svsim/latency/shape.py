"""What is priced: the shape of forward passes."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Role(StrEnum):
    """Which model runs the pass."""

    TARGET = "target"
    DRAFT = "draft"
    COMPANION = "companion"


@dataclass(frozen=True, slots=True)
class StepShape:
    """Shapes of single forward passes of one model; the three arrays broadcast to shape [N].

    num_sequences:  sequences in the pass; each reads its own KV cache once.
    num_new_tokens: tokens the pass computes, summed over the sequences (a verification of B
                    sequences with lengths g_i has sum of g_i + 1).
    num_kv_tokens:  KV tokens read, summed over the sequences (their context lengths).
    """

    role: Role
    num_sequences: ArrayLike
    num_new_tokens: ArrayLike
    num_kv_tokens: ArrayLike

    def broadcast(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The three quantities as float64 arrays of one common shape."""
        sequences, tokens, kv = np.broadcast_arrays(
            np.asarray(self.num_sequences, np.float64),
            np.asarray(self.num_new_tokens, np.float64),
            np.asarray(self.num_kv_tokens, np.float64),
        )
        return sequences, tokens, kv
