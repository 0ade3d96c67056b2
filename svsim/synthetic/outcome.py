"""What was asked of a synthetic trace beside what was made."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from svsim.synthetic.pilot import MIN_POSITIONS
from svsim.synthetic.settings import TOLERANCES, SyntheticSettings, TaskSettings
from svsim.trace.measurement import SyntheticMeasurement, conditional_acceptance, measure
from svsim.trace.token_trace import TokenTrace

_POOLED = ("request_spread", "burstiness", "drift", "wrong_prefix_decay", "overlap_correlation")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One observable: asked (None: whatever follows), measured (None: cannot be), how far off it may be."""

    name: str
    asked: float | None
    measured: float | None
    tolerance: float

    @property
    def is_met(self) -> bool | None:
        """Whether it lies within its tolerance; None where nothing was asked or measured."""
        if self.asked is None or self.measured is None:
            return None
        return abs(self.measured - self.asked) <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """The fields and ``is_met`` as plain JSON values."""
        return {**asdict(self), "is_met": self.is_met}


def outcomes(settings: SyntheticSettings, trace: TokenTrace) -> tuple[Outcome, ...]:
    """Every observable of ``settings``, measured on ``trace``."""
    seen = measure(trace)
    return (*_of_tasks(settings, trace, seen), *_of_all(settings, seen))


def is_small(trace: TokenTrace) -> bool:
    """Whether chance may move the trace further off than the tolerances, which hold for larger ones."""
    return trace.num_positions < MIN_POSITIONS


def _of_tasks(
    settings: SyntheticSettings, trace: TokenTrace, seen: SyntheticMeasurement
) -> Iterator[Outcome]:
    for task in settings.tasks:
        where = f", {task.name}" if len(settings.tasks) > 1 else ""
        if task.verified_acceptance is not None:
            yield Outcome(
                f"verified_acceptance{where}",
                task.verified_acceptance,
                seen.verified_acceptance_by_task[task.name],
                TOLERANCES["verified_acceptance"],
            )
        elif task.depth_acceptance is not None:
            got = _acceptance_by_depth(trace, task)
            for depth, (asked, made) in enumerate(zip(task.depth_acceptance, got, strict=True), start=1):
                yield Outcome(
                    f"acceptance at depth {depth}{where}", asked, made, TOLERANCES["acceptance_by_depth"]
                )
        else:
            assert isinstance(task.acceptance, float) and seen.acceptance_by_task is not None
            yield Outcome(
                f"acceptance{where}",
                task.acceptance,
                seen.acceptance_by_task[task.name],
                TOLERANCES["acceptance"],
            )


def _acceptance_by_depth(trace: TokenTrace, task: TaskSettings) -> list[float]:
    assert trace.target.accept_prob is not None
    members = np.flatnonzero(np.array(trace.tasks) == task.name)
    return list(map(float, conditional_acceptance(trace.target.accept_prob[trace.rows_of(members)])))


def _of_all(settings: SyntheticSettings, seen: SyntheticMeasurement) -> Iterator[Outcome]:
    for name in _POOLED:
        yield Outcome(name, getattr(settings, name), getattr(seen, name), TOLERANCES[name])
    entropy = settings.draft_entropy_nats
    yield Outcome(
        "draft_entropy_nats", entropy, seen.draft_entropy_nats, TOLERANCES["draft_entropy_nats"] * entropy
    )
    asked = settings.information_measure
    for name, measure_name in (("information_gain_bits", "acceptance"), ("paper_gain_bits", "paper")):
        yield Outcome(
            name,
            settings.information_gain_bits if asked == measure_name else None,
            getattr(seen, name),
            TOLERANCES["information_gain_bits"],
        )
    yield Outcome("information_ceiling_bits", None, seen.information_ceiling_bits, 0.0)
