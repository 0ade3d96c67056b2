"""The box of pass shapes a model was calibrated on, and what happens outside it."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from svsim.errors import LatencyError, OutOfRangeError
from svsim.latency.model import OutOfRange
from svsim.latency.shape import Role

Floats = NDArray[np.float64]
CHOICES: tuple[OutOfRange, ...] = ("raise", "clip", "extrapolate")


@dataclass(frozen=True, slots=True)
class ValidRange:
    """Smallest and largest calibrated value of each quantity (both ends included).

    mean_context: KV tokens read per sequence.
    """

    num_sequences: tuple[float, float]
    num_new_tokens: tuple[float, float]
    mean_context: tuple[float, float]

    def apply(
        self, choice: OutOfRange, role: Role, priced_by: str, quantities: tuple[Floats, Floats, Floats]
    ) -> tuple[Floats, Floats, Floats]:
        """(sequences, new tokens, mean context) as ``choice`` treats those outside.

        ``raise``: OutOfRangeError names the first one. ``clip``: each is moved to the nearest end.
        ``extrapolate``: unchanged; the model's own rules continue its surfaces.
        """
        if choice == "extrapolate":
            return quantities
        if choice == "raise":
            for field, values in zip(fields(self), quantities, strict=True):
                self._refuse(field.name, role, priced_by, values)
            return quantities
        sequences, tokens, context = quantities
        return (
            np.clip(sequences, *self.num_sequences),
            np.clip(tokens, *self.num_new_tokens),
            np.clip(context, *self.mean_context),
        )

    def _refuse(self, name: str, role: Role, priced_by: str, values: Floats) -> None:
        low, high = getattr(self, name)
        slack = 1e-9 * high
        if values.size and (values.min() < low - slack or values.max() > high + slack):
            bad = values[(values < low - slack) | (values > high + slack)].flat[0]
            raise OutOfRangeError(
                f"{role} pass with {name} = {bad:g} is outside the calibrated range {low:g} to {high:g} "
                f"of {priced_by}; calibrate it, or choose `out_of_range` clip or extrapolate"
            )


def checked_choice(choice: str) -> OutOfRange:
    """``choice`` itself, or LatencyError listing the three choices."""
    for known in CHOICES:
        if choice == known:
            return known
    raise LatencyError(f'out_of_range = "{choice}"; expected one of {", ".join(CHOICES)}')
