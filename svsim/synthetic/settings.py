"""What a synthetic trace is asked to look like. Every number is an observable: measured afterwards
by ``svsim.trace.measurement.measure`` and met within ``TOLERANCES``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError, printable
from svsim.limits import MAX_SPECULATIVE_TOKENS

MAX_LENGTH = 1_000_000

LATENT_ACCEPTANCE = 0.01, 0.995  # what the latent model can draw with signals that tell something

# How far the measured value may lie from the setting, on a trace at least as large as the pilot.
TOLERANCES: Mapping[str, float] = {
    "acceptance": 0.005,
    "acceptance_by_depth": 0.015,
    "verified_acceptance": 0.01,
    "information_gain_bits": 0.01,
    "overlap_correlation": 0.01,
    "draft_entropy_nats": 0.02,  # relative
    "request_spread": 0.008,
    "burstiness": 0.015,
    "drift": 0.02,
    "wrong_prefix_decay": 0.02,
}


class OutOfReachError(InputError):
    """A setting that no trace with the others has; ``limit`` is the nearest value that one has."""

    def __init__(self, message: str, name: str, limit: float) -> None:
        super().__init__(message)
        self.name = name
        self.limit = limit


InformationMeasure = Literal["acceptance", "paper"]


def _require(fine: bool, what: str, got: object, expected: str) -> None:
    if not fine:
        raise InputError(f"synthetic trace: {what} is {got}, expected {expected}")


@dataclass(frozen=True, slots=True)
class LengthLaw:
    """Log-normal token counts of a given mean and coefficient of variation, rounded and clipped."""

    mean: float
    variation: float = 0.0
    minimum: int = 1
    maximum: int = 16_384

    def __post_init__(self) -> None:
        _require(1 <= self.mean <= MAX_LENGTH, "mean tokens", self.mean, f"a number in 1..{MAX_LENGTH}")
        _require(0 <= self.variation <= 5, "variation of tokens", self.variation, "a number in 0..5")
        _require(
            1 <= self.minimum <= self.maximum <= MAX_LENGTH,
            "token limits",
            f"{self.minimum}..{self.maximum}",
            f"1 <= minimum <= maximum <= {MAX_LENGTH}",
        )

    def tokens(self, normal: float) -> int:
        """The token count at a standard normal score."""
        sigma = np.sqrt(np.log1p(self.variation**2))
        value = self.mean * np.exp(sigma * normal - sigma**2 / 2)
        return int(np.clip(np.rint(value), self.minimum, self.maximum))


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """One kind of request. Give exactly one of ``acceptance`` and ``verified_acceptance``.

    acceptance            mean acceptance probability on the true prefix (depth 1), or K conditional
                          acceptances at depth 1..K over all output positions.
    verified_acceptance   accepted/verified of SD(K) over the positions its steps start at.
    share                 of the requests, relative to the other tasks.
    """

    acceptance: float | tuple[float, ...] | None = None
    verified_acceptance: float | None = None
    name: str = "synthetic"
    share: float = 1.0
    prompt_tokens: LengthLaw = LengthLaw(200, 0.5)
    output_tokens: LengthLaw = LengthLaw(200, 0.5)

    def __post_init__(self) -> None:
        given = (self.acceptance is not None) + (self.verified_acceptance is not None)
        _require(
            given == 1,
            f"task {printable(self.name, 40)}",
            f"{given} of acceptance, verified_acceptance",
            "one",
        )
        _require(self.name != "", "task name", "an empty text", "a name")
        _require(0 < self.share < np.inf, "task share", self.share, "a positive number")
        low, high = LATENT_ACCEPTANCE
        for value in self.depth_acceptance or ():
            _require(low <= value <= high, "acceptance", value, f"a probability in {low:g}..{high:g}")
        for mean in (self.mean_acceptance, self.verified_acceptance):
            _require(mean is None or 0.0 <= mean <= 1.0, "acceptance", mean, "a probability in 0..1")
        if self.depth_acceptance:
            check_depth_acceptance(self.depth_acceptance)

    @property
    def mean_acceptance(self) -> float | None:
        """Mean acceptance at depth 1, where that is asked for."""
        return None if isinstance(self.acceptance, tuple) else self.acceptance

    @property
    def depth_acceptance(self) -> tuple[float, ...] | None:
        """Conditional acceptances at depth 1..K, or None where only the mean is asked for."""
        return self.acceptance if isinstance(self.acceptance, tuple) else None


@dataclass(frozen=True, slots=True)
class SyntheticSettings:
    """A whole trace; all quantities pool the tasks unless a task sets its own.

    information_gain_bits   what (S, A) tell about acceptance, held out, on the depth-1 column
                            (``information_measure`` "acceptance"); or I(X; S, A) with 10 bins of a and
                            10 x 10 cells, shuffle-corrected ("paper", arXiv 2509.24328).
    overlap_correlation     Pearson correlation of similarity S and target overlap O, depth 1.
    draft_entropy_nats      mean entropy of the draft distribution, depth 1.
    request_spread          standard deviation between requests of their mean acceptance (heterogeneity).
    burstiness              lag-1 autocorrelation of a along the output, around the request's own mean.
    drift                   change of acceptance from the first to the last output token (a line's slope).
    wrong_prefix_decay      1 - (mean a after a rejected token of a chain / mean a at the same output
                            positions on the true prefix).
    overlap_spread          standard deviation of the latent difficulty: how polar the overlap is.
    greedy                  the target decodes greedily: a is 0 or 1.
    """

    tasks: tuple[TaskSettings, ...] = (TaskSettings(acceptance=0.75),)
    num_requests: int = 512
    num_speculative_tokens: int = 7
    information_gain_bits: float = 0.2
    information_measure: InformationMeasure = "acceptance"
    overlap_correlation: float = 0.7
    draft_entropy_nats: float = 0.8
    request_spread: float = 0.06
    burstiness: float | None = None
    drift: float = 0.0
    wrong_prefix_decay: float | None = None
    overlap_spread: float = 1.5
    greedy: bool = False

    def __post_init__(self) -> None:
        k = self.num_speculative_tokens
        _require(
            1 <= k <= MAX_SPECULATIVE_TOKENS, "num_speculative_tokens", k, f"1..{MAX_SPECULATIVE_TOKENS}"
        )
        _require(self.num_requests >= 1, "num_requests", self.num_requests, "at least 1")
        _require(len(self.tasks) >= 1, "tasks", "none", "at least one task")
        names = [task.name for task in self.tasks]
        _require(len(set(names)) == len(names), "task names", ", ".join(map(str, names)), "distinct names")
        _require(
            self.information_measure in ("acceptance", "paper"),
            "information_measure",
            printable(self.information_measure, 40),
            "acceptance or paper",
        )
        for name, low, high in (
            ("information_gain_bits", 0.0, 1.0 if self.information_measure == "acceptance" else 4.0),
            ("overlap_correlation", 0.0, 0.99),
            ("draft_entropy_nats", 0.001, 10.0),
            ("request_spread", 0.0, 0.5),
            ("burstiness", 0.0, 0.95),
            ("drift", -0.9, 0.9),
            ("wrong_prefix_decay", 0.0, 0.95),
            ("overlap_spread", 0.1, 5.0),
        ):
            value = getattr(self, name)
            unasked = value is None and name in ("burstiness", "wrong_prefix_decay")
            _require(unasked or low <= value <= high, name, value, f"a number in {low:g}..{high:g}")
        for task in self.tasks:
            depth = task.depth_acceptance
            if depth is not None:
                _require(len(depth) == k, "acceptance by depth", f"{len(depth)} values", f"K = {k} values")


def decaying_acceptance(
    first: float, decay_per_depth: float, num_speculative_tokens: int
) -> tuple[float, ...]:
    """Conditional acceptances first * decay^(d - 1) at depth d = 1..K."""
    return tuple(first * decay_per_depth**d for d in range(num_speculative_tokens))


def check_depth_acceptance(conditional: tuple[float, ...]) -> None:
    """InputError unless conditional acceptances r_1..r_K can come from one stream of tokens.

    In coherent chains the token at depth d of one position is the token at depth 1 of the position
    d - 1 later, so P(exactly d accepted after a rejection) = (W_d - 2 W_{d+1} + W_{d+2})/(1 - W_1)
    must not be negative (W_d = r_1 ... r_d): 1 - r_d >= r_d (1 - r_{d+1}), a floor for r_{d+1}.
    """
    for depth, (here, deeper) in enumerate(pairwise(conditional), start=1):
        floor = 2.0 - 1.0 / here
        _require(
            deeper >= floor - 1e-12,
            f"acceptance at depth {depth + 1}",
            f"{deeper:g}",
            f"at least 2 - 1/{here:g} = {floor:.4f} after {here:g} at depth {depth}: coherent chains make a "
            f"token at depth {depth + 1} a later one at depth 1; raise it, lower the depth before, or give "
            "rates at step starts (`accept_by_position`)",
        )


def fresh_chain_acceptance(conditional: tuple[float, ...]) -> NDArray[np.float64]:
    """Acceptance f_n of the n-th draft token after a rejection, float64 [K], from r_1..r_K.

    P(n accepted in a row | a rejection before) = F_n = (W_n - W_{n+1})/(1 - W_1) for any stationary
    stream; f_n = F_n / F_{n-1}. Depths past K continue at r_K, so f_K = r_K.
    """
    r = np.asarray(conditional, np.float64)
    w = np.concatenate([[1.0], np.cumprod(r), [np.prod(r) * r[-1]]])
    runs = w[:-1] - w[1:]
    fresh: NDArray[np.float64] = runs[1:] / runs[:-1]
    return fresh
