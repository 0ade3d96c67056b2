"""What is priced: the shape of forward passes."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.errors import LatencyError

Floats = NDArray[np.float64]
MOST = float(np.finfo(np.float64).max)


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
    layer_share:    share of the model's layers that run, 0 to 1 (an early exit, a draft head).
    num_logit_tokens: tokens that pass the head (logits and sampling), summed over the sequences; 0: it
                    does not run. None: all new tokens, as far as the role needs them
                    (``pass_work.logit_rows``).

    A pass costs layer_share * (T - T_head) + T_head(num_logit_tokens), T the whole pass and T_head the
    part of its head. A source that cannot tell the head apart (``LatencyModel.separates_head`` is false)
    prices layer_share * T.
    """

    role: Role
    num_sequences: ArrayLike
    num_new_tokens: ArrayLike
    num_kv_tokens: ArrayLike
    layer_share: ArrayLike = 1.0
    num_logit_tokens: ArrayLike | None = None

    def broadcast(self) -> tuple[Floats, Floats, Floats]:
        """Sequences, new tokens and KV tokens as float64 arrays of one common shape."""
        sequences, tokens, kv = np.broadcast_arrays(*self._arrays())
        return sequences, tokens, kv

    @property
    def layers(self) -> Floats:
        """``layer_share`` as a float64 array."""
        return np.asarray(self.layer_share, np.float64)

    @property
    def logit_tokens(self) -> Floats | None:
        """``num_logit_tokens`` as a float64 array; None where it is not said."""
        return None if self.num_logit_tokens is None else np.asarray(self.num_logit_tokens, np.float64)

    @property
    def is_whole(self) -> bool:
        """All layers run, and the head on the tokens that the role needs."""
        return self.num_logit_tokens is None and bool((self.layers == 1.0).all())

    def checked(
        self, roles: Collection[Role], priced_by: str, *, least_sequences: int = 1
    ) -> tuple[Floats, Floats, Floats]:
        """Sequences, new tokens, KV tokens: float64 arrays that broadcast, each still in its own shape.

        So a model can price a whole table from its margins. least_sequences: 0 where a mixed pass may have
        no such group. LatencyError if the role is not priced,
        the shapes do not match, or a count or share is impossible.
        """
        if self.role not in roles:
            known = ", ".join(role for role in Role if role in roles) or "none"
            raise LatencyError(
                f"{priced_by} has no step times for the {self.role} (it prices: {known}); "
                f"add {self.role} rows, or use a method without it"
            )
        counts = self._arrays()
        names = ("num_sequences", "num_new_tokens", "num_kv_tokens")
        for name, least, values in zip(names, (least_sequences, 0, 0), counts, strict=True):
            self._refuse(name, values, least)
        self._refuse("layer_share", self.layers, 0, 1)
        given = [*zip(names, counts, strict=True), ("layer_share", self.layers)]
        logit_tokens = self.logit_tokens
        if logit_tokens is not None:
            self._refuse("num_logit_tokens", logit_tokens, 0)
            given.append(("num_logit_tokens", logit_tokens))
        try:
            np.broadcast_shapes(*(values.shape for _, values in given))
        except ValueError:
            shapes = ", ".join(f"{name} {values.shape}" for name, values in given)
            raise LatencyError(f"{self.role} pass: {shapes} do not broadcast to one shape") from None
        return counts

    def _refuse(self, name: str, values: Floats, least: float, most: float = MOST) -> None:
        # `not (min >= least)` also catches NaN
        if values.size and not (values.min() >= least and values.max() <= most):
            bad = values[~((values >= least) & (values <= most))].flat[0]
            expected = (
                f"a finite number >= {least:g}" if most == MOST else f"a number from {least:g} to {most:g}"
            )
            raise LatencyError(f"{self.role} pass with {name} = {bad:g}; expected {expected}")

    def _arrays(self) -> tuple[Floats, Floats, Floats]:
        return (
            np.asarray(self.num_sequences, np.float64),
            np.asarray(self.num_new_tokens, np.float64),
            np.asarray(self.num_kv_tokens, np.float64),
        )
