"""The replay's clock replaced by a device: every step of a walk becomes real passes.

A step runs K draft passes (the first reads the tokens the draft has not seen), the companion's pass over
the drafted tokens where the method has one, and the target's ragged verification, each with logits and
sampling. Weights are random, so the tokens mean nothing; how many are accepted comes from the trace.

logged   every step was decided beforehand; passes follow each other without a look at the host: the
         device's time alone.
online   every step is decided when the signals would be there: the host waits for the companion, selects
         lengths from the predicted prices, lays out the verification and waits for it: all the time
         that passes (on a CPU with one thread, that thread's).

All sequences of a pass stand behind the batch's mean context: the KV cache read in all is that of the step,
its spread over the sequences is not. A captured graph is fixed to one context, so on a GPU all steps of a
loop stand behind the same one, their mean.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from svsim.calibration.device_timer import cpu_clock
from svsim.calibration.pass_layout import PassLayout
from svsim.decoding.method import DecodingMethod
from svsim.engines.step_log import LoggedStep, StepWalk, StepWork
from svsim.latency.shape import Role
from svsim.validation.device_passes import LaidOutPass, PassRunner

# parts of a step that are timed apart
DRAFT_PART, COMPANION_PART, VERIFY_PART = 0, 1, 2
NUM_PARTS = 3


@dataclass(frozen=True, slots=True)
class _Speculation:
    """Passes before the verification; ``next_draft`` runs K - 1 times, at the mean context of those."""

    first_draft: PassLayout | None = None
    next_draft: PassLayout | None = None
    companion: PassLayout | None = None


@dataclass(frozen=True, slots=True)
class LaidOutStep:
    """The passes of one step in order, by part, each as often as it is listed."""

    parts: tuple[tuple[LaidOutPass, ...], ...]


class DeviceLoop:
    """Runs the steps of one method at one batch size; ``context``, if given, is that of every step."""

    def __init__(
        self, runners: Mapping[Role, PassRunner], method: DecodingMethod, context: int | None = None
    ) -> None:
        self.runners, self.method, self.context = runners, method, context
        self.timer = next(iter(runners.values())).timer
        self._clock = cpu_clock()

    # -- decided beforehand -----------------------------------------------------------------------

    def lay_out(self, steps: Sequence[LoggedStep]) -> list[LaidOutStep]:
        """Index tensors and graphs of logged steps."""
        laid_out = []
        for step in steps:
            ahead = self._speculation(step.work)
            verify = self._verify_layout(step.work, step.outcome.lengths)
            laid_out.append(
                LaidOutStep(
                    (
                        self._drafting(ahead),
                        self._lay_out(Role.COMPANION, ahead.companion),
                        self._lay_out(Role.TARGET, verify),
                    )
                )
            )
        return laid_out

    def run_logged(self, steps: Sequence[LaidOutStep]) -> NDArray[np.float64]:
        """Seconds of drafting, companion and verification of each step: float64 [S, NUM_PARTS]."""
        marks = [self._mark()]
        for step in steps:
            for role, passes in zip((Role.DRAFT, Role.COMPANION, Role.TARGET), step.parts, strict=True):
                for one in passes:
                    self.runners[role].run(one)
                marks.append(self._mark())
        self._synchronize()
        return np.diff(self._seconds(marks)).reshape(len(steps), NUM_PARTS)

    # -- decided on the way -----------------------------------------------------------------------

    def run_online(
        self, walk: StepWalk, num_steps: int, *, dry: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Wall-clock seconds and emitted tokens of each of the walk's next steps, [S] each.

        ``dry`` leaves out the passes: what remains is the host's own time.
        """
        seconds, emitted = np.empty(num_steps), np.empty(num_steps, np.int64)
        clock = time.perf_counter if self.timer.is_gpu else self._clock
        self._synchronize()
        for index in range(num_steps):
            started = clock()
            work = walk.begin()
            ahead = self._speculation(work)
            self._run(Role.DRAFT, self._drafting(ahead, dry), dry)
            if ahead.companion is not None:
                self._run(Role.COMPANION, self._lay_out(Role.COMPANION, ahead.companion, dry), dry)
                self._synchronize()  # lengths are chosen from S and A
            outcome = walk.finish()
            verify = self._verify_layout(work, outcome.lengths)
            self._run(Role.TARGET, self._lay_out(Role.TARGET, verify, dry), dry)
            self._synchronize()  # what was accepted decides where the next step starts
            seconds[index] = clock() - started
            emitted[index] = outcome.emitted.sum()
        return seconds, emitted

    def _run(self, role: Role, passes: Sequence[LaidOutPass], dry: bool) -> None:
        if not dry:
            for one in passes:
                self.runners[role].run(one)

    # -- layouts ----------------------------------------------------------------------------------

    def _speculation(self, work: StepWork) -> _Speculation:
        """What is known before lengths are chosen."""
        k, num = self.method.num_speculative_tokens, len(work.context)
        if k == 0:
            return _Speculation()
        owed = tuple(work.num_owed.tolist())
        first = PassLayout(owed, self._context(work, 0.0))
        following = PassLayout((1,) * num, self._context(work, k / 2)) if k > 1 else None
        companion = None
        if self.method.uses_companion:
            companion = PassLayout(tuple(k - 1 + n for n in owed), self._context(work, 0.0))
        return _Speculation(first, following, companion)

    def _verify_layout(self, work: StepWork, lengths: NDArray[np.int64]) -> PassLayout:
        return PassLayout(tuple((lengths + 1).tolist()), self._context(work, 0.0))

    def _context(self, work: StepWork, beyond: float) -> int:
        """KV tokens of each sequence, ``beyond`` tokens further on."""
        mean = float(work.context.mean()) if self.context is None else self.context
        return round(mean + beyond)

    def _drafting(self, ahead: _Speculation, dry: bool = False) -> tuple[LaidOutPass, ...]:
        first = self._lay_out(Role.DRAFT, ahead.first_draft, dry)
        following = self._lay_out(Role.DRAFT, ahead.next_draft, dry)
        return first + following * (self.method.num_speculative_tokens - 1)

    def _lay_out(self, role: Role, layout: PassLayout | None, dry: bool = False) -> tuple[LaidOutPass, ...]:
        """The pass with its graph, which a dry run has no use for; nothing where there is no pass."""
        if layout is None:
            return ()
        one = self.runners[role].lay_out(layout)
        if not dry:
            self.runners[role].capture(one)
        return (one,)

    # -- time -------------------------------------------------------------------------------------

    def _mark(self) -> Any:
        if not self.timer.is_gpu:
            return self._clock()
        new_event: Any = torch.cuda.Event
        event = new_event(enable_timing=True)
        event.record()
        return event

    def _synchronize(self) -> None:
        if self.timer.is_gpu:
            torch.cuda.synchronize(self.timer.device)

    def _seconds(self, marks: Sequence[Any]) -> NDArray[np.float64]:
        """Seconds since the first mark, float64 [marks]."""
        if not self.timer.is_gpu:
            return np.array(marks)
        return np.array([marks[0].elapsed_time(mark) / 1e3 for mark in marks])
