"""Constants of engine profiles from cells of measured speculation: one fit, and its cross-validation.

Every engine's constants are shared ones plus a deviation, drawn to nought by a ridge: engines that few
panels know stay near the others. Residuals are logarithms of predicted over measured seconds (target-only
and speculative) and speedups, under a loss that grows linearly where it is large; a panel weighs with the
square root of its cells.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from engine_panels import Cell
from engine_terms import Terms
from numpy.typing import NDArray
from scipy.optimize import least_squares

Floats = NDArray[np.float64]
Priced = tuple[Cell, Terms]

# Shared constants: name, where the fit starts, how far one unit of the ridge reaches.
SHARED = (
    ("target_only_host_s", 0.5e-3, 0.3e-3),
    ("speculative_host_s", 1.0e-3, 0.5e-3),
    ("draft_pass_s", 0.2e-3, 0.1e-3),
    ("verify_attention", 1.3, 0.4),
    ("prefill", 1.2, 0.2),
    ("mixture_verification", 0.7, 0.2),
    ("cut_vocabulary_pass_s", 0.1e-3, 0.1e-3),
)
NAMES = tuple(name for name, *_ in SHARED)
START, REACH = (np.array([row[i] for row in SHARED]) for i in (1, 2))
LEAST = np.array([0.0, 0.0, 0.0, 1.0, 0.5, 0.2, 0.0])
# What an engine has of its own; the engine that a profile deviates from (otherwise from the shared ones).
OWN = 3
PARENT = {
    "vllm-0.20-mrv2": "vllm-0.20",
    "vllm-0.20-sync": "vllm-0.20",
    "sglang-0.4": "sglang-0.5-sync",
    "sglang-0.5": "sglang-0.5-sync",
}
# Mapping a cut vocabulary in Python is a matter of the first V1 engines.
MAPS_VOCABULARY = ("vllm-0.8",)
RIDGE, START_RIDGE, LARGE_RESIDUAL = 0.3, 0.05, 0.1


@dataclass(frozen=True, slots=True)
class Constants:
    """Fitted constants: the shared ones [7], and per profile the deviations of its first three [P, 3]."""

    profiles: tuple[str, ...]
    shared: Floats
    deviations: Floats

    def of(self, profile: str) -> dict[str, float]:
        """Values by name; of a profile that had no cell those of its parent or of all."""
        values = self.shared.copy()
        for name in (PARENT.get(profile), profile):
            if name in self.profiles:
                values[:OWN] += self.deviations[self.profiles.index(name)] * REACH[:OWN]
        values = np.maximum(values, LEAST)
        if profile not in MAPS_VOCABULARY:
            values[NAMES.index("cut_vocabulary_pass_s")] = 0.0
        return dict(zip(NAMES, values.tolist(), strict=True))


def per_token_s(cell: Cell, terms: Terms, constants: dict[str, float], off: bool = False) -> float:
    """Predicted seconds per output token of a sequence, with the prefills of the cell's basis.

    off: of target-only decoding in the same setting.
    """
    c, measured = constants, cell.measured
    if cell.speculation is None or off:
        step_s, length, prompt_s = terms.pass_s + c["target_only_host_s"], 1.0, terms.prompt_s
    else:
        verify_s = terms.verify_s + (c["verify_attention"] - 1.0) * terms.attention_s
        verify_s += (c["mixture_verification"] - 1.0) * terms.scaled_s
        each_s = c["draft_pass_s"]
        if cell.speculation.kind == "eagle3":
            each_s += c["cut_vocabulary_pass_s"]
        step_s = verify_s + terms.draft_s + each_s * terms.num_draft_passes + c["speculative_host_s"]
        length, prompt_s = cell.speculation.acceptance_length, terms.prompt_s + terms.draft_prompt_s
    return step_s / length + c["prefill"] * measured.prompts_per_token * prompt_s


def fit(priced: Sequence[Priced]) -> Constants:
    """The constants that fit cells best."""
    profiles = tuple(sorted({cell.setting.profile for cell, _ in priced}))
    counts = Counter(cell.setting.panel for cell, _ in priced)
    weights = {panel: count**-0.25 for panel, count in counts.items()}

    def unpacked(values: Floats) -> Constants:
        shared, own = values[: len(NAMES)], values[len(NAMES) :]
        return Constants(profiles, START + shared * REACH, own.reshape(len(profiles), OWN))

    def misfit(values: Floats) -> Floats:
        constants = unpacked(values)
        by_profile = {profile: constants.of(profile) for profile in profiles}
        found = [
            weights[cell.setting.panel] * residual
            for cell, terms in priced
            for residual in _residuals(cell, terms, by_profile[cell.setting.profile])
        ]
        kept = np.concatenate([START_RIDGE * values[: len(NAMES)], RIDGE * values[len(NAMES) :]])
        return np.concatenate([_soft(np.array(found)), kept])

    lowest = np.concatenate([(LEAST - START) / REACH, np.full(OWN * len(profiles), -np.inf)])
    start = np.zeros(len(lowest))
    return unpacked(least_squares(misfit, start, bounds=(lowest, np.inf)).x)


def _residuals(cell: Cell, terms: Terms, constants: dict[str, float]) -> list[float]:
    predicted = per_token_s(cell, terms, constants)
    error = float(np.log(predicted / cell.measured.per_token_s))
    if cell.off is None:
        return [error]
    off = per_token_s(cell, terms, constants, off=True)
    return [error, float(np.log(off / cell.off.per_token_s)) - error]


def _soft(residuals: Floats) -> Floats:
    """Residuals whose squares grow linearly beyond LARGE_RESIDUAL."""
    scaled = (residuals / LARGE_RESIDUAL) ** 2
    return np.asarray(np.sign(residuals) * LARGE_RESIDUAL * np.sqrt(2.0 * (np.sqrt(1.0 + scaled) - 1.0)))


@dataclass(frozen=True, slots=True)
class Judged:
    """A cell and its prediction by constants that no panel of its family helped to fit."""

    cell: Cell
    terms: Terms
    predicted_s: float
    predicted_off_s: float

    @property
    def is_on(self) -> bool:
        """Whether it is a row with speculation."""
        return self.cell.speculation is not None

    @property
    def step_error(self) -> float:
        """Of the step, or of the time per token: the same, relative."""
        return self.predicted_s / self.cell.measured.per_token_s - 1.0

    @property
    def predicted_speedup(self) -> float:
        return self.predicted_off_s / self.predicted_s

    @property
    def speedup_error(self) -> float | None:
        """Relative; None without a measured baseline."""
        measured = self.cell.speedup
        return None if measured is None else self.predicted_speedup / measured - 1.0


def judge(priced: Sequence[Priced], constants: Constants) -> list[Judged]:
    """Predictions of cells by given constants."""
    return [
        Judged(
            cell,
            terms,
            per_token_s(cell, terms, constants.of(cell.setting.profile)),
            per_token_s(cell, terms, constants.of(cell.setting.profile), off=True),
        )
        for cell, terms in priced
    ]


def cross_validate(priced: Sequence[Priced]) -> tuple[dict[str, Constants], list[Judged]]:
    """Constants with each family left out, and every cell judged by those without its family.

    Cells that are unusable are judged, too; they never help to fit.
    """
    families = sorted({cell.setting.family for cell, _ in priced})
    left_out, judged = {}, []
    for family in families:
        inside = [one for one in priced if one[0].setting.family == family]
        others = [one for one in priced if one[0].setting.family != family and not one[0].unusable]
        left_out[family] = fit(others)
        judged += judge(inside, left_out[family])
    return left_out, judged
