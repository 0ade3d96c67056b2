"""Seconds of a model's head alone: logits, their gathering, and the passes over the vocabulary."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HeadCurve:
    """Seconds against rows of logits: straight lines between knots, the last one going on.

    rows [M] ascending, > 0; row_s [M] never decreasing (``of`` sees to it). A head without rows does not
    run and costs nothing.
    """

    rows: Floats
    row_s: Floats

    @classmethod
    def of(cls, rows: Floats, row_s: Floats) -> "HeadCurve":
        """From prices per number of rows; what decreases is raised to what fewer rows cost."""
        is_run = rows > 0
        return cls(rows[is_run], np.maximum.accumulate(row_s[is_run]))

    def seconds(self, rows: Floats) -> Floats:
        """Seconds of each number of rows, float64 of their shape."""
        seconds = np.interp(rows, self.rows, self.row_s)
        if len(self.rows) > 1:
            slope_s = (self.row_s[-1] - self.row_s[-2]) / (self.rows[-1] - self.rows[-2])
            seconds = seconds + slope_s * np.maximum(rows - self.rows[-1], 0.0)
        return np.where(rows > 0, seconds, 0.0)
