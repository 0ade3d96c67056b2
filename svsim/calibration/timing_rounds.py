"""Repeats of every shape spread over the whole measurement, so that slow spells meet all shapes alike.

On a CPU of a shared or virtual machine, a pass takes up to 1.8 times as long for seconds or minutes on end;
repeats one right after the other would put such a spell into single rows
of the table. A GPU keeps one round: its shapes are captured as graphs, and its clocks hold still.
"""

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Shape = TypeVar("Shape", bound=Hashable)
Stages = NDArray[np.float64]
# repeats of one shape that follow each other where rounds are made
REPEATS_PER_ROUND = 2


@dataclass(slots=True)
class Timed(Generic[Shape]):
    """Seconds [repeats, stages] of every shape that was timed, and how many were left out."""

    stages: dict[Shape, Stages] = field(default_factory=dict)
    num_late: int = 0
    num_large: int = 0


def repeats_by_round(num_repeats: int, *, in_rounds: bool) -> list[int]:
    """How often a shape is timed in each round."""
    if not in_rounds:
        return [num_repeats]
    full, rest = divmod(num_repeats, REPEATS_PER_ROUND)
    return [REPEATS_PER_ROUND] * full + [rest] * (rest > 0)


def time_in_rounds(
    shapes: Sequence[Shape],
    always: Sequence[Shape],
    time_one: Callable[[Shape, int], Stages],
    rounds: Sequence[int],
    seconds: float,
    on_shape: Callable[[int, int], None],
) -> Timed[Shape]:
    """Time shapes, most valuable first, in ``rounds`` of so many repeats, in about ``seconds``.

    The first round takes its share of the time: shapes it does not reach are left out, those of ``always``
    excepted. So are shapes that do not fit into memory.
    time_one: (shape, repeats) -> seconds [repeats, stages]. on_shape: (done, total).
    """
    from svsim.device.out_of_memory import is_out_of_memory

    found: Timed[Shape] = Timed()
    parts: dict[Shape, list[Stages]] = {}
    began = time.perf_counter()
    for index, shape in enumerate((*shapes, *always)):
        if index < len(shapes) and time.perf_counter() - began > seconds / len(rounds):
            found.num_late += 1
            continue
        try:
            parts[shape] = [time_one(shape, rounds[0])]
        except (RuntimeError, MemoryError) as failure:
            if not is_out_of_memory(failure):
                raise
            found.num_large += 1
        on_shape(index + 1, len(rounds) * (len(shapes) + len(always)))
    for number, num_repeats in enumerate(rounds[1:], start=1):
        for index, (shape, timed) in enumerate(parts.items()):
            timed.append(time_one(shape, num_repeats))
            on_shape(number * len(parts) + index + 1, len(rounds) * len(parts))
    found.stages = {shape: np.concatenate(timed) for shape, timed in parts.items()}
    return found
