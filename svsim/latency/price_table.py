"""A latency model laid out as plain arrays, for engines that price a step in a compiled loop."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.errors import LatencyError
from svsim.latency.shape import Role, StepShape


class PredictsSeconds(Protocol):
    """A latency model, or one kind of its passes."""

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass."""
        ...


RELATIVE_TOLERANCE = 1e-5
MAX_KNOTS = 65


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Seconds of one pass at a fixed number of sequences, on uniform knots of mean context.

    Mean context = KV tokens read / sequences. Knot g lies at context_low + g * context_step.
    Row-major by knot: an engine finds its context once, then interpolates two whole rows.

    seconds:             float64 [G, N], C-contiguous; N = the pass sizes asked for, in their order.
    context_step:        tokens between knots, > 0.
    max_relative_error:  largest error of linear interpolation seen at the midpoints of the final
                         knots (below the tolerance unless G reached ``max_knots``).
    """

    seconds: NDArray[np.float64]
    context_low: float
    context_step: float
    max_relative_error: float

    @property
    def num_knots(self) -> int:
        """G."""
        return len(self.seconds)

    def at(self, mean_context: ArrayLike) -> NDArray[np.float64]:
        """Seconds [..., N] at the given mean contexts [...]; beyond the ends the end rows hold."""
        place = (np.asarray(mean_context, np.float64) - self.context_low) / self.context_step
        place = np.clip(place, 0.0, self.num_knots - 1)
        left = np.minimum(place.astype(np.int64), self.num_knots - 2)
        share = (place - left)[..., None]
        return np.asarray(self.seconds[left] * (1.0 - share) + self.seconds[left + 1] * share)


def lay_out(
    model: PredictsSeconds,
    role: Role,
    num_sequences: int,
    new_tokens: ArrayLike,
    mean_context_low: float,
    mean_context_high: float,
    *,
    relative_tolerance: float = RELATIVE_TOLERANCE,
    max_knots: int = MAX_KNOTS,
) -> PriceTable:
    """Tabulate ``model`` for passes of ``num_sequences`` with ``new_tokens`` [N] tokens in all.

    The number of knots grows 2, 3, 5, 9 ... (each refinement is one ``predict_s`` call on the
    midpoints) until linear interpolation meets the model at every midpoint within
    ``relative_tolerance``, or ``max_knots`` is reached. A linear model needs 2. If both ends
    coincide the two rows are equal and context_step is 1.
    """
    tokens = np.asarray(new_tokens, np.float64)
    low, high = float(mean_context_low), float(mean_context_high)
    if tokens.ndim != 1 or tokens.size == 0:
        raise LatencyError(f"new_tokens has shape {tokens.shape}; expected a non-empty array [N]")
    if not 0 <= low <= high < np.inf:
        raise LatencyError(f"mean context from {low:g} to {high:g}; expected 0 <= low <= high, finite")

    def rows_at(contexts: NDArray[np.float64]) -> NDArray[np.float64]:
        shape = StepShape(role, num_sequences, tokens, contexts[:, None] * num_sequences)
        return model.predict_s(shape)

    if low == high:
        return PriceTable(np.repeat(rows_at(np.array([low])), 2, axis=0), low, 1.0, 0.0)
    knots = np.linspace(low, high, 2)
    seconds = rows_at(knots)
    while True:
        middles = 0.5 * (knots[:-1] + knots[1:])
        truth = rows_at(middles)
        guess = 0.5 * (seconds[:-1] + seconds[1:])
        error = float((np.abs(guess - truth) / np.maximum(truth, np.finfo(np.float64).tiny)).max())
        if error <= relative_tolerance or 2 * len(knots) - 1 > max_knots:
            return PriceTable(seconds, low, float(knots[1] - knots[0]), error)
        knots = _interleave(knots, middles)
        seconds = _interleave(seconds, truth)


def _interleave(knots: NDArray[np.float64], middles: NDArray[np.float64]) -> NDArray[np.float64]:
    """[k0, m0, k1, m1, ... kG] along the first axis."""
    merged = np.empty((len(knots) + len(middles), *knots.shape[1:]))
    merged[0::2], merged[1::2] = knots, middles
    return merged
