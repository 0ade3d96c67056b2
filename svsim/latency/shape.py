"""What is priced: the shape of forward passes."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.errors import LatencyError

Floats = NDArray[np.float64]


class Role(StrEnum):
    """Which model runs the pass."""

    TARGET = "target"
    DRAFT = "draft"
    COMPANION = "companion"


@dataclass(frozen=True, slots=True)
class StepShape:
    """Shapes of single forward passes of one model; the three arrays broadcast to shape [N].

    num_sequences:  sequences in the pass (>= 1); each reads its own KV cache once.
    num_new_tokens: tokens the pass computes, summed over the sequences (a verification of B
                    sequences with lengths g_i has sum of g_i + 1).
    num_kv_tokens:  KV tokens read, summed over the sequences (their context lengths); 0 for a
                    prefill from an empty cache.
    """

    role: Role
    num_sequences: ArrayLike
    num_new_tokens: ArrayLike
    num_kv_tokens: ArrayLike

    def broadcast(self) -> tuple[Floats, Floats, Floats]:
        """The three quantities as float64 arrays of one common shape."""
        sequences, tokens, kv = np.broadcast_arrays(*self._arrays())
        return sequences, tokens, kv

    def checked(self, roles: Collection[Role], priced_by: str) -> tuple[Floats, Floats, Floats]:
        """The three quantities as float64 arrays that broadcast, each still in its own shape.

        So a model can price a whole table from its margins. LatencyError if the role is not priced,
        the shapes do not match, or a count is impossible.
        """
        if self.role not in roles:
            known = ", ".join(role for role in Role if role in roles) or "none"
            raise LatencyError(
                f"{priced_by} has no step times for the {self.role} (it prices: {known}); "
                f"add {self.role} rows, or use a method without it"
            )
        counts = self._arrays()
        names = ("num_sequences", "num_new_tokens", "num_kv_tokens")
        for name, least, values in zip(names, (1, 0, 0), counts, strict=True):
            # `not (min >= least)` also catches NaN
            if values.size and not (values.min() >= least and values.max() < np.inf):
                bad = values[~((values >= least) & (values < np.inf))].flat[0]
                raise LatencyError(
                    f"{self.role} pass with {name} = {bad:g}; expected a finite number >= {least}"
                )
        try:
            np.broadcast_shapes(*(values.shape for values in counts))
        except ValueError:
            shapes = ", ".join(f"{name} {values.shape}" for name, values in zip(names, counts, strict=True))
            raise LatencyError(f"{self.role} pass: {shapes} do not broadcast to one shape") from None
        return counts

    def _arrays(self) -> tuple[Floats, Floats, Floats]:
        return (
            np.asarray(self.num_sequences, np.float64),
            np.asarray(self.num_new_tokens, np.float64),
            np.asarray(self.num_kv_tokens, np.float64),
        )
