"""What a phase costs: priced by any latency model, or by published seconds of its two parts."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from svsim.latency.model import LatencyModel
from svsim.latency.shape import Role, StepShape
from svsim.phase_schedules.residency import Floats


class PhaseTimes(Protocol):
    """Seconds of the parts of a phase; arguments broadcast."""

    @property
    def source(self) -> str:
        """Where they come from."""
        ...

    def encode_s(self, num_queries: Floats, num_tokens: Floats) -> Floats:
        """Encoding so many prompts of so many tokens in all."""
        ...

    def decode_s(self, num_queries: Floats, num_kv_tokens: Floats) -> Floats:
        """One decode pass over so many queries (means: not whole, and less than one where few are left)."""
        ...


@dataclass(frozen=True, slots=True)
class ModelTimes:
    """Passes of the target, and the model's overhead at each.

    A pass that less than one query needs on average runs that often.
    """

    latency: LatencyModel

    @property
    def source(self) -> str:
        """The model's own."""
        return f"{self.latency.source} {self.latency.hardware}"

    def encode_s(self, num_queries: Floats, num_tokens: Floats) -> Floats:
        """One prefill from empty caches, logits for each query's first token."""
        shape = StepShape(Role.TARGET, num_queries, num_tokens, 0, num_logit_tokens=num_queries)
        return np.asarray(self.latency.predict_s(shape) + self.latency.overhead_per_step_s)

    def decode_s(self, num_queries: Floats, num_kv_tokens: Floats) -> Floats:
        """One new token for each query."""
        running = np.maximum(num_queries, 1.0)
        shape = StepShape(Role.TARGET, running, running, num_kv_tokens)
        pass_s = self.latency.predict_s(shape) + self.latency.overhead_per_step_s
        return np.asarray(pass_s * np.minimum(num_queries, 1.0))


@dataclass(frozen=True, slots=True)
class PublishedTimes:
    """Seconds of encoding ``encoded_queries`` prompts, in proportion for others, and of any decode pass."""

    encode_seconds: float
    encoded_queries: float
    decode_seconds: float

    @property
    def source(self) -> str:
        """``published``."""
        return "published"

    def encode_s(self, num_queries: Floats, num_tokens: Floats) -> Floats:
        """In proportion to the queries."""
        queries, _ = np.broadcast_arrays(np.asarray(num_queries, np.float64), num_tokens)
        return self.encode_seconds * queries / self.encoded_queries

    def decode_s(self, num_queries: Floats, num_kv_tokens: Floats) -> Floats:
        """The same for every batch."""
        queries, _ = np.broadcast_arrays(np.asarray(num_queries, np.float64), num_kv_tokens)
        return np.full(queries.shape, self.decode_seconds)
