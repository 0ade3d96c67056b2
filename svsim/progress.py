"""How far a long job is: one callback, ``OnProgress``, whatever the job; and lines of it in a log."""

import time
from collections.abc import Callable
from dataclasses import dataclass

SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long job is: ``done`` of ``total`` units, seconds spent, seconds left at this pace."""

    what: str
    done: int
    total: int
    elapsed_s: float

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the mean pace so far; None before the first unit is done."""
        return None if self.done == 0 else self.elapsed_s * (self.total - self.done) / self.done


OnProgress = Callable[[Progress], None]


class Count:
    """Counts the units of one job for a callback that need not be there."""

    def __init__(self, progress: OnProgress | None, what: str, total: int) -> None:
        self.progress, self.what, self.total = progress, what, total
        self.began = time.perf_counter()

    def __call__(self, done: int) -> None:
        if self.progress is not None:
            self.progress(Progress(self.what, done, self.total, time.perf_counter() - self.began))


class ProgressLines:
    """Says lines with the seconds since it was made; called with ``Progress``, one every ten seconds."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.began = self._said = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self.began

    def tell(self, line: str) -> None:
        """One line, now."""
        self.say(f"[{self.elapsed_s:6.0f} s] {line}")

    def __call__(self, progress: Progress) -> None:
        now = time.perf_counter()
        if now - self._said > SECONDS_BETWEEN_LINES:
            self._said = now
            eta = "" if progress.eta_s is None else f", {progress.eta_s:.0f} s left"
            self.tell(f"  {progress.what}: {progress.done}/{progress.total}{eta}")
