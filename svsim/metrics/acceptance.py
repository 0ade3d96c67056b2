"""How acceptance lies in a trace: by depth, by fixed length, along the output.

Two averages that differ. Over *all positions*: what a step would meet that may start anywhere. Over
the *starts that a fixed length visits* (position 0, then accepted + 1 further each time): what its
steps do meet, because long accepted runs are jumped over; tokens per step are of this kind.
"""

from dataclasses import dataclass

import numpy as np

from svsim.metrics.request_sums import Estimate, RequestSums, request_of_rows
from svsim.speculation_math import Floats, Ints, survival
from svsim.trace.measurement import between_request_variance, visited_starts
from svsim.trace.token_trace import TokenTrace

NUM_LAGS = 10


@dataclass(frozen=True, slots=True)
class DepthAcceptance:
    """Acceptance at one depth, over all positions.

    conditional   P(depth accepted | all before it accepted).
    cumulative    P(this depth and all before it accepted): the survival.
    expected_*    the same by ``accept_prob`` instead of the recorded coins, None without it.
    """

    depth: int
    num_reached: int
    conditional: float | None
    cumulative: float
    expected_conditional: float | None
    expected_cumulative: float | None


@dataclass(frozen=True, slots=True)
class FixedLength:
    """SD(k) over the starts it visits, recorded coins.

    Acceptance length counts the bonus or recovered token (vLLM) and is not cut at a request's end;
    ``rejected_share``: of the verified tokens, those after and with the first rejected.
    """

    k: int
    num_steps: int
    mean_acceptance_length: Estimate
    verified_acceptance_rate: Estimate
    rejected_share: Estimate


@dataclass(frozen=True, slots=True)
class LagCorrelation:
    """Autocorrelation of depth-1 acceptance ``lag`` output positions apart, inside requests.

    total    around the trace's mean: requests that differ count as correlation.
    within   around each request's own mean: stretches of a text only; None where it is undefined.
    """

    lag: int
    total: float | None
    within: float | None


def acceptance_by_depth(trace: TokenTrace) -> tuple[DepthAcceptance, ...]:
    """Conditional and cumulative acceptance at depths 1..K over all positions."""
    accepted, k = trace.target.num_accepted, trace.num_speculative_tokens
    counts = np.bincount(accepted, minlength=k + 1)
    reached = counts[::-1].cumsum()[::-1]  # positions with at least d accepted, d = 0..K
    expected = None
    if trace.target.accept_prob is not None:
        expected = np.concatenate([[1.0], survival(trace.target.accept_prob).mean(axis=0)])
    return tuple(
        DepthAcceptance(
            depth=d,
            num_reached=int(reached[d - 1]),
            conditional=_ratio(reached[d], reached[d - 1]),
            cumulative=float(reached[d] / reached[0]),
            expected_conditional=None if expected is None else _ratio(expected[d], expected[d - 1]),
            expected_cumulative=None if expected is None else float(expected[d]),
        )
        for d in range(1, k + 1)
    )


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0 else None


def fixed_length(trace: TokenTrace, k: int, seed: int) -> FixedLength:
    """What SD(k) would do on every request."""
    accepted = np.minimum(trace.target.num_accepted, k)
    starts = visited_starts(accepted, trace.first_position)
    request = request_of_rows(trace.first_position)[starts]
    columns = {"steps": np.ones(len(starts)), "accepted": accepted[starts].astype(np.float64)}
    sums = RequestSums(columns, request, trace.num_requests, seed)
    names = tuple(columns)
    return FixedLength(
        k,
        len(starts),
        sums.estimate(names, lambda steps, accepted: 1 + accepted / steps),
        sums.estimate(names, lambda steps, accepted: accepted / (k * steps)),
        sums.estimate(names, lambda steps, accepted: 1 - accepted / (k * steps)),
    )


def law_of_emitted(trace: TokenTrace, k: int) -> Floats:
    """P(a step of SD(k) emits n tokens), n = 0..k + 1, float64 [k + 2]; a request's last step is cut."""
    accepted = np.minimum(trace.target.num_accepted, k).astype(np.int64)
    starts = visited_starts(accepted, trace.first_position)
    left = trace.first_position[1:][request_of_rows(trace.first_position)[starts]] - starts
    emitted = np.minimum(accepted[starts] + 1, left)
    return np.asarray(np.bincount(emitted, minlength=k + 2) / len(starts))


def probability_below(law: Floats, num_sequences: int, least: float) -> float:
    """P(the sum of ``num_sequences`` independent counts of this law < ``least``)."""
    total = np.ones(1)
    for _ in range(num_sequences):
        total = np.convolve(total, law)
    return float(min(total[np.arange(len(total)) < least].sum(), 1.0))


def autocorrelation(a: Floats, first_position: Ints, task: Ints) -> tuple[LagCorrelation, ...]:
    """Lags 1..NUM_LAGS of depth-1 acceptance ``a`` [T]; ``task``: the task of each row, int64 [T].

    ``within`` takes the variance of the requests' true means (inside their task) off covariance and
    variance, so that centring on the mean of a short request does not bias it.
    """
    around_all = a - a.mean()
    around_task = a - (np.bincount(task, a) / np.maximum(np.bincount(task), 1))[task]
    between = between_request_variance(around_task, first_position)
    variance, inside = float(around_all.var()), float(around_task.var()) - (between or 0.0)
    found = []
    for lag in range(1, NUM_LAGS + 1):
        pairs = np.flatnonzero(_has_successor(first_position, lag))
        total = within = None
        if len(pairs) and variance > 1e-9:
            total = float((around_all[pairs] * around_all[pairs + lag]).mean()) / variance
        if len(pairs) and between is not None and inside > 1e-9:
            covariance = float((around_task[pairs] * around_task[pairs + lag]).mean())
            within = (covariance - between) / inside
        found.append(LagCorrelation(lag, total, within))
    return tuple(found)


def _has_successor(first_position: Ints, lag: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether a row has another one of its request ``lag`` positions later, bool [T]."""
    last = np.repeat(first_position[1:], np.diff(first_position)) - 1
    return np.asarray(np.arange(len(last)) + lag <= last)
