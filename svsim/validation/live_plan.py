"""A method's selection rule as a live plan: the rule and belief the replay uses, on signals of this step."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.beliefs import believed_survival
from svsim.decoding.method import DecodingMethod
from svsim.decoding.selection_rules import MEMORY_SIZE, SCRATCH_SIZE
from svsim.decoding.selections import Plan
from svsim.engines.binding import Deployment
from svsim.errors import InputError
from svsim.latency.model import LatencyModel

Signals = Mapping[str, NDArray[np.float32]]


class LivePlan:
    """Belief from the signals, prices of the method's work, lengths from the rule."""

    def __init__(self, method: DecodingMethod, latency: LatencyModel) -> None:
        if method.belief is None or method.selection.lengths_from is not Plan.SELECTED:
            raise InputError(f"{method.label} selects no lengths; a live plan needs a method that does")
        self.method, self.belief, self.selection = method, method.belief, method.selection
        self.priced, self.k = Deployment(latency).priced(method), method.num_speculative_tokens
        self.memory, self.scratch = np.zeros(MEMORY_SIZE), np.zeros(SCRATCH_SIZE, np.int64)
        self.options = np.asarray(method.selection.options, np.float64)

    def __call__(self, signals: Signals, context: NDArray[np.int64]) -> NDArray[np.int64]:
        """Verification lengths [n]."""
        num, kv = len(context), float(context.sum())
        chosen = tuple(np.asarray(signals[name], np.float32) for name in self.belief.signals)
        survival = np.ascontiguousarray(believed_survival(self.belief, chosen))
        tokens = num + np.arange(num * self.k + 1)
        verify_s = np.ascontiguousarray(self.priced.verify_s(num, tokens, kv))
        fixed_s = self.priced.full_draft_s(num, kv) + float(self.priced.companion_s(num, num * self.k, kv))
        lengths = np.zeros(num, np.int64)
        self.selection.rule(
            num, survival, verify_s, fixed_s, self.options, self.memory, self.scratch, lengths
        )
        return lengths
