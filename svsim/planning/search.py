"""The largest step of a ladder that passes, and how margins place it between steps.

A test that is true up to some step and false above is found by a gallop (1, 2, 4 ... steps from a start) and
a bisection; every step is tested once at most where the caller remembers. ``crossing`` reads the same off
margins that were seen anyway.
"""

from collections.abc import Callable, Mapping

Passes = Callable[[int], bool]


def bisected(passes: Passes, low: int, high: int, within: int = 1) -> tuple[int, int]:
    """(low, high) at most ``within`` apart; ``low`` passes and ``high`` does not, or is out of reach."""
    while high - low > within:
        middle = (low + high) // 2
        if passes(middle):
            low = middle
        else:
            high = middle
    return low, high


def largest(passes: Passes, start: int, top: int, within: int = 1) -> int | None:
    """The largest step from 0 to ``top`` that passes, found from ``start``; None: not even step 0.

    within: steps that the answer may be too low by, and one.
    """
    start, width = min(max(start, 0), top), 1
    if passes(start):
        low = start
        while low < top:
            high = min(low + width, top)
            if not passes(high):
                return bisected(passes, low, high, within)[0]
            low, width = high, 2 * width
        return top
    high = start
    while high > 0:
        low = max(high - width, 0)
        if passes(low):
            return bisected(passes, low, high, within)[0]
        high, width = low, 2 * width
    return None


def crossing(margins: Mapping[int, float]) -> float | None:
    """Where the margin crosses 0, between steps; None: above 0 from the lowest on.

    margins: by step, at least one. Noise is taken out by a running maximum. Below 0 everywhere: the highest
    step.
    """
    worst, before = -float("inf"), None
    for step in sorted(margins):
        now = max(worst, margins[step])
        if now > 0.0:
            if before is None:
                return None
            return before + (step - before) * worst / (worst - now)
        worst, before = now, step
    return None if before is None else float(before)
