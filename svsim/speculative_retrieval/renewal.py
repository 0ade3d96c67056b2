"""Speculative retrieval as a renewal process (RaLMSpec, arXiv 2401.14021).

Words
-----
document     one retrieval of a request, and the tokens generated with it; a request has N.
speculation  one step of a seconds: a document out of the request's cache, and its tokens.
hit          the cached document is the true one: probability gamma, independently.
cycle        s speculations (the stride), then one verification of all s queries in b seconds.
progress     documents a cycle settles: those before the first miss and the missed one, which the verification
             brings; E = 1 + gamma + ... + gamma^(s-1).
async        the first speculation of the next cycle runs beside the verification, ideally: max(a, b).

Without ``regenerates`` a miss costs no further a, as in the paper's objective. A request takes N/E cycles in
the long run; ``request_s`` counts the cycles of N documents one by one, the last stride cut to what is left.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from svsim.errors import require

MAX_STRIDE = 64
MAX_DOCUMENTS = 10_000
MIN_S, MAX_S = 1e-6, 86_400.0


@dataclass(frozen=True, slots=True)
class SpeculativeRetrieval:
    """Times and chances of one request; see the module's words.

    speculation_s: a. verification_s: b, of one query. verification_per_query_s: of every further query of the
    batch (approximate indices; 0 for exact and sparse ones below ten queries). hit_rate: gamma.
    InputError for values out of their domain.
    """

    speculation_s: float
    verification_s: float
    hit_rate: float
    num_documents: int = 32
    verification_per_query_s: float = 0.0
    regenerates: bool = False
    is_async: bool = False

    def __post_init__(self) -> None:
        _check_seconds("a", self.speculation_s, positive=True)
        _check_seconds("b", self.verification_s)
        _check_seconds("b_per_query", self.verification_per_query_s)
        require(
            0 <= self.hit_rate <= 1,
            f"`gamma` {self.hit_rate:g} is no probability; expected 0 <= gamma <= 1",
        )
        require(
            1 <= self.num_documents <= MAX_DOCUMENTS,
            f"`documents` {self.num_documents} is out of range; expected 1 to {MAX_DOCUMENTS}",
        )

    def verify_s(self, stride: int) -> float:
        """b(s): seconds of the verification of s queries at once."""
        return self.verification_s + (stride - 1) * self.verification_per_query_s

    @property
    def regenerate_s(self) -> float:
        """Seconds that a miss adds."""
        return self.speculation_s if self.regenerates else 0.0

    @property
    def baseline_s(self) -> float:
        """A request that retrieves and waits every time: N (a + b)."""
        return self.num_documents * (self.speculation_s + self.verification_s)


def _check_seconds(name: str, value: float, positive: bool = False) -> None:
    least = MIN_S if positive else 0.0
    require(
        least <= value <= MAX_S,
        f"`{name}` {value:g} is out of range; expected seconds from {least:g} to {MAX_S:,.0f} (a day)",
    )


def documents_per_cycle(hit_rate: float, stride: int) -> float:
    """Mean progress of a cycle: (1 - gamma^s) / (1 - gamma), s at gamma = 1."""
    return math.fsum(hit_rate**i for i in range(stride))


def cycle_s(model: SpeculativeRetrieval, stride: int) -> float:
    """Mean seconds of a cycle in the long run.

    s a + b; async gamma^s ((s - 1) a + max(a, b)) + (1 - gamma^s)(s a + b): a cycle without a miss hands the
    next one its first speculation.
    """
    a, b, all_hit = model.speculation_s, model.verify_s(stride), model.hit_rate**stride
    missed_s = stride * a + b + model.regenerate_s
    hit_s = (stride - 1) * a + max(a, b) if model.is_async else stride * a + b
    return all_hit * hit_s + (1 - all_hit) * missed_s


def renewal_s(model: SpeculativeRetrieval, stride: int) -> float:
    """The paper's time of a request: N / E cycles, a last one that is not whole counted in part."""
    return model.num_documents / documents_per_cycle(model.hit_rate, stride) * cycle_s(model, stride)


@lru_cache(maxsize=4096)
def best_stride(model: SpeculativeRetrieval, max_stride: int) -> int:
    """The stride of most documents per second in the long run; the shortest of equals."""
    return min(range(1, max_stride + 1), key=lambda s: renewal_s(model, s))


def request_s(model: SpeculativeRetrieval, stride: int) -> float:
    """Mean seconds of a request of exactly N documents: the sum over what every cycle may settle.

    The last stride is what is left of N; nothing runs beside a request's last verification.
    """
    gamma, a = model.hit_rate, model.speculation_s
    after = [(0.0, 0.0)]  # seconds left with so many documents to go: (plain, first speculation at hand)
    for left in range(1, model.num_documents + 1):
        s = min(stride, left)
        b = model.verify_s(s)
        is_last = s == left
        beside_s = max(a, b) if model.is_async and not is_last else b
        all_hit_s = gamma**s * (beside_s + after[left - s][model.is_async])
        missed_s = math.fsum(gamma**i * (1 - gamma) * after[left - i - 1][0] for i in range(s))
        missed_s += (1 - gamma**s) * (b + model.regenerate_s)
        plain_s = s * a + all_hit_s + missed_s
        after.append((plain_s, plain_s - a))
    return after[-1][0]
