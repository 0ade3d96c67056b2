"""Solve the latent parameters for the observables asked for; deterministic.

First the target half, whose trajectories do not depend on the signals: every observable has one
parameter that mainly moves it, and the closed forms of ``synthetic_latent`` turn a miss into a step.
Then the signals, by bracketing, because with the trajectories fixed each is monotone in its parameter.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from svsim.errors import InputError
from svsim.speculation_math import information_ceiling_bits
from svsim.workload import synthetic_measurement as observed
from svsim.workload.synthetic_latent import (
    ATOM_SHARE,
    Floats,
    LatentParameters,
    accept_prob_variance,
    companion_accept,
    draft_entropy,
    latent_correlation,
    overlap_covariance,
    similarity,
)
from svsim.workload.synthetic_pilot import Drawn, Pilot, TargetObservables
from svsim.workload.synthetic_settings import (
    TOLERANCES,
    SyntheticSettings,
    TaskSettings,
    fresh_chain_acceptance,
)

MAX_ROUNDS = 16
MAX_WRONGNESS_SHIFT = 15.0
MAX_LINK = 0.9995


def calibrate(settings: SyntheticSettings, seed: int) -> LatentParameters:
    """Latent parameters under which ``settings`` are met; InputError names the limit where none are."""
    pilot = Pilot.of(settings, seed)
    parameters, drawn = _TargetHalf(settings, pilot).solve()
    return _fit_signals(settings, pilot, parameters, drawn)


@dataclass(slots=True)
class _Aims:
    """What the closed forms are asked for: the settings, moved by what was missed so far.

    acceptance [n]: depth-1 means; fresh [n, K]: acceptances after a rejection (tasks that set depths).
    """

    acceptance: Floats
    fresh: Floats
    variance_between: float
    lag_one: float
    drift: float


class _TargetHalf:
    """Levels, age shifts, drift, request share, persistence and wrongness shift."""

    def __init__(self, settings: SyntheticSettings, pilot: Pilot) -> None:
        self.settings = settings
        self.pilot = pilot
        self.weights = np.bincount(pilot.rows_task, minlength=len(settings.tasks)).astype(np.float64)
        self.atom_share = 1.0 if settings.greedy else ATOM_SHARE
        depths = [task.depth_acceptance for task in settings.tasks]
        self.by_depth = np.array([depth is not None for depth in depths])

    def solve(self) -> tuple[LatentParameters, Drawn]:
        """Step until every miss is inside half its tolerance; else the best round, or InputError."""
        aims, wrongness_shift = self._first_aims(), 1.0
        self._check_limits(aims)
        best: tuple[float, str, LatentParameters, Drawn] | None = None
        for _ in range(MAX_ROUNDS):
            parameters = self._parameters(aims, wrongness_shift)
            drawn = self.pilot.draw(parameters)
            seen = TargetObservables.of(self.pilot, drawn, len(self.settings.tasks))
            miss, what = max(self._misses(seen))
            if best is None or miss < best[0]:
                best = miss, what, parameters, drawn
            if miss < 0.5:
                break
            wrongness_shift = self._step(aims, seen, wrongness_shift)
        assert best is not None
        if best[0] > 1.0:
            raise InputError(
                f"synthetic trace: no parameters meet all settings at once; closest is {best[1]}; relax one of them"
            )
        return best[2], best[3]

    def _first_aims(self) -> _Aims:
        s = self.settings
        mean = np.array([_mean_acceptance(task, s.num_speculative_tokens) for task in s.tasks])
        fresh = np.array(
            [
                fresh_chain_acceptance(task.depth_acceptance or (m,) * s.num_speculative_tokens)
                for task, m in zip(s.tasks, mean, strict=True)
            ]
        )
        between = s.request_spread**2
        variance = self._pooled([accept_prob_variance(m, s.overlap_spread, self.atom_share) for m in mean])
        return _Aims(mean, fresh, between, between + s.burstiness * (variance - between), s.drift)

    def _check_limits(self, aims: _Aims) -> None:
        """InputError for what no latent can reach, in closed form."""
        s = self.settings
        widest = self._pooled(overlap_covariance(aims.acceptance, 0.999, s.overlap_spread))
        variance = self._pooled(
            [accept_prob_variance(m, s.overlap_spread, self.atom_share) for m in aims.acceptance]
        )
        between = s.request_spread**2
        if between > 0.95 * widest:
            raise InputError(
                f"synthetic trace: request_spread {s.request_spread:g} exceeds {np.sqrt(0.95 * widest):.3f}, the "
                "standard deviation of the overlap itself at this acceptance; lower it or raise overlap_spread"
            )
        most = (0.97 * widest - between) / (variance - between)
        if s.burstiness > most:
            raise InputError(
                f"synthetic trace: burstiness {s.burstiness:g} exceeds {most:.3f}, the share of the variance of a that "
                "the overlap carries (the token drawn adds the rest, independently); lower it or raise overlap_spread"
            )
        for task, mean in zip(s.tasks, aims.acceptance, strict=True):
            low, high = mean - abs(s.drift) / 2, mean + abs(s.drift) / 2
            if low < 0.005 or high > 0.995:
                raise InputError(
                    f"synthetic trace: drift {s.drift:g} takes the acceptance {mean:.3f} of task {task.name} to "
                    f"{low:.3f}..{high:.3f}, outside 0.005..0.995; lower it"
                )

    def _parameters(self, aims: _Aims, wrongness_shift: float) -> LatentParameters:
        s = self.settings
        scale = np.sqrt(1.0 + s.overlap_spread**2)
        level = scale * ndtri(aims.acceptance)
        share = latent_correlation(aims.acceptance, self.weights, aims.variance_between, s.overlap_spread)
        lag = latent_correlation(aims.acceptance, self.weights, aims.lag_one, s.overlap_spread)
        slope = self._pooled(np.exp(-(ndtri(aims.acceptance) ** 2) / 2) / np.sqrt(2 * np.pi)) / scale
        ages = np.where(self.by_depth[:, None], scale * ndtri(aims.fresh) - level[:, None], 0.0)
        return LatentParameters(
            level=level,
            age_shift=ages,
            drift=aims.drift / slope,
            request_share=share,
            persistence=float(np.clip((lag - share) / (1.0 - share), 0.0, 0.998)),
            wrongness_shift=wrongness_shift,
            spread=s.overlap_spread,
            atom_share=self.atom_share,
        )

    def _misses(self, seen: TargetObservables) -> list[tuple[float, str]]:
        """(distance in tolerances, description) of every observable."""
        s = self.settings
        misses: list[tuple[float, str]] = []

        def add(name: str, got: float | None, asked: float) -> None:
            if got is not None and np.isfinite(got):
                misses.append((abs(got - asked) / TOLERANCES[name], f"{name} {got:.4f} instead of {asked:g}"))

        for t, task in enumerate(s.tasks):
            if task.verified_acceptance is not None:
                add("verified_acceptance", seen.verified[t], task.verified_acceptance)
            elif task.depth_acceptance is not None:
                for got, asked in zip(seen.conditional[t], task.depth_acceptance, strict=True):
                    add("acceptance_by_depth", got, asked)
            elif isinstance(task.acceptance, float):
                add("acceptance", seen.acceptance[t], task.acceptance)
        if seen.variance_between is not None:
            add("request_spread", np.sqrt(max(seen.variance_between, 0.0)), s.request_spread)
        add("burstiness", seen.burstiness, s.burstiness)
        add("drift", seen.drift, s.drift)
        add("wrong_prefix_decay", seen.wrong_prefix_decay, s.wrong_prefix_decay)
        return misses

    def _step(self, aims: _Aims, seen: TargetObservables, wrongness_shift: float) -> float:
        """Move every aim by its miss; returns the next wrongness shift."""
        s = self.settings
        for t, task in enumerate(s.tasks):
            if task.verified_acceptance is not None:
                a, d = aims.acceptance[t], np.arange(1, s.num_speculative_tokens + 1)
                slope = float((d * a ** (d - 1)).mean())
                aims.acceptance[t] += (task.verified_acceptance - seen.verified[t]) / slope
            elif task.depth_acceptance is not None:
                asked = fresh_chain_acceptance(task.depth_acceptance)
                got = np.clip(np.nan_to_num(seen.fresh_acceptance[t], nan=0.5), 1e-3, 1 - 1e-3)
                moved = ndtri(aims.fresh[t]) + ndtri(np.clip(asked, 1e-3, 1 - 1e-3)) - ndtri(got)
                aims.fresh[t] = np.where(np.isfinite(seen.fresh_acceptance[t]), ndtr(moved), aims.fresh[t])
            elif task.acceptance is not None:
                aims.acceptance[t] += task.acceptance - seen.acceptance[t]
        aims.acceptance = np.clip(aims.acceptance, 0.002, 0.998)
        between = s.request_spread**2
        if seen.variance_between is not None:
            aims.variance_between += between - seen.variance_between
        aims.lag_one += between + s.burstiness * (seen.variance - between) - seen.lag_one
        if seen.drift is not None:
            aims.drift += s.drift - seen.drift
        if seen.wrong_prefix_decay is None:
            return wrongness_shift
        kept = np.clip([1 - s.wrong_prefix_decay, 1 - seen.wrong_prefix_decay], 0.01, 0.999)
        mean = self._pooled(seen.acceptance)
        step = (ndtri(kept[1] * mean) - ndtri(kept[0] * mean)) * np.sqrt(1.0 + s.overlap_spread**2)
        return float(np.clip(wrongness_shift + 1.5 * step, 0.0, MAX_WRONGNESS_SHIFT))

    def _pooled(self, values: Floats | list[float]) -> float:
        return float(np.average(values, weights=self.weights))


def _mean_acceptance(task: TaskSettings, num_speculative_tokens: int) -> float:
    """Depth-1 acceptance asked for, or that of constant acceptance with the verified acceptance asked for."""
    if task.verified_acceptance is not None:
        asked, depths = task.verified_acceptance, np.arange(1, num_speculative_tokens + 1)
        return float(brentq(lambda a: (a**depths).mean() - asked, 0.0, 1.0))
    return float(np.ravel(np.asarray(task.acceptance, np.float64))[0])


def _fit_signals(
    settings: SyntheticSettings, pilot: Pilot, parameters: LatentParameters, drawn: Drawn
) -> LatentParameters:
    """Companion link, token link and entropy scale, on the depth-1 column of fixed trajectories."""
    a = drawn.accept_prob[:, 0].astype(np.float64)

    def overlap_correlation(link: float) -> float:
        s = similarity(drawn.latents, replace(parameters, companion_link=link))
        return observed.correlation(s, drawn.overlap) or 0.0

    link = _bracketed(
        overlap_correlation, settings.overlap_correlation, "overlap_correlation", "the wrong-prefix decay"
    )
    parameters = replace(parameters, companion_link=link)
    s = similarity(drawn.latents, parameters)

    def gain(link: float) -> float:
        companion = companion_accept(drawn.latents, s, replace(parameters, token_link=link))
        if settings.information_measure == "paper":
            return observed.paper_gain_bits(a, s, companion)
        return observed.held_out_gain_bits(a, s, companion, pilot.first_position)

    ceiling = information_ceiling_bits(a)
    if settings.information_measure == "acceptance" and settings.information_gain_bits > ceiling:
        raise InputError(
            f"synthetic trace: information_gain_bits {settings.information_gain_bits:g} exceeds the ceiling "
            f"h(mean a) - E h(a) = {ceiling:.3f} at this acceptance; lower it or raise overlap_spread"
        )
    limit = f"S (overlap_correlation {settings.overlap_correlation:g}) and A together"
    parameters = replace(
        parameters,
        token_link=_bracketed(gain, settings.information_gain_bits, "information_gain_bits", limit),
    )
    mean_entropy = float(draft_entropy(drawn.latents, parameters).mean())
    return replace(parameters, entropy_scale_nats=settings.draft_entropy_nats / mean_entropy)


def _bracketed(observable: Callable[[float], float], asked: float, name: str, limited_by: str) -> float:
    """The link in 0..MAX_LINK at which the increasing ``observable`` is ``asked``."""
    low, high = observable(0.0), observable(MAX_LINK)
    if asked > high + TOLERANCES[name] / 2:
        raise InputError(
            f"synthetic trace: {name} {asked:g} exceeds {high:.3f}, the most that {limited_by} allow here; lower it"
        )
    if asked < low - TOLERANCES[name] / 2:
        raise InputError(
            f"synthetic trace: {name} {asked:g} is below {low:.3f}, what {limited_by} tell at the least; raise it"
        )
    if asked <= low or asked >= high:
        return 0.0 if asked <= low else MAX_LINK
    return float(brentq(lambda link: observable(link) - asked, 0.0, MAX_LINK, xtol=1e-4))
