"""Draft lengths by the number of requests running at once, as engines take them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from svsim.advice.decision import Advice


@dataclass(frozen=True, slots=True)
class Rung:
    """From ``start`` to ``end`` requests at once (both included), k draft tokens; 0: no speculation."""

    start: int
    end: int
    k: int


def ladder_of(advice: Iterable[Advice]) -> tuple[Rung, ...]:
    """Rungs from 1 to the largest batch size of one hardware's advice; equal neighbours are one.

    Between two batch sizes with different lengths the change is at their geometric mean.
    """
    sized = sorted(advice, key=lambda one: one.batch_size)
    lengths = [(one.batch_size, one.num_draft_tokens) for one in sized if one.goodput_tok_s is not None]
    rungs: list[Rung] = []
    for place, (size, k) in enumerate(lengths):
        start = 1 if place == 0 else math.ceil(math.sqrt(lengths[place - 1][0] * size))
        if rungs and rungs[-1].k == k:
            rungs[-1] = Rung(rungs[-1].start, size, k)
            continue
        if rungs:
            rungs[-1] = Rung(rungs[-1].start, start - 1, rungs[-1].k)
        rungs.append(Rung(start, size, k))
    return tuple(rungs)


def words(ladder: Sequence[Rung]) -> str:
    """``1-22: 6, 23-64: 3, 65-256: none``."""
    return ", ".join(f"{r.start}{f'-{r.end}' if r.end > r.start else ''}: {r.k or 'none'}" for r in ladder)
