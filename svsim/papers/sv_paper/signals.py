"""Tables 1 and 8 on recorded traces: what S and A tell, by resolution, and how S follows the target overlap.

The paper's models are not at hand, so only the shape is comparable: does the gain grow with the number of
cells, and how much of the entropy of X does it remove? The paper does not say how X is binned; several
numbers of bins are shown, and none is called the paper's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from svsim.errors import InputError
from svsim.metrics.information import PAPER_CELLS
from svsim.random_streams import RandomStreams
from svsim.speculation_math import discretized_information_gain_bits
from svsim.trace.file import load_trace
from svsim.trace.measurement import correlation
from svsim.trace.token_trace import TokenTrace

X_BINS = (4, 5, 10)
SIGNALS = ("similarity", "companion_accept")
CELLS = tuple(cells if isinstance(cells, str) else f"{cells}x{cells}" for cells in PAPER_CELLS)


@dataclass(frozen=True, slots=True)
class Resolution:
    """I(X; S, A) at every number of cells of ``CELLS``: plug-in, and less its value after shuffling."""

    num_x_bins: int
    entropy_bits: float
    raw_bits: tuple[float, ...]
    corrected_bits: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TraceSignals:
    """One trace, one token per output position."""

    file: str
    acceptance_kind: str
    models: str
    num_tokens: int
    is_greedy: bool
    mean_acceptance: float
    overlap_correlation: float | None
    resolutions: tuple[Resolution, ...]

    def rises(self, num_x_bins: int) -> bool:
        """Whether the corrected gain never falls from one resolution to the next finer one."""
        found = next(r for r in self.resolutions if r.num_x_bins == num_x_bins)
        return bool((np.diff(found.corrected_bits) >= 0).all())


def signals_of_files(files: Sequence[Path], seed: int = 0, *, skip: bool = True) -> tuple[TraceSignals, ...]:
    """Every file; one without S, A and the target's columns is left out, or without ``skip`` an error."""
    found = []
    for file in files:
        try:
            trace = load_trace(file, signals=SIGNALS, target_columns=("accept_prob", "target_overlap"))
        except InputError:
            if not skip:
                raise
            continue
        found.append(signals_of(trace, file.name, seed))
    return tuple(found)


def signals_of(trace: TokenTrace, file: str, seed: int = 0) -> TraceSignals:
    """The depth-1 column of a trace."""
    assert trace.target.accept_prob is not None and trace.target.target_overlap is not None
    s, companion = (trace.observable.signals[name][:, 0].astype(np.float64) for name in SIGNALS)
    a = trace.target.accept_prob[:, 0].astype(np.float64)
    models = trace.metadata.models
    names = (str(models.get(role, {}).get("name", role)) for role in ("draft", "companion", "target"))
    resolutions = []
    for bins in X_BINS:
        generator = RandomStreams(seed).generator("shuffles of table 1", bins)
        gains = [
            discretized_information_gain_bits(
                a, s, companion, num_x_bins=bins, num_signal_bins=cells, generator=generator
            )
            for cells in PAPER_CELLS
        ]
        resolutions.append(
            Resolution(
                bins,
                gains[0].entropy_bits,
                tuple(g.raw_bits for g in gains),
                tuple(g.corrected_bits for g in gains),
            )
        )
    return TraceSignals(
        file=file,
        acceptance_kind=trace.metadata.acceptance_kind,
        models=" / ".join(names),
        num_tokens=len(a),
        is_greedy=trace.metadata.is_greedy,
        mean_acceptance=float(a.mean()),
        overlap_correlation=correlation(s, trace.target.target_overlap[:, 0]),
        resolutions=tuple(resolutions),
    )
