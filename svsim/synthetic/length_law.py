"""Mean acceptance length by a drafter's scale: a + b log10 x (Scylla, arXiv 2505.07858).

x is what was scaled: the drafter's parameters, its training tokens, the batch size. The paper fits such laws
in each; its coefficients are not published, so a, b and x are all the caller's.
"""

import math
from dataclasses import dataclass

from svsim.errors import InputError, printable


@dataclass(frozen=True, slots=True)
class AcceptanceLengthLaw:
    """a + b log10 x tokens per step, the bonus token included."""

    intercept: float
    slope: float
    scale: float

    @classmethod
    def parse(cls, text: str) -> "AcceptanceLengthLaw":
        """``1.2,0.35,2.4e8``. InputError for anything else."""
        where = f"`length_law` {printable(text, 60)}"
        try:
            a, b, x = map(float, text.split(","))
        except ValueError:
            raise InputError(f"{where}: expected A,B,X of a + b log10 x, as 1.2,0.35,2.4e8") from None
        if not (math.isfinite(a) and math.isfinite(b)):
            raise InputError(f"{where}: a and b must be finite numbers")
        if not 0 < x < math.inf:
            raise InputError(f"{where}: x is {x:g}, and has no logarithm; expected a number above 0")
        return cls(a, b, x)

    @property
    def mean_acceptance_length(self) -> float:
        """Tokens per step."""
        return self.intercept + self.slope * math.log10(self.scale)

    @property
    def words(self) -> str:
        """What the law says, in a sentence."""
        return (
            f"length law: {self.intercept:g} + {self.slope:g} log10 {self.scale:g} = "
            f"{self.mean_acceptance_length:.3f} tokens per step; a and b are as given, none are published"
        )
