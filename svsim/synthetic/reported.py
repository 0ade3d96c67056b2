"""Acceptance as engines report it, and what it can mean for other numbers of draft tokens.

Words
-----
rates               r_d, d = 1..k: the share of decoding steps whose first d draft tokens were all accepted
                    (cumulative, counted at the starts of the steps that ran, with the k that ran). vLLM
                    exports them as accepted tokens per position / drafts.
mean acceptance length   1 + r_1 + ... + r_k: tokens per step, the bonus token included.
means only          the mean acceptance length is known, the rates are not: a stated *shape* spreads it.

Other k. What a step with k' draft tokens would have accepted is not in such numbers. ``at`` says what
is assumed (steps are alike: the first tokens of a chain are accepted as before, deeper ones as the last
known one), and the least and the most that the numbers leave room for:

* k' < k, low: as assumed. High: all text is of one kind for long; where n of k tokens are accepted, they
  always are. Shorter drafts then take more of their steps in easy text: with p_n = r_n - r_(n+1),
  the share of steps in text of kind n is proportional to p_n (n + 1)/(min(n, k') + 1).
* k' > k, low: no token beyond the k-th is ever accepted. High: none is ever rejected.
* where rates are unknown, their sum is spread evenly (the least for shorter drafts, the most for longer ones)
  or put as far forward as it goes (the most for shorter drafts).
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from svsim.errors import InputError, printable
from svsim.limits import MAX_SPECULATIVE_TOKENS

Assumption = Literal["low", "assumed", "high"]
Floats = NDArray[np.float64]

ROUNDING = 0.0051  # of a rate printed with two decimals
DEFAULT_SHAPE = "constant"
SHAPES = "constant | decay:RATIO | even | front"


@dataclass(frozen=True, slots=True)
class AcceptanceProfile:
    """Cumulative acceptance rates of k draft tokens at step starts.

    rates: r_1..r_k in [0, 1], never rising. num_known: how many of them were reported; the others follow
    from a shape and the mean acceptance length. Raises InputError for other rates.
    """

    rates: tuple[float, ...]
    num_known: int | None = None

    def __post_init__(self) -> None:
        k = len(self.rates)
        if not 1 <= k <= MAX_SPECULATIVE_TOKENS:
            raise InputError(
                f"acceptance by position: {k} rates, expected 1 to {MAX_SPECULATIVE_TOKENS}; one per draft "
                "token, as .72/.51/.36"
            )
        before = 1.0
        for depth, rate in enumerate(self.rates, start=1):
            if not 0.0 <= rate <= 1.0:
                hint = "are they percentages? divide by 100" if 1 < rate <= 100 else "mend it"
                raise InputError(
                    f"acceptance by position: the rate at position {depth} is {rate:g}, expected 0 to 1; "
                    f"{hint}"
                )
            if rate > before + 1e-12:
                raise InputError(
                    f"acceptance by position: the rate rises from {before:g} to {rate:g} at position "
                    f"{depth}, "
                    "expected cumulative rates that never rise; conditional ones are multiplied up first"
                )
            before = rate

    @property
    def k(self) -> int:
        """Draft tokens of a step."""
        return len(self.rates)

    @property
    def mean_acceptance_length(self) -> float:
        """Tokens per step, the bonus token included."""
        return 1.0 + sum(self.rates)

    @property
    def conditional(self) -> tuple[float, ...]:
        """Acceptance of the d-th token where the d - 1 before it were accepted; 0 where none ever is."""
        before = (1.0, *self.rates[:-1])
        return tuple(r / b if b > 0 else 0.0 for r, b in zip(self.rates, before, strict=True))

    @property
    def is_constant(self) -> bool:
        """Whether every token is accepted alike: then a deeper token may be a later first one."""
        first = self.rates[0]
        return all(abs(r - first**d) < 1e-9 for d, r in enumerate(self.rates, start=1))

    def at(self, k: int, assumption: Assumption = "assumed") -> "AcceptanceProfile":
        """The profile that steps of k draft tokens would have, under that assumption (see the module)."""
        if k == self.k:
            return self
        if k < self.k:
            known = self._spread(assumption)
            rates = known[:k] if assumption != "high" else _persistent(known, k)
            return AcceptanceProfile(tuple(map(float, rates)), min(k, self._num_known))
        # what lies late in the chain is what deeper tokens go on from
        known = self._spread("low" if assumption == "high" else assumption)
        last = float(known[-1])
        step = {"low": 0.0, "assumed": self.conditional[-1], "high": 1.0}[assumption]
        deeper = last * step ** np.arange(1, k - self.k + 1)
        return AcceptanceProfile((*map(float, known), *map(float, deeper)), self._num_known)

    @property
    def _num_known(self) -> int:
        return self.k if self.num_known is None else self.num_known

    def _spread(self, assumption: Assumption) -> Floats:
        """The rates, with what is unknown at its least or most favourable for shorter drafts."""
        rates, known = np.array(self.rates), self._num_known
        if assumption == "assumed" or known == self.k:
            return rates
        cap = float(rates[known - 1]) if known else 1.0
        rest = float(rates[known:].sum())
        rates[known:] = (
            _even(rest, self.k - known) if assumption == "low" else _front(rest, self.k - known, cap)
        )
        return rates

    def drafting(self, share: float) -> "AcceptanceProfile":
        """The profile over all steps where only this share drafted anything, and these rates are of those."""
        if not 0.0 <= share <= 1.0:
            raise InputError(f"`proposal_share` {share:g} is out of range; expected 0 to 1")
        return self if share == 1.0 else replace(self, rates=tuple(share * rate for rate in self.rates))

    def assumption(self, k: int) -> str:
        """What steps of another k are taken to be, in words, with the least and the most they may be."""
        low, assumed, high = (self.at(k, word).mean_acceptance_length for word in ("low", "assumed", "high"))
        taken = "the same first tokens are accepted" if k < self.k else "deeper tokens are as the last one"
        return f"{taken}, an acceptance length of {assumed:.2f} ({low:.2f} to {high:.2f})"

    def assumptions(self) -> str:
        """What a trace of these rates takes other k to be, in a line."""
        others = [k for k in (self.k // 2, self.k + 2) if 1 <= k <= MAX_SPECULATIVE_TOKENS]
        told = "; ".join(f"k = {k}: {self.assumption(k)}" for k in others)
        return f"other k than {self.k} are assumptions: {told}; all in other_k of the trace's metadata"

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "k": self.k,
            "rates_at_step_starts": list(self.rates),
            "num_known_rates": self._num_known,
            "mean_acceptance_length": self.mean_acceptance_length,
        }


def profile_of_rates(rates: tuple[float, ...], where: str) -> AcceptanceProfile:
    """The profile of reported rates; what rises by no more than rounding is levelled.

    Raises InputError beginning with ``where``.
    """
    values = np.array(rates, np.float64)
    lowest = np.minimum.accumulate(values) if len(values) else values
    if len(values) and (values - lowest).max() <= ROUNDING:
        values = lowest
    try:
        return AcceptanceProfile(tuple(map(float, values)))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def profile_of_mean(
    mean_acceptance_length: float,
    k: int,
    where: str,
    shape: str = DEFAULT_SHAPE,
    known: tuple[float, ...] = (),
) -> AcceptanceProfile:
    """Rates of k draft tokens that add up to this mean acceptance length, in that shape.

    ``known``: the first rates, where they were reported; the shape spreads the rest. Shapes: ``constant``
    (every token is accepted alike where those before it were), ``decay:RATIO`` (each by RATIO less often
    than the one before), ``even`` (all unknown rates equal: all or nothing), ``front`` (as far forward as
    it goes). Raises InputError if k draft tokens cannot have this mean.
    """
    if not 1 <= k <= MAX_SPECULATIVE_TOKENS:
        raise InputError(f"{where}: k is {k}, expected 1 to {MAX_SPECULATIVE_TOKENS} draft tokens")
    cap = known[-1] if known else 1.0
    rest, num = mean_acceptance_length - 1.0 - sum(known), k - len(known)
    if not -1e-6 <= rest <= cap * num + 1e-6:
        raise InputError(
            f"{where}: a mean acceptance length of {mean_acceptance_length:g} is out of reach, expected "
            f"{1 + sum(known):g} to {1 + sum(known) + cap * num:g} with k = {k} (the bonus token is "
            "counted); "
            "check k"
        )
    rest = min(max(rest, 0.0), cap * num)
    spread = _shaped(shape, rest, num, cap)
    return AcceptanceProfile((*known, *map(float, np.minimum(spread, cap))), len(known))


def profile_of_increments(increments: Floats, where: str) -> AcceptanceProfile:
    """The profile nearest (least squares) to noisy rates, with the same sum: never rising, 0 to 1."""
    total = float(increments.sum())
    if not 0.0 <= total <= len(increments):
        raise InputError(f"{where}: rates add up to {total:g}, expected 0 to {len(increments)}")
    blocks: list[list[float]] = []  # mean, size: pool neighbours that rise
    for value in increments:
        blocks.append([float(value), 1.0])
        while len(blocks) > 1 and blocks[-1][0] > blocks[-2][0]:
            mean, size = blocks.pop()
            blocks[-1][0] = (blocks[-1][0] * blocks[-1][1] + mean * size) / (blocks[-1][1] + size)
            blocks[-1][1] += size
    level = np.concatenate([np.full(int(size), mean) for mean, size in blocks])
    shift = brentq(
        lambda s: np.clip(level - s, 0.0, 1.0).sum() - total, level.min() - 1.0, level.max() + 1e-9
    )
    return profile_of_rates(tuple(map(float, np.clip(level - shift, 0.0, 1.0))), where)


def _shaped(shape: str, rest: float, num: int, cap: float) -> Floats:
    word, _, value = shape.partition(":")
    if word == "even" and not value:
        return _even(rest, num)
    if word == "front" and not value:
        return _front(rest, num, cap)
    ratio = 1.0
    if word == "decay":
        try:
            ratio = float(value)
        except ValueError:
            ratio = -1.0
    if word not in ("constant", "decay") or (word == "constant" and value) or not 0.0 < ratio <= 1.0:
        raise InputError(f"shape {printable(shape, 40)} is unknown; expected {SHAPES}, as decay:0.9")
    return _geometric(rest, num, cap, ratio)


def _geometric(rest: float, num: int, cap: float, ratio: float) -> Floats:
    """cap a, cap a (a ratio), cap a (a ratio)(a ratio^2) ... with that sum; a at most 1."""

    def rates(first: float) -> Floats:
        made: Floats = cap * np.cumprod(np.minimum(first * ratio ** np.arange(num), 1.0))
        return made

    # past a = 1 the first tokens are always accepted: every sum up to cap * num is in reach
    most = ratio ** -(num - 1) if num else 1.0
    if num == 0 or rest <= 0.0:
        return np.zeros(num)
    if rest >= float(rates(most).sum()):
        return rates(most)
    return rates(brentq(lambda a: float(rates(a).sum()) - rest, 0.0, most, xtol=1e-15))


def _even(rest: float, num: int) -> Floats:
    return np.full(num, rest / num if num else 0.0)


def _front(rest: float, num: int, cap: float) -> Floats:
    """As much as goes into the first ones."""
    made: Floats = np.clip(rest - cap * np.arange(num), 0.0, cap)
    return made


def _persistent(rates: Floats, k: int) -> Floats:
    """Rates of shorter drafts where text keeps its kind (how many tokens are accepted) for long."""
    share = -np.diff(np.concatenate([[1.0], rates, [0.0]]))  # of steps, by accepted tokens 0..len(rates)
    accepted = np.arange(len(share))
    steps = share * (accepted + 1) / (np.minimum(accepted, k) + 1)
    steps /= steps.sum()
    made: Floats = np.cumsum(steps[::-1])[::-1][1 : k + 1]
    return np.minimum(made, 1.0)
