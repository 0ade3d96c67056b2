"""What ``joint`` believes: acceptance by the draft's signals, how it goes on along a draft, how requests
differ.

Probabilities are logits here. A code of a head's law is its group << GROUP_SHIFT | the level of its logit;
the code of a token with its law is the level alone (``encode_logit``).
"""

from typing import Any

import numpy as np
from numba import types
from numpy.typing import ArrayLike, NDArray

from svsim.compiled import compiled
from svsim.decoding.beliefs import BinnedBelief, Signal, grid_codes, quantile_cells

NUM_GROUPS = 4  # of draft entropy
GROUP_SHIFT = 12
LOGIT_STEP, LEAST_LOGIT = 1 / 256, -8.0
_NUM_LOGITS = 1 << GROUP_SHIFT
_LEAST_PROB, _MOST_PROB = 0.005, 0.995
# of the filter: variances of the request's slow and fast offset, and how much of the fast one a token keeps
VARIANCES, KEPT = (0.0, 0.1, 0.2, 0.4, 0.8), (0.6, 0.8, 0.9, 0.95)
NUM_GAINS = 128  # tokens of a request after which its filter stands still
GAIN_SLOW, GAIN_FAST, SCALE = range(3)  # columns of ``gains_``
_MOST_WALKED = 20_000  # tokens that the filter is fitted on
_WALK_LENGTH = 4  # as sd:k=4 would
_NEWTON_STEPS = 2
# what a token of a walk is, beside the bits of its outcome
REJECTED, ACCEPTED, UNSEEN, _STARTS = 0, 1, 2, 4

_numba: Any = types  # it has no types of its own
_THREE_FLOATS = _numba.UniTuple(types.float64, 3)

Floats = NDArray[np.float64]


def logit(prob: ArrayLike) -> Floats:
    """Logits of probabilities, cut to what a belief may say."""
    p = np.clip(np.asarray(prob, np.float64), _LEAST_PROB, _MOST_PROB)
    found: Floats = np.log(p) - np.log1p(-p)
    return found


def encode_logit(values: ArrayLike) -> NDArray[np.uint16]:
    """Levels of logits, uint16, same shape (rounded)."""
    levels = np.rint((np.asarray(values) - LEAST_LOGIT) / LOGIT_STEP)
    return np.asarray(np.clip(levels, 0, _NUM_LOGITS - 1), np.uint16)


def decode_logit(codes: ArrayLike) -> Floats:
    """The logits that codes stand for."""
    levels = np.asarray(codes, np.int64) & (_NUM_LOGITS - 1)
    return np.asarray(levels * LOGIT_STEP + LEAST_LOGIT, np.float64)


class OffsetBelief:
    """P(accepted | entropy) of a head and P(accepted | entropy, q(x)) of a token, for any request; then, of
    one request, an offset of their logits that its own tokens tell.

    Learnt: ``alone_`` (64 quantiles of the entropy), ``seen_`` (16 x 17 cells), ``group_of_`` code of the
    entropy, ``group_logit_`` [NUM_GROUPS], ``next_group_`` [NUM_GROUPS + 1, NUM_GROUPS]: law of the next
    token's group given the last one's (last row: at the start of a draft), ``filter_``: variances of the
    slow and the fast part of the offset, the share of the fast one that a token keeps, the bias of every
    logit; ``gains_`` [NUM_GAINS, 3]: after so many tokens of a request, what an error moves either part by,
    and the factor on logits of an uncertain offset.
    """

    needs_profile = True
    signals = ("draft_entropy", "draft_prob")

    def fit(self, signals: tuple[Signal, ...], accept_prob: NDArray[np.float32]) -> "OffsetBelief":
        """Learn the tables; tokens follow one another by chance until ``fit_chains``."""
        entropy = signals[0]
        self.alone_ = BinnedBelief(("draft_entropy",), num_rows=64).fit((entropy,), accept_prob)
        self.seen_ = BinnedBelief(self.signals).fit(signals, accept_prob)
        codes = grid_codes(np.exp(-entropy))
        self.group_of_ = quantile_cells(codes, NUM_GROUPS)
        group, believed = self.group_of_[codes], logit(self.alone_.predict((entropy,)))
        count = np.bincount(group, minlength=NUM_GROUPS)
        self.group_logit_ = np.bincount(group, believed, minlength=NUM_GROUPS) / np.maximum(count, 1)
        self.next_group_ = np.tile((count + 1.0) / (count + 1.0).sum(), (NUM_GROUPS + 1, 1))
        self.num_tokens_ = len(codes)
        self.filter_ = (0.2, 0.2, 0.9, 0.0)
        self.gains_ = filter_gains(*self.filter_[:3], _spread(self.seen_.predict(signals)))
        return self

    def fit_chains(
        self,
        signals: tuple[Signal, ...],
        num_accepted: NDArray[np.integer[Any]],
        first_position: NDArray[np.int64],
    ) -> None:
        """Learn the law of the next group, and the filter."""
        entropy = signals[0]
        if entropy.shape[1] > 1:
            on = num_accepted > 0
            here, there = (self.group_of_[grid_codes(np.exp(-entropy[on, d]))] for d in (0, 1))
            counts = np.ones((NUM_GROUPS, NUM_GROUPS))
            np.add.at(counts, (here, there), 1.0)
            self.next_group_[:NUM_GROUPS] = counts / counts.sum(axis=1, keepdims=True)
        rows, depths, outcomes = _walk(num_accepted, first_position, min(_WALK_LENGTH, entropy.shape[1]))
        prob = self.seen_.predict(tuple(s[rows, depths] for s in signals))
        self.filter_, self.gains_ = _best_filter(logit(prob), outcomes, _spread(prob))

    @property
    def constants(self) -> tuple[float, ...]:
        """What a token keeps of the fast offset, the bias, then ``group_logit_``, ``next_group_``,
        ``gains_``."""
        tables = self.group_logit_, self.next_group_, self.gains_
        return (*self.filter_[2:], *(float(value) for table in tables for value in table.ravel()))

    def codes(self, signals: tuple[Signal, ...]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """Codes of heads' laws and of the tokens with their laws, uint16 [T, K] each."""
        group = self.group_of_[grid_codes(np.exp(-signals[0]))].astype(np.uint16)
        alone = encode_logit(logit(self.alone_.predict(signals[:1])))
        law = np.asarray(group << GROUP_SHIFT | alone, np.uint16)
        return law, encode_logit(logit(self.seen_.predict(signals)))

    def predict(self, signals: tuple[Signal, ...]) -> NDArray[np.float32]:
        """Believed acceptance probability of tokens that were looked at, of a request like any other."""
        return self.seen_.predict(signals)

    def survival(self, signals: tuple[Signal, ...]) -> NDArray[np.float32]:
        """Its product up to each depth, float32 [T, K]."""
        return np.cumprod(self.predict(signals), axis=1, dtype=np.float32)


def _walk(
    num_accepted: NDArray[np.integer[Any]], first_position: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The tokens that steps of k drafts reach along the requests: row, depth and outcome of each.

    The outcome is REJECTED, ACCEPTED, or UNSEEN of a bonus token; + _STARTS for the first of a request.
    """
    accepted = num_accepted.tolist()
    found: list[tuple[int, int, int]] = []
    for first, end in zip(first_position[:-1].tolist(), first_position[1:].tolist(), strict=True):
        row, starts = first, _STARTS
        while row < end and len(found) < _MOST_WALKED:
            kept = min(accepted[row], k)
            for d in range(kept + 1):
                outcome = ACCEPTED if d < kept else REJECTED if kept < k else UNSEEN
                found.append((row, min(d, k - 1), outcome + starts))
                starts = 0
            row += kept + 1
    rows, depths, outcomes = np.array(found, np.int64).reshape(-1, 3).T.copy()
    return rows, depths, outcomes


def _spread(prob: ArrayLike) -> float:
    """Mean variance of the outcomes."""
    p = np.asarray(prob, np.float64)
    return float(np.mean(p * (1.0 - p))) if p.size else 0.25


def filter_gains(slow: float, fast: float, kept: float, spread: float) -> Floats:
    """Gains and scale of a request's filter after 0, 1, ... tokens, float64 [NUM_GAINS, 3].

    The Kalman filter of a logit offset, slow + fast, whose tokens tell ``spread`` each: the variances then
    depend on their number alone. kept: share of the fast part that a token keeps.
    """
    gains, keep = np.zeros((NUM_GAINS, 3)), np.array([1.0, kept])
    variance, drift = np.diag([slow, fast]), np.diag([0.0, (1.0 - kept**2) * fast])
    for row in gains:
        variance = variance * np.outer(keep, keep) + drift
        of_parts = variance.sum(axis=1)
        row[SCALE] = 1.0 / np.sqrt(1.0 + np.pi / 8.0 * of_parts.sum())
        row[:SCALE] = of_parts / (1.0 + spread * of_parts.sum())
        variance = variance - spread * np.outer(of_parts, row[:SCALE])
    return gains


@compiled(
    _THREE_FLOATS(types.float64[::1], types.int64[::1], types.float64[:, ::1], types.float64, types.float64)
)
def walk_loss(logits, outcomes, gains, kept, bias):  # type: ignore[no-untyped-def]
    """Log loss of the filter along a walk, and its first and second derivative in the bias (offsets held).

    logits, outcomes: [N] of ``_walk``'s tokens; gains: ``filter_gains``; kept: as there.
    """
    loss, first, second, slow, fast, seen = 0.0, 0.0, 0.0, 0.0, 0.0, 0
    for t in range(logits.size):
        if outcomes[t] & _STARTS:
            slow, fast, seen = 0.0, 0.0, 0
        fast *= kept
        outcome = outcomes[t] & ~_STARTS
        if outcome == UNSEEN:
            continue
        scale = gains[seen, SCALE]
        p = 1.0 / (1.0 + np.exp(-scale * (logits[t] + slow + fast + bias)))
        error = outcome - p
        loss -= np.log(p) if outcome == ACCEPTED else np.log(1.0 - p)
        first -= scale * error
        second += scale * scale * p * (1.0 - p)
        slow += gains[seen, GAIN_SLOW] * error
        fast += gains[seen, GAIN_FAST] * error
        seen = min(seen + 1, gains.shape[0] - 1)
    return loss, first, second


def _best_filter(
    logits: Floats, outcomes: NDArray[np.int64], spread: float
) -> tuple[tuple[float, float, float, float], Floats]:
    """The filter of least loss along a walk, and its gains: the first of equals in the order of the grids."""
    best, found = np.inf, ((0.0, 0.0, KEPT[0], 0.0), filter_gains(0.0, 0.0, KEPT[0], spread))
    for slow in VARIANCES:
        for fast in VARIANCES:
            for kept in KEPT if fast > 0.0 else KEPT[:1]:
                gains, bias = filter_gains(slow, fast, kept, spread), 0.0
                for _ in range(_NEWTON_STEPS):
                    _, first, second = walk_loss(logits, outcomes, gains, kept, bias)
                    bias -= first / second if second > 0.0 else 0.0
                loss = walk_loss(logits, outcomes, gains, kept, bias)[0]
                if loss < best:
                    best, found = loss, ((slow, fast, kept, bias), gains)
    return found
