"""How wrong prices are on families that did not help to fit them: summaries, and the error bar they give."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from engine_fit import Judged

# Of a normal law: half-widths that hold 80 % and 90 %.
HALF_80, HALF_90 = 1.2816, 1.6449
# Families that a profile's own error weighs as much as that of all profiles.
SHARED_FAMILIES = 4
BATCH_RANGES = ((1, 1), (2, 8), (9, 32), (33, 4096))


@dataclass(frozen=True, slots=True)
class Summary:
    """Absolute relative errors of a group of cells."""

    num_cells: int
    num_panels: int
    mean: float
    median: float
    p80: float
    p90: float
    worst: float
    within_30: float
    bias: float

    @classmethod
    def of(cls, judged: Sequence[Judged], error: Callable[[Judged], float | None]) -> "Summary | None":
        """None of an empty group."""
        pairs = [(e, one.cell.setting.panel) for one in judged if (e := error(one)) is not None]
        if not pairs:
            return None
        errors = np.array([e for e, _ in pairs])
        size = np.abs(errors)
        p50, p80, p90 = (float(q) for q in np.quantile(size, [0.5, 0.8, 0.9]))
        return cls(
            len(errors),
            len({panel for _, panel in pairs}),
            float(size.mean()),
            p50,
            p80,
            p90,
            float(size.max()),
            float((size <= 0.3).mean()),
            float(errors.mean()),
        )


def speedup_error(one: Judged) -> float | None:
    """Of cells with speculation and a baseline."""
    return one.speedup_error if one.is_on else None


def step_error(one: Judged) -> float | None:
    """Of steps with speculation."""
    return one.step_error if one.is_on else None


def target_only_error(one: Judged) -> float | None:
    """Of target-only steps."""
    return None if one.is_on else one.step_error


def by_panel(judged: Iterable[Judged], error: Callable[[Judged], float | None]) -> float:
    """Mean absolute error with every panel weighing the same."""
    panels: dict[str, list[float]] = {}
    for one in judged:
        if (e := error(one)) is not None:
            panels.setdefault(one.cell.setting.panel, []).append(abs(e))
    return float(np.mean([np.mean(errors) for errors in panels.values()]))


def is_roofline_mixture(one: Judged) -> bool:
    """A mixture whose target the roofline prices: the least certain kind."""
    return one.terms.is_mixture and one.terms.source.startswith("roofline")


def sigma(judged: Sequence[Judged]) -> float | None:
    """One relative sigma of speedups: a normal law of it covers 80 and 90 % of these cells, on average."""
    errors = [abs(np.log1p(e)) for one in judged if (e := speedup_error(one)) is not None]
    if not errors:
        return None
    p80, p90 = np.quantile(errors, [0.8, 0.9])
    return float(0.5 * (p80 / HALF_80 + p90 / HALF_90))


def price_error(judged: Sequence[Judged], profile: str) -> float:
    """Of a profile: its own sigma blended with that of all profiles, by the families that judged it.

    Mixtures that the roofline prices have an error of their own.
    """
    usual = [one for one in judged if not is_roofline_mixture(one)]
    common = sigma(usual)
    assert common is not None
    own = [one for one in usual if one.cell.setting.profile == profile]
    mine = sigma(own)
    if mine is None:
        return common
    families = len({one.cell.setting.family for one in own if speedup_error(one) is not None})
    share = families / (families + SHARED_FAMILIES)
    return float(np.sqrt(share * mine**2 + (1.0 - share) * common**2))


def coverage(judged: Sequence[Judged]) -> tuple[float, float]:
    """Shares of cells inside the 80 and 90 % error bars that the other families alone would have stated."""
    bars: dict[tuple[str, str, bool], float] = {}
    hits = []
    for one in judged:
        error, setting = speedup_error(one), one.cell.setting
        if error is None:
            continue
        key = setting.family, setting.profile, is_roofline_mixture(one)
        if key not in bars:
            bars[key] = stated_error([o for o in judged if o.cell.setting.family != setting.family], one)
        hits.append([abs(np.log1p(error)) <= half * bars[key] for half in (HALF_80, HALF_90)])
    low, high = np.mean(hits, axis=0)
    return float(low), float(high)


def stated_error(others: Sequence[Judged], one: Judged) -> float:
    """The sigma that a row of this kind would carry, learnt from these other cells."""
    kind = [o for o in others if is_roofline_mixture(o)]
    if is_roofline_mixture(one) and (mixture := sigma(kind)) is not None:
        return max(mixture, price_error(others, one.cell.setting.profile))
    return price_error(others, one.cell.setting.profile)


def decisions(judged: Sequence[Judged], errors: Callable[[Judged], float]) -> dict[str, float]:
    """Shares of right decisions and of the answer ``measure``, beyond and within 10 % of break-even."""
    cells = [one for one in judged if one.is_on and one.cell.speedup is not None]
    speedup = np.array([one.cell.speedup for one in cells], np.float64)
    predicted = np.array([one.predicted_speedup for one in cells])
    bar = np.array([HALF_90 * errors(one) for one in cells])
    is_far = np.abs(speedup - 1.0) > 0.1
    is_right = (predicted > 1.0) == (speedup > 1.0)
    is_clear = np.abs(np.log(predicted)) > bar
    return {
        "far": float(is_far.sum()),
        "far_right": float(is_right[is_far].mean()),
        "far_right_or_measure": float((is_right | ~is_clear)[is_far].mean()),
        "far_measure": float((~is_clear)[is_far].mean()),
        "near": float((~is_far).sum()),
        "near_right": float(is_right[~is_far].mean()),
        "near_measure": float((~is_clear)[~is_far].mean()),
    }
