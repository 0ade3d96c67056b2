"""Is the trace what it says it is? Identities that hold in a sound recording, tested on its columns.

Random quantities pass within MAX_ERRORS standard errors plus what rounding to float16 may move. A check
that does not apply says why and is neither passed nor failed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svsim.metrics.calibration import bins_of_equal_count, clustered_standard_error
from svsim.metrics.request_sums import request_of_rows
from svsim.speculation_math import Floats, Ints
from svsim.trace.token_trace import TokenTrace

MAX_ERRORS = 4.0
ROUNDING = 2.0**-11  # twice the largest move of a probability by float16
MIN_REQUESTS_PER_BIN = 30
MAX_BINS = 10


@dataclass(frozen=True, slots=True)
class Check:
    """One check: ``passed`` None where it does not apply; what was found, and what that means."""

    name: str
    passed: bool | None
    found: str
    meaning: str


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a check is called, and what it means that it holds or fails."""

    name: str
    holds: str
    fails: str

    def judge(self, passed: bool | None, found: str) -> Check:
        return Check(self.name, passed, found, self.fails if passed is False else self.holds)


_CHAINS = _Claim(
    "accepted lengths continue",
    "the next position keeps the rest of the chain and its coins: one recording serves every method",
    "neighbouring positions hold different chains: results are approximate; declare them independent",
)
_TOKENS = _Claim(
    "signals move with their tokens",
    "a kept token keeps its signals and its acceptance",
    "signals of a token change with the position that holds it: a belief of depth 1 may not hold deeper",
)
_COINS = _Claim(
    "coins follow accept_prob",
    "the recorded outcomes are drawn with the recorded probabilities",
    "num_accepted and accept_prob are not of one run: --coins recorded and redraw will disagree",
)
_COMPANION = _Claim(
    "E[A | S] = S",
    "both companion signals are of the distributions that the draft tokens were drawn from",
    "similarity, companion_accept and the drafting differ in temperature or top-p",
)
_TARGET = _Claim(
    "E[a | overlap] = overlap",
    "both target columns are of the distributions that the draft tokens were drawn from",
    "target_overlap, accept_prob and the drafting differ in temperature or top-p",
)
_GREEDY = _Claim(
    "greedy acceptance is 0 or 1",
    "a greedy target accepts exactly its own most likely token",
    "declared greedy, but acceptance is uncertain: correct the sampling settings or the column",
)


def check_trace(trace: TokenTrace) -> tuple[Check, ...]:
    """All checks, in the order they are read."""
    signals, target = trace.observable.signals, trace.target
    return (
        _chains_continue(trace),
        _tokens_carry_over(trace),
        _coins_match(trace),
        _identity(_COMPANION, trace, signals.get("similarity"), signals.get("companion_accept")),
        _identity(_TARGET, trace, target.target_overlap, target.accept_prob),
        _greedy_is_certain(trace),
    )


def _chains_continue(trace: TokenTrace) -> Check:
    """After an accepted first token the next position accepts one less; one more may follow a full chain."""
    carried = _carried_rows(trace)
    accepted, k = trace.target.num_accepted, trace.num_speculative_tokens
    here, after = accepted[carried], accepted[carried + 1]
    short = f", {np.mean(after < here - 1):.1%} accept less than the chain left" if len(here) else ""
    return _coherence(_CHAINS, trace, np.where(here == k, after >= k - 1, after == here - 1), short)


def _tokens_carry_over(trace: TokenTrace) -> Check:
    """Every column of a kept token is what it was a position before."""
    columns = [*trace.observable.signals.values(), trace.target.accept_prob, trace.target.target_overlap]
    recorded = [values for values in columns if values is not None]
    if not recorded or trace.num_speculative_tokens == 1:
        return _TOKENS.judge(None, "nothing recorded that could move")
    carried = _carried_rows(trace)
    kept = np.ones(len(carried), np.bool_)
    for values in recorded:
        kept &= (values[carried, 1:] == values[carried + 1, :-1]).all(axis=1)
    return _coherence(_TOKENS, trace, kept)


def _carried_rows(trace: TokenTrace) -> Ints:
    """Rows whose first token is accepted and whose next row is of the same request."""
    is_last = np.zeros(trace.num_positions, np.bool_)
    is_last[trace.first_position[1:] - 1] = True
    return np.flatnonzero(~is_last & (trace.target.num_accepted >= 1))


def _coherence(claim: _Claim, trace: TokenTrace, holds: NDArray[np.bool_], more: str = "") -> Check:
    if not len(holds):
        return claim.judge(None, "no two neighbouring positions share a chain")
    broken = int((~holds).sum())
    found = (
        f"{broken:,} of {len(holds):,} neighbours differ ({broken / len(holds):.1%}{more if broken else ''})"
    )
    if trace.metadata.chains != "coherent":
        return claim.judge(None, f"not claimed ({trace.metadata.chains} chains): {found}")
    return claim.judge(broken == 0, found)


def _coins_match(trace: TokenTrace) -> Check:
    """At every depth, the tokens reached are accepted as often as their probabilities say."""
    if trace.target.accept_prob is None:
        return _COINS.judge(None, "no accept_prob recorded")
    accepted = trace.target.num_accepted
    deviations = []
    for depth in range(trace.num_speculative_tokens):
        reached = accepted >= depth
        a = trace.target.accept_prob[reached, depth].astype(np.float64)
        if len(a):
            difference = float((accepted[reached] > depth).mean() - a.mean())
            error = float(np.sqrt((a * (1 - a)).sum()) / len(a))
            deviations.append(_Deviation(f"at depth {depth + 1}", difference, error))
    return _judge_deviations(_COINS, deviations)


def _identity(
    claim: _Claim, trace: TokenTrace, given: NDArray[np.float32] | None, value: NDArray[np.float32] | None
) -> Check:
    """E[value | given] = given where draft tokens are sampled; depth-1 column, bins of equal count."""
    if given is None or value is None:
        return claim.judge(None, "not recorded")
    if trace.metadata.is_greedy or trace.metadata.sampling.get("deterministic_draft"):
        return claim.judge(None, "draft tokens are not sampled")
    if trace.num_requests < MIN_REQUESTS_PER_BIN:
        return claim.judge(None, f"{trace.num_requests} requests are too few ({MIN_REQUESTS_PER_BIN} needed)")
    x, y = given[:, 0].astype(np.float64), value[:, 0].astype(np.float64)
    bins = bins_of_equal_count(x, min(MAX_BINS, trace.num_requests // MIN_REQUESTS_PER_BIN))
    request, deviations = request_of_rows(trace.first_position), []
    for b in range(bins.max() + 1):
        inside = bins == b
        excess: Floats = (y - x)[inside]
        error = clustered_standard_error(excess, request[inside])
        deviations.append(_Deviation(f"around {x[inside].mean():.2f}", float(excess.mean()), error))
    return _judge_deviations(claim, deviations)


def _greedy_is_certain(trace: TokenTrace) -> Check:
    a = trace.target.accept_prob
    if not trace.metadata.is_greedy:
        return _GREEDY.judge(None, "the target samples")
    if a is None:
        return _GREEDY.judge(None, "no accept_prob recorded")
    between = int(((a != 0) & (a != 1)).sum())
    return _GREEDY.judge(between == 0, f"{between:,} of {a.size:,} values lie between")


@dataclass(frozen=True, slots=True)
class _Deviation:
    """A mean difference that should be 0, and its standard error."""

    where: str
    difference: float
    standard_error: float

    @property
    def num_errors(self) -> float:
        """Standard errors beyond what rounding explains."""
        excess = max(abs(self.difference) - ROUNDING, 0.0)
        return excess / max(self.standard_error, 1e-12)


def _judge_deviations(claim: _Claim, deviations: Sequence[_Deviation]) -> Check:
    worst = max(deviations, key=lambda d: (d.num_errors, abs(d.difference)))
    errors = f"{worst.num_errors:.1f}" if worst.num_errors < 1000 else "over 1000"
    found = f"{worst.difference:+.4f} {worst.where}, {errors} standard errors (most of {len(deviations)})"
    return claim.judge(worst.num_errors <= MAX_ERRORS, found)
