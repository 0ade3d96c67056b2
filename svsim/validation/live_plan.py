"""A method's selection rule as a live plan: the rule and belief the replay uses, on signals of this step."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.beliefs import believed_survival
from svsim.decoding.method import DecodingMethod, SelectByRule
from svsim.decoding.selection_rules import MEMORY_SIZE, SCRATCH_SIZE
from svsim.errors import InputError
from svsim.latency.model import LatencyModel
from svsim.latency.shape import Role, StepShape

Signals = Mapping[str, NDArray[np.float32]]


class Selection:
    """Belief from the signals, prices from the latency model, lengths from the rule."""

    def __init__(self, method: DecodingMethod, latency: LatencyModel) -> None:
        if method.belief is None or not isinstance(method.selection, SelectByRule):
            raise InputError(f"{method.label} selects no lengths; a live plan needs a method that does")
        self.method, self.latency, self.selection = method, latency, method.selection
        self.belief, self.k = method.belief, method.num_speculative_tokens
        self.memory, self.scratch = np.zeros(MEMORY_SIZE), np.zeros(SCRATCH_SIZE, np.int64)
        self.options = np.asarray(method.selection.options, np.float64)

    def __call__(self, signals: Signals, context: NDArray[np.int64]) -> NDArray[np.int64]:
        """Verification lengths [n]."""
        num, kv = len(context), float(context.sum())
        chosen = tuple(np.asarray(signals[name], np.float32) for name in self.belief.signals)
        survival = np.ascontiguousarray(believed_survival(self.belief, chosen))
        tokens = num + np.arange(num * self.k + 1)
        verify_s = np.ascontiguousarray(self._price(Role.TARGET, num, tokens, kv))
        drafting = self._price(Role.DRAFT, num, np.full(self.k, num), kv + num * np.arange(self.k)).sum()
        fixed_s = float(drafting + self._price(Role.COMPANION, num, num * self.k, kv))
        lengths = np.zeros(num, np.int64)
        self.selection.rule(
            num, survival, verify_s, fixed_s, self.options, self.memory, self.scratch, lengths
        )
        return lengths

    def _price(self, role: Role, num_sequences: int, tokens: Any, kv: Any) -> NDArray[np.float64]:
        return self.latency.predict_s(StepShape(role, num_sequences, tokens, kv))
