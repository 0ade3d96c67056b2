"""The pilot sample of a calibration: the trace's own first requests, drawn again under every trial.

More requests of the same kind where the trace is small; all trials share their random numbers.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from svsim.synthetic.drawing import Batch, batches, grow, plan_requests
from svsim.synthetic.latent import Floats, LatentParameters, TokenLatents
from svsim.synthetic.settings import SyntheticSettings
from svsim.trace import measurement as observed

MIN_POSITIONS = 60_000
MAX_DRAFTS = 1_250_000  # positions x K


@dataclass(frozen=True, slots=True)
class Drawn:
    """The pilot under one trial: accept_prob [T, K], num_accepted [T]; overlap and latents of depth 1."""

    accept_prob: NDArray[np.float32]
    num_accepted: NDArray[np.int16]
    overlap: Floats
    latents: TokenLatents


@dataclass(frozen=True, slots=True)
class Pilot:
    """Requests and random numbers that every trial shares. rows_task: task of each row, int64 [T]."""

    num_speculative_tokens: int
    batches: tuple[Batch, ...]
    first_position: NDArray[np.int64]
    rows_task: NDArray[np.int64]

    @classmethod
    def of(cls, settings: SyntheticSettings, seed: int) -> "Pilot":
        """The trace's first requests, extended to the least size or cut at the largest."""
        k = settings.num_speculative_tokens
        most = max(MAX_DRAFTS // k, MIN_POSITIONS // 2)
        least = min(MIN_POSITIONS, most)
        num_requests = settings.num_requests
        plan = plan_requests(settings, seed, num_requests)
        while plan.first_position[-1] < least:
            num_requests *= 2
            plan = plan_requests(settings, seed, num_requests)
        wanted = plan.first_position[settings.num_requests]
        size = int(np.searchsorted(plan.first_position, min(max(wanted, least), most)))
        plan = plan_requests(settings, seed, max(size, 2))
        rows_task = np.repeat(plan.task, plan.num_output_tokens)
        return cls(k, tuple(batches(plan, k, seed)), plan.first_position, rows_task)

    def draw(self, parameters: LatentParameters) -> Drawn:
        """Grow all chains under these parameters."""
        parts = [grow(batch, parameters, self.num_speculative_tokens) for batch in self.batches]
        firsts = [chains.token_of[:, 0] for chains in parts]
        latents = {
            field.name: np.concatenate(
                [getattr(c.latents, field.name)[i] for c, i in zip(parts, firsts, strict=True)]
            )
            for field in fields(TokenLatents)
        }
        return Drawn(
            np.concatenate([c.accept_prob.astype(np.float32)[c.token_of] for c in parts]),
            np.concatenate([c.num_accepted for c in parts]),
            np.concatenate([c.overlap[i] for c, i in zip(parts, firsts, strict=True)]),
            TokenLatents(**latents),
        )


@dataclass(frozen=True, slots=True)
class TargetObservables:
    """The target half's observables on the pilot; per task where marked [n]."""

    acceptance: Floats  # [n]
    fresh_acceptance: Floats  # [n, K]: mean a of the d-th draft token after a rejection, last: K and later
    conditional: Floats  # [n, K]
    verified: Floats  # [n]
    variance: float
    variance_between: float | None
    lag_one: float
    drift: float | None
    wrong_prefix_decay: float | None

    @classmethod
    def of(cls, pilot: Pilot, drawn: Drawn, num_tasks: int) -> "TargetObservables":
        """Measured on one trial."""
        a = drawn.accept_prob[:, 0].astype(np.float64)
        task, k, first = pilot.rows_task, pilot.num_speculative_tokens, pilot.first_position
        mean = _group_mean(a, task, num_tasks)
        age = np.minimum(_draft_age(drawn.num_accepted, first), k - 1)
        starts = observed.visited_starts(drawn.num_accepted, first)
        around_task = a - mean[task]
        return cls(
            mean,
            _group_mean(a, task * k + age, num_tasks * k).reshape(num_tasks, k),
            np.array([_conditional(drawn.accept_prob[task == t]) for t in range(num_tasks)]),
            _group_mean(drawn.num_accepted[starts] / k, task[starts], num_tasks),
            float(around_task.var()),
            observed.between_request_variance(around_task, first),
            observed.lag_one_covariance(around_task, first),
            observed.slope_along_output(a, first),
            observed.wrong_prefix_decay(drawn.accept_prob, drawn.num_accepted, first),
        )

    @property
    def request_spread(self) -> float | None:
        """As ``synthetic_measurement``."""
        return None if self.variance_between is None else float(np.sqrt(max(self.variance_between, 0.0)))

    @property
    def burstiness(self) -> float:
        """As ``synthetic_measurement.burstiness``."""
        between = self.variance_between or 0.0
        return (self.lag_one - between) / max(self.variance - between, 1e-9)


def _conditional(accept_prob: NDArray[np.float32]) -> Floats:
    if len(accept_prob) == 0:
        return np.full(accept_prob.shape[1], np.nan)
    return observed.conditional_acceptance(accept_prob)


def _group_mean(values: Floats, group: NDArray[np.int64], num_groups: int) -> Floats:
    counts = np.bincount(group, minlength=num_groups)
    means: Floats = np.bincount(group, values, num_groups) / np.maximum(counts, 1)
    return np.where(counts > 0, means, np.nan)


def _draft_age(num_accepted: NDArray[np.int16], first_position: NDArray[np.int64]) -> NDArray[np.int64]:
    """Draft tokens since the target's own last one, before each position's first token, int64 [T]."""
    row = np.arange(len(num_accepted))
    fresh = np.zeros(len(row), np.bool_)
    fresh[1:] = num_accepted[:-1] == 0
    fresh[first_position[:-1]] = True
    age: NDArray[np.int64] = row - np.maximum.accumulate(np.where(fresh, row, 0))
    return age
