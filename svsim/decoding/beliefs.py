"""Acceptance beliefs: what a policy thinks the probability of acceptance is, from signals alone.

A belief is fitted on the depth-1 column of *profile* requests (true prefix, each token once) and
predicts for every drafted token of *other* requests. Fitting on deeper columns would learn from
tokens on a wrong prefix and count each token of a coherent chain several times.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.decoding.selection_rules import encode_survival
from svsim.errors import InputError
from svsim.trace.accept_histogram import HISTOGRAM, NUM_BINS

Signal = NDArray[np.float32]


class AcceptanceBelief(Protocol):
    """P(accepted | signals of the token). Learnt attributes end in ``_``."""

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the observable columns it reads, in the order of fit and predict."""
        ...

    @property
    def needs_profile(self) -> bool:
        """Whether it learns from profile requests; else ``fit`` changes nothing."""
        ...

    def fit(self, signals: tuple[Signal, ...], accept_prob: NDArray[np.float32]) -> "AcceptanceBelief":
        """Learn from signals [N] each and accept_prob [N] (a_d, or the coin 0/1); returns itself."""
        ...

    def predict(self, signals: tuple[Signal, ...]) -> NDArray[np.float32]:
        """Believed acceptance probability, the shape of the signals ([T, K])."""
        ...

    def survival(self, signals: tuple[Signal, ...]) -> NDArray[np.float32]:
        """Believed probability that a depth is reached and accepted, [T, K]; never increases with depth."""
        ...


@runtime_checkable
class CodedBelief(Protocol):
    """A belief for a rule that is asked before every draft pass: it speaks in codes, and learns from
    chains."""

    @property
    def constants(self) -> tuple[float, ...]:
        """What it has learnt for the rule beside the codes."""
        ...

    def fit_chains(
        self,
        signals: tuple[Signal, ...],
        num_accepted: NDArray[np.integer[Any]],
        first_position: NDArray[np.int64],
    ) -> None:
        """Learn from profile requests: signals [T, K] each, num_accepted [T]; request r begins at
        first_position [R + 1] r. After ``fit``."""
        ...

    def codes(self, signals: tuple[Signal, ...]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """Codes of heads' laws and of the tokens with their laws, uint16 [T, K] each."""
        ...


_GRID = 256  # signals are read to 8 bits; cell edges lie on this grid


def grid_codes(signal: Signal) -> NDArray[np.intp]:
    return np.minimum((np.asarray(signal) * np.float32(_GRID)).astype(np.intp), _GRID - 1)


def _code_pair(
    names: tuple[str, ...], signals: tuple[Signal, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Codes of one or two signals; a missing second one is 0 everywhere. Entropies H are read as exp(-H)."""
    first, *rest = (
        grid_codes(np.exp(-signal) if name.endswith("_entropy") else signal)
        for name, signal in zip(names, signals, strict=True)
    )
    return first, rest[0] if rest else np.zeros_like(first)


def quantile_cells(codes: NDArray[np.intp], num_cells: int) -> NDArray[np.intp]:
    """Cell number of every code 0 .. _GRID - 1: cells of about equal count, fewer where codes tie."""
    below = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=_GRID))[:-1]])
    cells = np.floor(below * num_cells / max(len(codes), 1)).astype(np.intp)
    return np.unique(np.minimum(cells, num_cells - 1), return_inverse=True)[1].astype(np.intp)


class BinnedBelief:
    """Mean acceptance in adaptive cells of two signals (SV's belief; arXiv 2509.24328, section 4).

    Rows are quantile bins of the first signal, columns quantile bins of the second within a row, so
    cells are finer where data is dense; the paper ends at 272 = 16 x 17 cells. A cell's mean is
    shrunk to its row's, a row's to the overall mean, as if each held ``prior_count`` extra tokens.
    With one signal there are rows only.
    """

    needs_profile = True

    def __init__(
        self,
        signals: tuple[str, ...] = ("similarity", "companion_accept"),
        num_rows: int = 16,
        num_columns: int = 17,
        prior_count: float = 16.0,
    ) -> None:
        self.signals = signals
        self.num_rows = num_rows
        self.num_columns = num_columns
        self.prior_count = prior_count

    def fit(self, signals: tuple[Signal, ...], accept_prob: NDArray[np.float32]) -> "BinnedBelief":
        """Learn ``table_`` (float32 [256, 256]) and ``num_cells_``."""
        first, second = _code_pair(self.signals, signals)
        accept = np.asarray(accept_prob, np.float64)
        if len(accept) == 0:
            raise InputError("the profile part holds no tokens to fit a belief on; raise `profile_split`")
        row_of = quantile_cells(first, self.num_rows)
        token_row = row_of[first]
        overall = float(accept.mean())
        table = np.empty((row_of.max() + 1, _GRID))
        self.num_cells_ = 0
        for row in range(len(table)):
            inside = token_row == row
            row_mean = self._shrunk(accept[inside].sum(), inside.sum(), overall)
            cell_of = quantile_cells(second[inside], self.num_columns)
            token_cell = cell_of[second[inside]]
            count = np.bincount(token_cell, minlength=cell_of.max() + 1)
            total = np.bincount(token_cell, accept[inside], minlength=cell_of.max() + 1)
            table[row] = self._shrunk(total, count, row_mean)[cell_of]
            self.num_cells_ += len(count)
        self.table_: NDArray[np.float32] = table[row_of].astype(np.float32)
        return self

    def _shrunk(self, total: ArrayLike, count: ArrayLike, prior: ArrayLike) -> NDArray[np.float64]:
        total, count, prior = np.asarray(total), np.asarray(count), np.asarray(prior)
        return np.asarray((total + self.prior_count * prior) / (count + self.prior_count), np.float64)

    def predict(self, signals: tuple[Signal, ...]) -> NDArray[np.float32]:
        """Believed acceptance probability of every token, float32, the shape of the signals."""
        return self.table_[_code_pair(self.signals, signals)]

    def survival(self, signals: tuple[Signal, ...]) -> NDArray[np.float32]:
        """Product of the beliefs up to each depth, float32 [T, K]."""
        return np.cumprod(self.predict(signals), axis=1, dtype=np.float32)


class SignalBelief:
    """A signal taken at its word: its value is the believed acceptance probability. Nothing is learnt."""

    needs_profile = False

    def __init__(self, signal: str) -> None:
        self.signals = (signal,)

    def fit(self, signals: tuple[Signal, ...], accept_prob: NDArray[np.float32]) -> "SignalBelief":
        """Itself."""
        return self

    def predict(self, signals: tuple[Signal, ...]) -> NDArray[np.float32]:
        """The signal, cut to [0, 1], float32."""
        return np.asarray(np.clip(signals[0], 0.0, 1.0), np.float32)

    def survival(self, signals: tuple[Signal, ...]) -> NDArray[np.float32]:
        """Product of the signal up to each depth, float32 [T, K]."""
        return np.cumprod(self.predict(signals), axis=1, dtype=np.float32)


class EntropyBound:
    """1 - sqrt(factor * H(q)), a lower bound of the acceptance probability; nothing is learnt.

    For a rule that looks at one token at a time: its ``survival`` is the bound itself, not a product.
    """

    needs_profile = False
    signals = ("draft_entropy",)

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def fit(self, signals: tuple[Signal, ...], accept_prob: NDArray[np.float32]) -> "EntropyBound":
        """Itself."""
        return self

    def predict(self, signals: tuple[Signal, ...]) -> NDArray[np.float32]:
        """The bound, at least 0, float32, the shape of the signals."""
        return np.asarray(np.maximum(1.0 - np.sqrt(self.factor * signals[0]), 0.0), np.float32)

    def survival(self, signals: tuple[Signal, ...]) -> NDArray[np.float32]:
        """The bound of each token, float32 [T, K]."""
        return self.predict(signals)


class CausalBelief:
    """What is believed of a token before anyone looks at it: from the tokens before it, and its own S.

    ``seen_``, a belief in (S, A), judges the tokens before depth d. The token at d is averaged over the
    draft's law, E_{x ~ q} P(S_d, A_d(x)): with ``histogram`` by the law of A under q that the capture
    recorded (shares of q whose A is in [b/8, (b+1)/8), columns ``companion_accept_bin_b``), else by the
    mean acceptance at S alone.
    """

    needs_profile = True

    def __init__(self, histogram: bool = False) -> None:
        self.histogram = histogram
        self.signals = ("similarity", "companion_accept", *(HISTOGRAM if histogram else ()))

    def fit(self, signals: tuple[Signal, ...], accept_prob: NDArray[np.float32]) -> "CausalBelief":
        """Learn ``seen_``, ``alone_`` (from S) and, with a histogram, ``binned_`` (from S and A's bin)."""
        similarity, companion_accept = signals[:2]
        self.seen_ = BinnedBelief().fit((similarity, companion_accept), accept_prob)
        self.alone_ = BinnedBelief(("similarity",), num_rows=64).fit((similarity,), accept_prob)
        if self.histogram:
            bins = np.minimum(np.floor(companion_accept * NUM_BINS), NUM_BINS - 1)
            middle = np.asarray((bins + 0.5) / NUM_BINS, np.float32)
            self.binned_ = BinnedBelief().fit((similarity, middle), accept_prob)
        return self

    def predict(self, signals: tuple[Signal, ...]) -> NDArray[np.float32]:
        """Believed acceptance probability of tokens not looked at, float32, the shape of the signals."""
        similarity, shares = signals[0], signals[2:]
        alone = self.alone_.predict((similarity,))
        if not self.histogram:
            return alone
        total, expected = np.zeros_like(alone), np.zeros_like(alone)
        for b, share in enumerate(shares):
            middle = np.full(similarity.shape, (b + 0.5) / NUM_BINS, np.float32)
            expected += share * self.binned_.predict((similarity, middle))
            total += share
        return np.divide(expected, total, out=alone, where=total > 0)

    def survival(self, signals: tuple[Signal, ...]) -> NDArray[np.float32]:
        """Probability to reach each depth, by tokens seen, times acceptance there, unseen; float32 [T, K].

        A token is admitted only after all before it, so it ranks no higher than the lowest of them.
        """
        unseen, seen = self.predict(signals), self.seen_.predict(signals[:2])
        unseen[:, 1:] *= np.cumprod(seen[:, :-1], axis=1, dtype=np.float32)
        return np.minimum.accumulate(unseen, axis=1)


def believed_survival(belief: AcceptanceBelief, signals: tuple[Signal, ...]) -> NDArray[np.uint16]:
    """Encoded survival of every drafted token, uint16 [T, K]."""
    return encode_survival(belief.survival(signals))
