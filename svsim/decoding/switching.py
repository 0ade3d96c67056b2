"""Entropy adaptive decoding (EAD, arXiv 2502.06833): a large and a small model take turns in one text. Lossy.

Words
-----
at work    one model writes a row's token; nothing is drafted and nothing verified.
entropy    of the model at work at its own token, in bits, before temperature.
threshold  tau: where the mean entropy of the last ``window`` tokens lies above it, the large model takes
           over; below it, the small one. Equal: nothing changes.
dwell      tokens that a model writes at least before the other takes over.
gap        tokens that a model has not read when it takes over: those that the other wrote.

The text keeps neither model's law: whole stretches of it are the small model's. Its entropies decide the
turns, so a trace of another text (the target's own) shows how the rule would switch there, and no more.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from svsim.compiled import compiled
from svsim.decoding.work import DraftWork, Schedule
from svsim.errors import MethodError

NATS_PER_BIT = float(np.log(2.0))
MAX_GAP_TOKENS = 256  # of one pass; more go on along the mean slope
# of a row: both models read its token
BOTH = 0


class CatchUp(StrEnum):
    """How a model that takes over learns of the gap."""

    PREFILL = "prefill"  # it reads the gap in its first pass
    IDEAL = "ideal"  # for nothing
    BOTH = "both"  # both models read every token, so that there is none


class Start(StrEnum):
    """The model that writes the first tokens."""

    LARGE = "large"
    SMALL = "small"


@dataclass(frozen=True, slots=True)
class EntropySwitching:
    """The rule. Published: a window of 5 and a dwell of 10 tokens; threshold and first model are ours."""

    window: int = 5
    dwell: int = 10
    threshold_bits: float = 1.0
    catch_up: CatchUp = CatchUp.PREFILL
    start: Start = Start.LARGE

    def __post_init__(self) -> None:
        for name, value in (("w", self.window), ("dwell", self.dwell)):
            if value < 1:
                raise MethodError(f"ead: {name}={value} is out of range; expected at least 1")

    signals = ("draft_entropy",)
    outcomes = ("target_entropy",)

    @property
    def work(self) -> DraftWork:
        """A pass of the small model; passes that read gaps are laid out for ``MAX_GAP_TOKENS`` more."""
        gap = MAX_GAP_TOKENS if self.catch_up is CatchUp.PREFILL else 0
        return DraftWork(Schedule.TURNS, tokens_beside=gap)

    def large_at_work(
        self, target_nats: NDArray[np.float32], draft_nats: NDArray[np.float32], first: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Whether the large model writes each row's token, bool [T].

        target_nats, draft_nats: entropies of either model [T]; first: int64 [R + 1], where requests begin.
        """
        large = np.zeros(len(target_nats), np.bool_)
        _walk(
            np.array(target_nats, np.float32),  # copies: columns of a file are read-only
            np.array(draft_nats, np.float32),
            np.array(first, np.int64),
            np.array([self.window, self.dwell, self.start is Start.LARGE], np.int64),
            self.threshold_bits * NATS_PER_BIT,
            large,
        )
        return large

    def turns(self, large: NDArray[np.bool_], first: NDArray[np.int64]) -> NDArray[np.int32]:
        """New tokens that the model at work reads at each row, int32 [T]; negative: the small model.

        One, and in the first pass after a switch the gap (``PREFILL``); ``BOTH`` where both models read one.
        """
        if self.catch_up is CatchUp.BOTH:
            return np.full(len(large), BOTH, np.int32)
        tokens = np.ones(len(large), np.int32)
        if self.catch_up is CatchUp.PREFILL:
            tokens += gaps(large, first)
        return np.where(large, tokens, -tokens).astype(np.int32)


def gaps(large: NDArray[np.bool_], first: NDArray[np.int64]) -> NDArray[np.int32]:
    """Tokens of the other model before each row that follows a switch, int32 [T]; 0 elsewhere.

    Both models have read the prompt.
    """
    found = np.zeros(len(large), np.int32)
    is_first = np.zeros(len(large), np.bool_)
    is_first[first[:-1][first[:-1] < len(large)]] = True
    begins = np.flatnonzero(is_first | np.append(True, large[1:] != large[:-1])[: len(large)])
    switched = begins[~is_first[begins]]
    before = np.searchsorted(begins, switched) - 1
    found[switched] = switched - begins[before]
    return found


@compiled("void(float32[::1], float32[::1], int64[::1], int64[::1], float64, boolean[::1])")
def _walk(target_nats, draft_nats, first, constants, threshold, large):  # type: ignore[no-untyped-def]
    """Request by request, token by token: who writes. constants = [window, dwell, starts large]."""
    window, dwell = constants[0], constants[1]
    for r in range(first.size - 1):
        is_large, written = constants[2] == 1, 0
        for t in range(first[r], first[r + 1]):
            large[t] = is_large
            written += 1
            if written < dwell:
                continue
            begin = max(first[r], t + 1 - window)
            total = 0.0
            for s in range(begin, t + 1):
                total += target_nats[s] if large[s] else draft_nats[s]
            mean = total / (t + 1 - begin)
            if (mean > threshold and not is_large) or (mean < threshold and is_large):
                is_large, written = not is_large, 0
