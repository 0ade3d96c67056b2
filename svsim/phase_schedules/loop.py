"""RRA run query by query: which residency law is right?"""

from dataclasses import dataclass

import numpy as np

from svsim.phase_schedules.residency import Floats, OutputLengths

WARM_UP_PHASES = 50


@dataclass(frozen=True, slots=True, eq=False)
class PhaseLoop:
    """Means over phases, and the standard errors of the first two (phases in batches of ten).

    admitted: queries encoded per phase; residents: queries that the first decode pass finds; batches: of each
    decode pass, float64 [N_D].
    """

    admitted: float
    residents: float
    admitted_error: float
    residents_error: float
    batches: Floats


def run_phases(
    lengths: OutputLengths,
    num_passes: int,
    generator: np.random.Generator,
    *,
    admit: int | None = None,
    hold: int | None = None,
    num_phases: int = 2000,
) -> PhaseLoop:
    """Encode ``admit`` queries in every phase, or as many as bring the residents to ``hold``."""
    left = np.zeros(0, np.int64)
    admitted, residents, batches = [], [], []
    for phase in range(WARM_UP_PHASES + num_phases):
        new = admit if admit is not None else max((hold or 0) - len(left), 0)
        drawn = generator.choice(lengths.tokens, new, p=lengths.probability)
        left = np.concatenate([left, drawn])
        if phase >= WARM_UP_PHASES:
            admitted.append(new)
            residents.append(len(left))
            batches.append([int((left > u).sum()) for u in range(num_passes)])
        left = left[left > num_passes] - num_passes
    return PhaseLoop(
        float(np.mean(admitted)),
        float(np.mean(residents)),
        _error(admitted),
        _error(residents),
        np.mean(batches, axis=0),
    )


def _error(values: list[int]) -> float:
    """Of the mean: neighbouring phases share queries, so parts of ten count as one."""
    parts = np.asarray(values[: len(values) // 10 * 10], np.float64).reshape(-1, 10).mean(axis=1)
    return float(parts.std(ddof=1) / np.sqrt(len(parts)))
