"""What one role's pass costs, in terms that any mixture of sequences shares.

layers = token curve(all new tokens) + row_s * logit rows + sum over groups of what contexts cost
pass   = layers + head(logit rows)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svsim.latency.context_costs import ContextCosts
from svsim.latency.model import OutOfRange
from svsim.latency.shape import Role
from svsim.latency.valid_range import ValidRange

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CalibratedBox:
    """Where the costs were calibrated, and what happens outside."""

    valid_range: ValidRange
    choice: OutOfRange
    hardware: str

    def inside(
        self, role: Role, quantities: tuple[Floats, Floats, Floats], is_run: NDArray[np.bool_] | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """(sequences, new tokens, mean context) as ``choice`` treats those outside.

        What is not run is moved into the box.
        """
        if is_run is not None:
            box = self.valid_range
            sequences, tokens, context = (
                np.where(is_run, values, low)
                for values, (low, _) in zip(
                    quantities, (box.num_sequences, box.num_new_tokens, box.mean_context), strict=True
                )
            )
            quantities = sequences, tokens, context
        return self.valid_range.apply(self.choice, role, self.hardware, quantities)


@dataclass(frozen=True, slots=True)
class PassCosts:
    """One role's pass (see the module's words), in seconds.

    token_s:    of new tokens [...], whatever they belong to; engines pad them to their graphs.
    context:    of each group of sequences.
    row_s:      per row of logits, beside the head's own price (fitted tables; at most 32 a sequence count).
    head_s:     of rows of logits [...]; None: not told apart, it is within the rest.
    holds_head: ``token_s`` and ``row_s`` count the head as well; the layers are what is left.
    row_rule:   the role whose rule of ``pass_work.logit_rows`` says how many rows a head needs.
    box:        None: formulas hold everywhere.
    """

    token_s: Callable[[Floats], Floats]
    context: ContextCosts
    row_s: float = 0.0
    head_s: Callable[[Floats], Floats] | None = None
    holds_head: bool = False
    row_rule: Role = Role.TARGET
    box: CalibratedBox | None = None
