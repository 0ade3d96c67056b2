"""``svsim.retrieval``: seconds of a request by stride, in closed form and simulated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from svsim.errors import InputError, printable, require
from svsim.random_streams import RandomStreams
from svsim.speculative_retrieval.renewal import (
    MAX_STRIDE,
    SpeculativeRetrieval,
    best_stride,
    cycle_s,
    documents_per_cycle,
    renewal_s,
    request_s,
)
from svsim.speculative_retrieval.simulation import FixedStride, OptimalStride, StrideRule, simulate_s

if TYPE_CHECKING:
    import pandas as pd

OS3 = "os3"
Stride = int | str
NORMAL_95 = 1.959963984540054
MAX_REQUESTS = 100_000


@dataclass(frozen=True, slots=True)
class RetrievalTable:
    """One row per stride; ``config`` holds what was asked.

    rows: stride, documents_per_cycle, cycle_s, renewal_s (the paper's N/E cycles), request_s (exactly N
    documents), simulated_s with its 95 % interval, speedup (baseline / simulated, with its interval), is_best
    (the stride of most documents per second in the long run). Closed forms of ``os3`` are null.
    """

    rows: Sequence[dict[str, Any]]
    config: dict[str, Any]
    best_stride: int
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        from svsim.version import __version__

        return {
            "svsim": __version__,
            "config": self.config,
            "best_stride": self.best_stride,
            "rows": list(self.rows),
            "notes": list(self.notes),
        }

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a DataFrame."""
        import pandas as pd

        return pd.DataFrame(list(self.rows))


def retrieval(
    *,
    a: float,
    b: float,
    gamma: float,
    stride: Sequence[Stride] | Stride = (),
    documents: int = 32,
    b_per_query: float = 0.0,
    regenerate: bool = False,
    overlap: bool = False,
    window: int = 5,
    gamma_max: float = 0.6,
    max_stride: int = 8,
    requests: int = 2000,
    seed: int = 0,
) -> RetrievalTable:
    """What does speculative retrieval save? Seconds of a request by stride (RaLMSpec, arXiv 2401.14021).

    Raises the errors of ``svsim.errors``.

    Parameters
    ----------
    a: seconds of a speculation: a document out of the cache, and the tokens generated with it.
    b: seconds of a verification: one retrieval from the knowledge base.
    gamma: chance that the cached document is the true one (a prefetch of more documents raises it).
    stride: documents per verification; a number, ``"os3"``, or several; default 1 to ``max_stride`` and os3.
    documents: retrievals of a request (tokens of an answer / tokens per retrieval).
    b_per_query: seconds of every further query of a verification.
    regenerate: a miss costs another a.
    overlap: the first speculation of a cycle runs beside the verification before it, ideally.
    window, gamma_max: of OS3: verifications that it estimates gamma from, and the most it believes.
    max_stride: longest stride that os3 and the best stride choose.
    requests: simulated, for the intervals.
    seed: of the simulation.

    >>> svsim.retrieval(a=0.25, b=4.26, gamma=0.6).best_stride  # doctest: +SKIP
    5
    """
    model = SpeculativeRetrieval(a, b, gamma, documents, b_per_query, regenerate, overlap)
    os3 = OptimalStride(model, window, gamma_max, max_stride)
    require(
        2 <= requests <= MAX_REQUESTS,
        f"`requests` {requests} is out of range; expected 2 to {MAX_REQUESTS} to simulate",
    )
    asked = [stride] if isinstance(stride, int | str) else list(stride)
    strides = [_stride(one) for one in asked] or [*range(1, max_stride + 1), OS3]
    best = best_stride(model, max_stride)
    streams = RandomStreams(seed)
    rows = []
    for number, one in enumerate(strides):
        rule: StrideRule = os3 if isinstance(one, str) else FixedStride(one)
        found = simulate_s(model, rule, requests, streams.generator("retrieval", number))
        rows.append(_row(model, one, found, is_best=one == best))
    config = {
        "a": a,
        "b": b,
        "gamma": gamma,
        "documents": documents,
        "b_per_query": b_per_query,
        "regenerate": regenerate,
        "async": overlap,
        "window": window,
        "gamma_max": gamma_max,
        "max_stride": max_stride,
        "requests": requests,
        "seed": seed,
        "baseline_s": model.baseline_s,
    }
    return RetrievalTable(rows, config, best, _notes(model))


def _row(model: SpeculativeRetrieval, stride: Stride, found: Any, is_best: bool) -> dict[str, Any]:
    mean = float(np.mean(found))
    half = NORMAL_95 * float(np.std(found, ddof=1)) / math.sqrt(len(found))
    row: dict[str, Any] = {
        "stride": stride,
        **dict.fromkeys(("documents_per_cycle", "cycle_s", "renewal_s", "request_s")),
        "simulated_s": mean,
        "simulated_s_ci_low": mean - half,
        "simulated_s_ci_high": mean + half,
        "speedup": model.baseline_s / mean,
        "speedup_ci_low": model.baseline_s / (mean + half),
        "speedup_ci_high": model.baseline_s / (mean - half),
        "is_best": is_best,
    }
    if isinstance(stride, int):
        row["documents_per_cycle"] = documents_per_cycle(model.hit_rate, stride)
        row["cycle_s"] = cycle_s(model, stride)
        row["renewal_s"] = renewal_s(model, stride)
        row["request_s"] = request_s(model, stride)
    return row


def _stride(one: Stride) -> Stride:
    if isinstance(one, int) or one == OS3:
        return one
    if one.isdecimal() and len(one) < 6:
        return int(one)
    raise InputError(f"`stride` {printable(one, 40)}: expected 1 to {MAX_STRIDE}, or os3")


def _notes(model: SpeculativeRetrieval) -> list[str]:
    notes = ["hits are independent with the same chance; times do not vary"]
    if model.is_async:
        notes.append("the overlap is ideal, as in the paper's own asynchronous rows: an upper bound")
    return notes
