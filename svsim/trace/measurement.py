"""What a trace looks like: the observables that ``SyntheticSettings`` asks for, measured.

It reads any trace; quantities of columns the trace lacks are None.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.random_streams import RandomStreams
from svsim.speculation_math import (
    CellGrid,
    Floats,
    Ints,
    discretized_information_gain_bits,
    information_ceiling_bits,
    information_gain_bits,
    survival,
)
from svsim.trace.token_trace import TokenTrace

MIN_POSITIONS_FOR_SPREAD = 9  # a request's first and last third hold at least 3 positions


@dataclass(frozen=True, slots=True)
class SyntheticMeasurement:
    """Observables of a trace, named and defined as in ``SyntheticSettings``; pooled over tasks.

    acceptance                  mean accept_prob of the depth-1 column.
    acceptance_by_depth         conditional acceptances r_1..r_K over all output positions.
    verified_acceptance         accepted/verified of SD(K) over the positions its steps start at.
    information_gain_bits       held out: learnt on every other request, judged on the rest, both ways.
    information_ceiling_bits    the same with a itself as the belief.
    paper_gain_bits             I(X; S, A), 10 bins of a, 10 x 10 cells, shuffle-corrected.
    """

    num_requests: int
    num_positions: int
    acceptance: float | None
    acceptance_by_task: Mapping[str, float] | None
    acceptance_by_depth: tuple[float, ...] | None
    verified_acceptance: float
    verified_acceptance_by_task: Mapping[str, float]
    request_spread: float | None
    burstiness: float | None
    drift: float | None
    wrong_prefix_decay: float | None
    information_gain_bits: float | None
    information_ceiling_bits: float | None
    paper_gain_bits: float | None
    overlap_correlation: float | None
    draft_entropy_nats: float | None

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def measure(trace: TokenTrace) -> SyntheticMeasurement:
    """The observables of ``trace``; quantities of one token per position read its depth-1 column."""
    names = trace.tasks or ("all",) * trace.num_requests
    labels, task = np.unique(names, return_inverse=True)
    rows_task = np.repeat(task, trace.num_output_tokens)
    starts = visited_starts(trace.target.num_accepted, trace.first_position)
    verified = trace.target.num_accepted[starts] / trace.num_speculative_tokens
    fields: dict[str, Any] = dict.fromkeys(SyntheticMeasurement.__dataclass_fields__)
    fields |= {
        "num_requests": trace.num_requests,
        "num_positions": trace.num_positions,
        "verified_acceptance": float(verified.mean()),
        "verified_acceptance_by_task": _mean_by(labels, rows_task[starts], verified),
    }
    if trace.target.accept_prob is not None:
        fields |= _measure_target(trace, trace.target.accept_prob, labels, rows_task)
    signals = trace.observable.signals
    if "draft_entropy" in signals:
        fields["draft_entropy_nats"] = float(signals["draft_entropy"][:, 0].mean(dtype=np.float64))
    if "similarity" in signals and trace.target.target_overlap is not None:
        fields["overlap_correlation"] = correlation(
            signals["similarity"][:, 0], trace.target.target_overlap[:, 0]
        )
    if {"similarity", "companion_accept"} <= set(signals) and trace.target.accept_prob is not None:
        columns = (trace.target.accept_prob, signals["similarity"], signals["companion_accept"])
        a, s, companion = (column[:, 0].astype(np.float64) for column in columns)
        fields["information_gain_bits"] = held_out_gain_bits(a, s, companion, trace.first_position)
        fields["information_ceiling_bits"] = information_ceiling_bits(a)
        fields["paper_gain_bits"] = paper_gain_bits(a, s, companion)
    return SyntheticMeasurement(**fields)


def _measure_target(
    trace: TokenTrace, accept_prob: NDArray[np.float32], labels: NDArray[Any], rows_task: Ints
) -> dict[str, Any]:
    first, a = trace.first_position, accept_prob[:, 0].astype(np.float64)
    around_task = a - (np.bincount(rows_task, a) / np.bincount(rows_task))[rows_task]
    variance_between = between_request_variance(around_task, first)
    return {
        "acceptance": float(a.mean()),
        "acceptance_by_task": _mean_by(labels, rows_task, a),
        "acceptance_by_depth": tuple(conditional_acceptance(accept_prob).tolist()),
        "request_spread": None if variance_between is None else float(np.sqrt(max(variance_between, 0.0))),
        "burstiness": burstiness(around_task, first, variance_between or 0.0),
        "drift": slope_along_output(a, first),
        "wrong_prefix_decay": wrong_prefix_decay(accept_prob, trace.target.num_accepted, first),
    }


def _mean_by(labels: NDArray[Any], index: Ints, values: Floats) -> dict[str, float]:
    means = np.bincount(index, values, len(labels)) / np.maximum(np.bincount(index, minlength=len(labels)), 1)
    return {str(label): float(mean) for label, mean in zip(labels, means, strict=True)}


def conditional_acceptance(accept_prob: NDArray[Any]) -> Floats:
    """r_d = P(depth d accepted | all before it), float64 [K], from accept_prob [T, K]."""
    reached = np.concatenate([[1.0], survival(accept_prob).mean(axis=0)])
    conditional: Floats = reached[1:] / reached[:-1]
    return conditional


def visited_starts(num_accepted: NDArray[Any], first_position: Ints) -> Ints:
    """Rows where the steps of SD(K) start: from position 0, num_accepted + 1 further each time."""
    at, stop = first_position[:-1], first_position[1:]
    visited: list[Ints] = []
    while True:
        alive = at < stop
        at, stop = at[alive], stop[alive]
        if not len(at):
            return np.sort(np.concatenate(visited))
        visited.append(at)
        at = at + num_accepted[at].astype(np.int64) + 1


def between_request_variance(around_task: Floats, first_position: Ints) -> float | None:
    """Variance of the requests' true means: covariance of their first and last third's means.

    Thirds, so that what is left of the autocorrelation between the two is small.
    """
    lengths = np.diff(first_position)
    long = np.flatnonzero(lengths >= MIN_POSITIONS_FOR_SPREAD)
    if len(long) < 2:
        return None
    sums = np.concatenate([[0.0], np.cumsum(around_task)])
    start, stop, third = first_position[long], first_position[long + 1], lengths[long] // 3
    head = (sums[start + third] - sums[start]) / third
    tail = (sums[stop] - sums[stop - third]) / third
    weights = lengths[long] / lengths[long].sum()
    return float((weights * (head - weights @ head) * (tail - weights @ tail)).sum())


def lag_one_covariance(around_task: Floats, first_position: Ints) -> float:
    """Mean product of neighbours inside a request."""
    is_last = np.zeros(len(around_task), np.bool_)
    is_last[first_position[1:] - 1] = True
    products = around_task[:-1] * around_task[1:]
    pairs = ~is_last[:-1]
    return float(products[pairs].mean()) if pairs.any() else 0.0


def burstiness(around_task: Floats, first_position: Ints, variance_between: float) -> float | None:
    """Lag-1 autocorrelation around the requests' own means."""
    within = float(around_task.var()) - variance_between
    if within <= 1e-9:
        return None
    return (lag_one_covariance(around_task, first_position) - variance_between) / within


def slope_along_output(a: Floats, first_position: Ints) -> float | None:
    """Least-squares change of ``a`` from the first to the last position of a request."""
    lengths = np.diff(first_position)
    place = (np.arange(len(a)) - np.repeat(first_position[:-1], lengths)) / np.repeat(
        np.maximum(lengths - 1, 1), lengths
    )
    place = np.where(np.repeat(lengths, lengths) > 1, place - 0.5, 0.0)
    square = float((place * place).sum())
    return float((place * a).sum()) / square if square > 0 else None


def wrong_prefix_decay(
    accept_prob: NDArray[Any], num_accepted: NDArray[Any], first_position: Ints
) -> float | None:
    """1 - mean a of tokens after a chain's first rejected one / mean a at depth 1 of the same positions."""
    num_rows, k = accept_prob.shape
    last_row = np.repeat(first_position[1:], np.diff(first_position)) - 1
    row = np.arange(num_rows)
    wrong = true = 0.0
    for depth in range(2, k + 1):
        rows = row[(num_accepted < depth - 1) & (row + depth - 1 <= last_row)]
        wrong += float(accept_prob[rows, depth - 1].sum(dtype=np.float64))
        true += float(accept_prob[rows + depth - 1, 0].sum(dtype=np.float64))
    return 1.0 - wrong / true if true > 0 else None


def correlation(x: NDArray[Any], y: NDArray[Any]) -> float | None:
    """Pearson correlation, None where one of them is constant."""
    dx, dy = x - x.mean(dtype=np.float64), y - y.mean(dtype=np.float64)
    scale = float(np.sqrt((dx * dx).sum() * (dy * dy).sum()))
    return float((dx * dy).sum()) / scale if scale > 0 else None


def held_out_gain_bits(a: Floats, s: Floats, companion: Floats, first_position: Ints) -> float:
    """Information gain of a cell belief about acceptance, cross-fitted over alternate requests."""
    lengths = np.diff(first_position)
    fold = np.repeat(np.arange(len(lengths)) % 2, lengths)
    if fold.max(initial=0) == 0:
        fold = np.arange(len(a)) % 2
    belief = np.empty(len(a))
    for judged in (0, 1):
        learn, test = fold != judged, fold == judged
        belief[test] = cell_belief(a[learn], s[learn], companion[learn], s[test], companion[test])
    return information_gain_bits(a, belief)


def cell_belief(a: Floats, s: Floats, companion: Floats, s_new: Floats, companion_new: Floats) -> Floats:
    """Mean a in 12 x 9 cells of equal counts, each shrunk to its S row by ten observations."""
    grid = CellGrid.of_equal_counts(s, companion, 12, 9)
    cells = grid.cell_of(s, companion)
    count = np.bincount(cells, minlength=grid.num_cells).reshape(-1, 9)
    total = np.bincount(cells, a, minlength=grid.num_cells).reshape(-1, 9)
    mean = a.mean()
    row = (total.sum(1, keepdims=True) + 10 * mean) / (count.sum(1, keepdims=True) + 10)
    table = np.clip((total + 10 * row) / (count + 10), 1e-6, 1 - 1e-6)
    belief: Floats = table.ravel()[grid.cell_of(s_new, companion_new)]
    return belief


def paper_gain_bits(a: Floats, s: Floats, companion: Floats) -> float:
    """I(X; S, A) with 10 bins of a and 10 x 10 equal cells, shuffle-corrected (arXiv 2509.24328)."""
    generator = RandomStreams(0).generator("shuffle of the information gain")
    gain = discretized_information_gain_bits(
        a, s, companion, num_x_bins=10, num_signal_bins=10, generator=generator, num_shuffles=2
    )
    return gain.corrected_bits
