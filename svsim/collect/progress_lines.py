"""A long programme's progress on a terminal or in a log: few lines, each with the time since the start."""

import time
from collections.abc import Callable

from svsim.collect.settings import Progress

SECONDS_BETWEEN_LINES = 10.0


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
