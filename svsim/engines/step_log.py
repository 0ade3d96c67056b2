"""The closed loop one step at a time: what a validation on real hardware runs instead of pricing.

``StepWalk`` follows the trajectory of the replay of one (method, batch size, deployment) exactly: the same
requests, coins, order of admission and staggered starts, and the same ``take_step`` decides.
"""

from dataclasses import dataclass

import numpy as np
from numba import types
from numpy.typing import NDArray

from svsim.compiled import compiled
from svsim.decoding.drafters import MODEL
from svsim.decoding.pass_rules import PASS_RULE
from svsim.decoding.pipelines import SERIAL
from svsim.decoding.selection_rules import RULE
from svsim.decoding.selections import Plan
from svsim.engines.admission import PLACE, WARM_UP_PER_SLOT, Admission, Stretch, next_stretch
from svsim.engines.binding import BatchShape, PriceBook, bind, bind_columns, compiled_pass_rule, compiled_rule
from svsim.engines.closed_loop import (
    BATCH,
    NUM_TALLIES,
    PROGRAM,
    QUEUE,
    REQUESTS,
    SLOTS,
    TALLIES,
    new_slots,
    refill,
)
from svsim.engines.settings import PreparedRun
from svsim.engines.step import (
    COMPANION,
    DRAFT,
    NUM_FINISHED,
    OVERHEAD,
    VERIFY,
    new_batch,
    take_step,
)
from svsim.errors import InputError


@compiled((PROGRAM, types.FunctionType(RULE), types.FunctionType(PASS_RULE), BATCH, types.int64))
def take(program, select, ask, batch, n):  # type: ignore[no-untyped-def]
    """``take_step`` behind one signature for every rule."""
    take_step(program, select, ask, batch, n)


@compiled((PROGRAM, BATCH, SLOTS, REQUESTS, QUEUE, TALLIES))
def _refill(program, batch, slots, requests, queue, tallies):  # type: ignore[no-untyped-def]
    return refill(program, batch, slots, requests, queue, tallies)


@dataclass(frozen=True, slots=True)
class StepWork:
    """What B sequences bring into a step, int64 [B] each.

    context: KV tokens of each. num_owed: emitted tokens that draft and companion have not read yet.
    """

    context: NDArray[np.int64]
    num_owed: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a step decided and did, int64 [B] each, and its predicted seconds.

    lengths: verified draft tokens. emitted: tokens, no more than the request had left.
    """

    lengths: NDArray[np.int64]
    emitted: NDArray[np.int64]
    overhead_s: float
    draft_s: float
    companion_s: float
    verify_s: float

    @property
    def seconds(self) -> float:
        """All of the step."""
        return self.overhead_s + self.draft_s + self.companion_s + self.verify_s


@dataclass(frozen=True, slots=True)
class LoggedStep:
    """One step: what came in, what was decided."""

    work: StepWork
    outcome: StepOutcome


class StepWalk:
    """Alternate ``begin`` (refill, see what the step starts from) and ``finish`` (decide, advance).

    Continuous refill, distinct requests, recorded coins, native convention; the evaluation part must be
    in memory.
    """

    def __init__(self, prepared: PreparedRun, method: int, batch_size: int, deployment: int = 0) -> None:
        settings, self.method = prepared.settings, prepared.methods[method]
        if settings.refill != "continuous" or settings.batch_of != "requests":
            raise InputError("steps are logged for continuous refill of distinct requests only")
        plain = self.method.drafter == MODEL and self.method.pipeline == SERIAL and not self.method.switching
        if self.method.stops_draft or not plain:
            raise InputError(
                f"{self.method.label}: steps are logged for methods that draft all k tokens with a draft "
                "model, one micro-batch at a time; choose td, sd, sv, sv-lossless or another such method"
            )
        if batch_size > prepared.part.num_requests:
            raise InputError(
                f"batch {batch_size} exceeds the {prepared.part.num_requests} requests to replay; "
                "use a smaller batch or a longer trace"
            )
        low, high = prepared.part.context_range
        k = self.method.num_speculative_tokens
        shape = BatchShape(batch_size, 1, False, (float(low), float(high + k + 1)))
        columns = bind_columns(self.method, prepared.trace, settings.coins, 0)
        self._program = bind(self.method, columns, PriceBook(prepared.deployments[deployment]), shape)
        self._rule, self._pass_rule = compiled_rule(self.method), compiled_pass_rule(self.method)
        self._batch, self._slots = new_batch(batch_size, k), new_slots(batch_size)
        self._owed = np.ones(batch_size, np.int64)
        self.batch_size = batch_size
        self._admission = Admission(prepared.part, settings.seed)
        self._stretches = self._admission.stretches()
        self._queue, self._tallies = self._admission.queue(batch_size), np.zeros((1, NUM_TALLIES))
        self._begin(next(self._stretches))
        self._refill()

    @property
    def num_admitted(self) -> int:
        """Requests that got a slot so far."""
        return int(self._queue.progress[PLACE])

    def begin(self) -> StepWork:
        """Refill the slots that ended; what the next step starts from."""
        batch = self._batch
        self._refill()
        return StepWork(batch.position + batch.context_base, self._owed.copy())

    def finish(self) -> StepOutcome:
        """Decide, price and take the step that ``begin`` opened."""
        batch, k = self._batch, self._program.num_speculative_tokens
        before, clocks = batch.position.copy(), batch.clocks.copy()
        take(self._program, self._rule, self._pass_rule, batch, self.batch_size)
        moved = batch.position - before
        uniform = self._program.plan == Plan.UNIFORM
        lengths = np.full(self.batch_size, k) if uniform else batch.length.copy()
        self._owed = 1 + (moved - 1 == k) * np.int64(k > 0)
        seconds = batch.clocks - clocks
        return StepOutcome(
            lengths,
            np.minimum(batch.position, batch.end) - before,
            *(float(seconds[clock]) for clock in (OVERHEAD, DRAFT, COMPANION, VERIFY)),
        )

    def log(self, num_steps: int) -> list[LoggedStep]:
        """The next steps, decided and priced without any hardware."""
        return [LoggedStep(self.begin(), self.finish()) for _ in range(num_steps)]

    def warm_up(self) -> None:
        """Walk until as many requests were admitted as the replay does before it measures."""
        while self.num_admitted < WARM_UP_PER_SLOT * self.batch_size:
            self.begin()
            self.finish()

    def _refill(self) -> None:
        batch = self._batch
        self._owed[batch.finished[: batch.counters[NUM_FINISHED]]] = 1
        while not _refill(self._program, batch, self._slots, self._requests, self._queue, self._tallies):
            self._begin(next(self._stretches))

    def _begin(self, stretch: Stretch) -> None:
        """Go on with the requests of a stretch; the columns are those of the whole part."""
        self._requests = stretch.requests(stretch.first_row)
        self._queue = next_stretch(self._queue, self._admission.order(stretch, self.batch_size))
