"""Fit the target half of the latent parameters: acceptance, its spread, its course along the output.

Every observable has one parameter that mainly moves it. The closed forms of ``synthetic_latent``
invert what they are asked for; what the pilot then misses is added to what they are asked for.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from svsim.errors import InputError, printable
from svsim.synthetic.latent import (
    ATOM_SHARE,
    UNSEEN_SHARE,
    Floats,
    LatentParameters,
    accept_prob_variance,
    latent_correlation,
    overlap_covariance,
)
from svsim.synthetic.pilot import Drawn, Pilot, TargetObservables
from svsim.synthetic.settings import (
    TOLERANCES,
    OutOfReachError,
    SyntheticSettings,
    TaskSettings,
    fresh_chain_acceptance,
)

MAX_ROUNDS = 20
MAX_WRONGNESS_SHIFT = 15.0
UNASKED_BURSTINESS = 0.05  # the closed form's aim where no burstiness is asked for


@dataclass(slots=True)
class Aims:
    """What the closed forms are asked for: the settings, moved by what was missed so far.

    acceptance [n]: depth-1 means; fresh [n, K]: acceptances after a rejection (tasks that set depths).
    """

    acceptance: Floats
    fresh: Floats
    variance_between: float
    lag_one: float
    drift: float
    wrongness_shift: float = 1.0


def first_aims(settings: SyntheticSettings, weights: Floats) -> Aims:
    """The settings themselves, as the closed forms take them."""
    s = settings
    mean = np.array([_mean_acceptance(task, s.num_speculative_tokens) for task in s.tasks])
    depths = [
        task.depth_acceptance or (m,) * s.num_speculative_tokens
        for task, m in zip(s.tasks, mean, strict=True)
    ]
    between = s.request_spread**2
    asked = UNASKED_BURSTINESS if s.burstiness is None else s.burstiness
    lag_one = between + asked * (_variance(settings, mean, weights) - between)
    return Aims(mean, np.array([fresh_chain_acceptance(d) for d in depths]), between, lag_one, s.drift)


def _mean_acceptance(task: TaskSettings, num_speculative_tokens: int) -> float:
    """Depth-1 acceptance asked for, or that of constant acceptance with the verified acceptance asked for."""
    if task.depth_acceptance is not None:
        return task.depth_acceptance[0]
    if isinstance(task.acceptance, int | float):
        return float(task.acceptance)
    asked, depths = task.verified_acceptance, np.arange(1, num_speculative_tokens + 1)
    return float(brentq(lambda a: (a**depths).mean() - asked, 0.0, 1.0))


def _atom_share(settings: SyntheticSettings) -> float:
    return 1.0 if settings.greedy else ATOM_SHARE


def _variance(settings: SyntheticSettings, mean: Floats, weights: Floats) -> float:
    """Variance of a, pooled over tasks."""
    spread, atom = settings.overlap_spread, _atom_share(settings)
    return float(np.average([accept_prob_variance(m, spread, atom) for m in mean], weights=weights))


def _task_weights(settings: SyntheticSettings, pilot: Pilot) -> Floats:
    return np.bincount(pilot.rows_task, minlength=len(settings.tasks)).astype(np.float64)


def unseen_share(settings: SyntheticSettings, pilot: Pilot) -> float:
    """w: most of the variance S leaves open, but no more than the burstiness asked for can spare."""
    weights, spread = _task_weights(settings, pilot), settings.overlap_spread
    aims = first_aims(settings, weights)
    check_limits(settings, aims, weights)
    variance = float(np.average(overlap_covariance(aims.acceptance, 0.999, spread), weights=weights))
    seen = latent_correlation(aims.acceptance, weights, settings.overlap_correlation * variance, spread)
    lag = latent_correlation(aims.acceptance, weights, max(aims.lag_one, aims.variance_between), spread)
    return float(np.clip(min(UNSEEN_SHARE * (1 - seen**2), 1 - lag / 0.9), 0.0, 1.0))


def check_limits(settings: SyntheticSettings, aims: Aims, weights: Floats) -> None:
    """InputError for what no latent can reach, in closed form."""
    s = settings
    widest = float(np.average(overlap_covariance(aims.acceptance, 0.999, s.overlap_spread), weights=weights))
    between = s.request_spread**2
    if between > 0.95 * widest:
        most_spread = float(np.sqrt(0.95 * widest))
        raise OutOfReachError(
            f"synthetic trace: request_spread {s.request_spread:g} exceeds {most_spread:.3f}, the "
            "deviation of the overlap itself at this acceptance; lower it or raise overlap_spread",
            "request_spread",
            0.5 * most_spread,
        )
    most = (0.97 * widest - between) / (_variance(s, aims.acceptance, weights) - between)
    if s.burstiness is not None and s.burstiness > most:
        raise InputError(
            f"synthetic trace: burstiness {s.burstiness:g} exceeds {most:.3f}, the overlap's share of the "
            "variance of a (drawing the token adds the rest); lower it or raise overlap_spread"
        )
    for task, mean in zip(s.tasks, aims.acceptance, strict=True):
        low, high = mean - abs(s.drift) / 2, mean + abs(s.drift) / 2
        if low < 0.005 or high > 0.995:
            raise InputError(
                f"synthetic trace: drift {s.drift:g} takes the acceptance {mean:.3f} of task "
                f"{printable(task.name, 40)} to {low:.3f}..{high:.3f}, outside 0.005..0.995; lower it"
            )


class TargetFit:
    """Levels, age shifts, drift, request share, persistence and wrongness shift, at a given unseen share."""

    def __init__(self, settings: SyntheticSettings, pilot: Pilot, unseen_share: float) -> None:
        self.settings = settings
        self.pilot = pilot
        self.unseen_share = unseen_share
        self.weights = _task_weights(settings, pilot)
        self.by_depth = np.array([task.depth_acceptance is not None for task in settings.tasks])

    def solve(self) -> tuple[LatentParameters, Drawn]:
        """Step until every miss is inside half its tolerance; else the best round, or InputError."""
        aims = first_aims(self.settings, self.weights)
        best: tuple[float, str, LatentParameters, Drawn] | None = None
        pace = 1.0
        for _ in range(MAX_ROUNDS):
            parameters = self._parameters(aims)
            drawn = self.pilot.draw(parameters)
            seen = TargetObservables.of(self.pilot, drawn, len(self.settings.tasks))
            miss, what = max(self._misses(seen))
            if best is None or miss < best[0]:
                best = miss, what, parameters, drawn
            else:
                pace = max(0.6 * pace, 0.1)  # overshooting
            if miss < 0.5:
                break
            self._step(aims, seen, pace)
        assert best is not None
        if best[0] > 1.0:
            raise InputError(
                f"synthetic trace: these settings exclude each other; the closest trace has {best[1]}; "
                "relax that one, or what it depends on"
            )
        return best[2], best[3]

    def _parameters(self, aims: Aims) -> LatentParameters:
        spread = self.settings.overlap_spread
        scale = np.sqrt(1.0 + spread**2)
        level = scale * ndtri(aims.acceptance)
        share, lag = (
            min(latent_correlation(aims.acceptance, self.weights, c, spread) / (1 - self.unseen_share), 0.999)
            for c in (aims.variance_between, aims.lag_one)
        )
        density = np.exp(-(ndtri(aims.acceptance) ** 2) / 2) / np.sqrt(2 * np.pi)
        slope = float(np.average(density, weights=self.weights)) / scale
        return LatentParameters(
            level=level,
            age_shift=np.where(self.by_depth[:, None], scale * ndtri(aims.fresh) - level[:, None], 0.0),
            drift=aims.drift / slope,
            request_share=share,
            persistence=float(np.clip((lag - share) / (1.0 - share), 0.0, 0.998)),
            unseen_share=self.unseen_share,
            wrongness_shift=aims.wrongness_shift,
            spread=spread,
            atom_share=_atom_share(self.settings),
        )

    def _misses(self, seen: TargetObservables) -> list[tuple[float, str]]:
        """(distance in tolerances, description) of every observable that is asked for and defined."""
        s = self.settings
        pairs: list[tuple[str, float | None, float | None]] = [
            ("request_spread", seen.request_spread, s.request_spread),
            ("drift", seen.drift, s.drift),
            ("burstiness", seen.burstiness, s.burstiness),
            ("wrong_prefix_decay", seen.wrong_prefix_decay, s.wrong_prefix_decay),
        ]
        for t, task in enumerate(s.tasks):
            if task.verified_acceptance is not None:
                pairs.append(("verified_acceptance", seen.verified[t], task.verified_acceptance))
            elif isinstance(task.acceptance, tuple):
                got = seen.conditional[t]
                pairs += [("acceptance_by_depth", g, a) for g, a in zip(got, task.acceptance, strict=True)]
            else:
                pairs.append(("acceptance", seen.acceptance[t], task.acceptance))
        return [
            (abs(got - asked) / TOLERANCES[name], f"{name} {got:.4f} instead of {asked:g}")
            for name, got, asked in pairs
            if got is not None and asked is not None and np.isfinite(got)
        ]

    def _step(self, aims: Aims, seen: TargetObservables, pace: float) -> None:
        """Move every aim by the share ``pace`` of what it missed."""
        s = self.settings
        for t in range(len(s.tasks)):
            self._step_acceptance(aims, seen, pace, t)
        aims.acceptance = np.clip(aims.acceptance, 0.002, 0.998)
        between = s.request_spread**2
        if seen.variance_between is not None:
            aims.variance_between += pace * (between - seen.variance_between)
            aims.variance_between = max(aims.variance_between, 0.0)
        if s.burstiness is not None:
            asked = between + s.burstiness * (seen.variance - between)
            aims.lag_one = float(np.clip(aims.lag_one + pace * (asked - seen.lag_one), 0.0, 0.25))
        if seen.drift is not None:
            aims.drift += pace * (s.drift - seen.drift)
        if s.wrong_prefix_decay is not None and seen.wrong_prefix_decay is not None:
            kept = np.clip([1 - s.wrong_prefix_decay, 1 - seen.wrong_prefix_decay], 0.01, 0.999)
            scores = ndtri(kept * np.average(np.nan_to_num(seen.acceptance), weights=self.weights))
            # mean wrongness after a rejection is about 2/3
            step = 1.5 * pace * (scores[1] - scores[0]) * np.sqrt(1.0 + s.overlap_spread**2)
            aims.wrongness_shift = float(np.clip(aims.wrongness_shift + step, 0.0, MAX_WRONGNESS_SHIFT))

    def _step_acceptance(self, aims: Aims, seen: TargetObservables, pace: float, t: int) -> None:
        task = self.settings.tasks[t]
        if not np.isfinite(seen.acceptance[t]):  # a rare task that the pilot does not hold
            return
        if task.verified_acceptance is not None:
            a, depths = aims.acceptance[t], np.arange(1, self.settings.num_speculative_tokens + 1)
            slope = float((depths * a ** (depths - 1)).mean())
            aims.acceptance[t] += pace * (task.verified_acceptance - seen.verified[t]) / slope
        elif task.depth_acceptance is not None:
            asked, got = fresh_chain_acceptance(task.depth_acceptance), seen.fresh_acceptance[t]
            moved = ndtri(aims.fresh[t]) + pace * (_probit(asked) - _probit(got))
            aims.fresh[t] = np.where(np.isfinite(got), np.clip(ndtr(moved), 1e-4, 1 - 1e-4), aims.fresh[t])
        elif isinstance(task.acceptance, int | float):
            aims.acceptance[t] += pace * (task.acceptance - seen.acceptance[t])


def _probit(p: Floats) -> Floats:
    score: Floats = ndtri(np.clip(np.nan_to_num(p, nan=0.5), 1e-3, 1 - 1e-3))
    return score
