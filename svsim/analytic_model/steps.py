"""The mean step of a full batch: in closed form, or from drawn batches where selection needs them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from svsim.analytic_model.batches import BatchPrices, Lengths, sample_batches, threshold_lengths
from svsim.analytic_model.controllers import follow_controller
from svsim.analytic_model.exits import follow_exits
from svsim.analytic_model.law import (
    ExpectedStep,
    MethodLaw,
    expected_step,
    has_threshold_rule,
    method_law,
    planned_lengths,
)
from svsim.analytic_model.prices import Floats, StepTables
from svsim.analytic_model.turns import mean_seconds
from svsim.analytic_model.walks import Paths
from svsim.decoding.method import DecodingMethod
from svsim.decoding.pipelines import SERIAL
from svsim.engines.binding import selects
from svsim.engines.program import BoundColumns
from svsim.latency.monotone_fit import isotonic_fit
from svsim.random_streams import RandomStreams

LARGEST_SMALL_BATCH = 8
STAIR_SHARE = 0.002  # of a verification's seconds: how far they may lie above a convex curve


@dataclass(frozen=True, slots=True)
class WalkedMethod:
    """A method on a trace: its columns per replicate of the coins, and the law of its walks.

    index: its number among the methods. plans: lengths at every position per replicate, uint8 [T], or
    None if they are selected.
    """

    index: int
    method: DecodingMethod
    paths: Paths
    replicates: Sequence[BoundColumns]
    plans: Sequence[Lengths] | None
    law: MethodLaw | None

    @classmethod
    def of(
        cls,
        index: int,
        method: DecodingMethod,
        paths: Paths,
        replicates: Sequence[BoundColumns],
        num_tokens: int,
    ) -> "WalkedMethod":
        """Walk the method; ``num_tokens`` are emitted by a walk over all requests."""
        plans = None if selects(method) else [planned_lengths(method, c) for c in replicates]
        law = None if method.switching else method_law(method, paths, replicates, num_tokens)
        return cls(index, method, paths, replicates, plans, law)


@dataclass(frozen=True, slots=True)
class MeanStep:
    """lengths: uint8 [T], at every position; seconds: [G, 3], drafting, companion and verification of the
    whole batch at the context knots; accepted: uint8 [T], where that hangs on what was chosen there."""

    lengths: Lengths
    seconds: Floats
    accepted: Lengths | None = None


class MeanSteps:
    """Mean steps at the batch sizes and deployments of ``tables``, each worked out once when asked for.

    ``of_copies``: a batch holds copies of one request.
    """

    def __init__(self, tables: StepTables, streams: RandomStreams, of_copies: bool = False) -> None:
        self.tables, self.streams, self.of_copies = tables, streams, of_copies
        self._closed: dict[tuple[int, int], ExpectedStep] = {}
        self._steps: dict[tuple[int, int, int, int, bool], MeanStep] = {}

    def at(self, walked: WalkedMethod, h: int, i: int, replicate: int, overlaps: bool = False) -> MeanStep:
        """Of a method on deployment h at batch size i with a replicate of the coins.

        ``overlaps``: the batch is one of two micro-batches that take turns.
        """
        key = walked.index, h, i, replicate, overlaps
        if key not in self._steps:
            self._steps[key] = self._work_out(walked, h, i, replicate, overlaps)
        return self._steps[key]

    def _work_out(self, walked: WalkedMethod, h: int, i: int, replicate: int, overlaps: bool) -> MeanStep:
        columns, n = walked.replicates[replicate], int(self.tables.batch_sizes[i])
        rng = self.streams.generator("analytic", walked.index, h, n, replicate)
        if walked.method.switching is not None:
            priced, knots = self.tables.priced(walked.method)[h], self.tables.knots.values
            seconds = mean_seconds(priced, columns.turns, knots, n, rng, self.of_copies)
            return MeanStep(np.zeros(len(columns.turns), np.uint8), seconds)
        law = walked.law
        if columns.exits.size:
            place = h, i
            found = follow_exits(
                walked.method, columns, walked.paths, self.tables, place, rng, self.of_copies
            )
            seconds = np.insert(found.seconds, 1, 0.0, axis=1)  # no companion runs
            return MeanStep(found.lengths, seconds, found.accepted)
        if law is None or overlaps or (walked.plans is None and self._needs_batches(walked.method, h, i)):
            return self._drawn(walked, h, i, columns, rng, overlaps)
        key = walked.index, i
        if key not in self._closed:
            self._closed[key] = expected_step(law, self.tables, i)
        step = self._closed[key]
        seconds = np.stack([step.draft_s[h], step.companion_s[h], step.verify_s[h]], axis=1)
        if walked.plans is not None:
            return MeanStep(walked.plans[replicate], seconds)
        return MeanStep(threshold_lengths(law, columns, float(step.verified[h]), rng), seconds)

    def _needs_batches(self, method: DecodingMethod, h: int, i: int) -> bool:
        """Small batches, copies, verification prices with stairs, and rules that no law states."""
        n = int(self.tables.batch_sizes[i])
        if n <= LARGEST_SMALL_BATCH or self.of_copies or not has_threshold_rule(method):
            return True
        seconds = self.tables.verify_s(i, method)[h, self.tables.knots.num // 2]
        seconds = seconds[: n * method.num_speculative_tokens + 1]
        slopes = np.diff(seconds)
        convex = seconds[0] + np.cumsum(isotonic_fit(slopes, np.ones_like(slopes)))
        return bool((seconds[1:] - convex).max() > STAIR_SHARE * seconds[0])

    def _drawn(
        self,
        walked: WalkedMethod,
        h: int,
        i: int,
        columns: BoundColumns,
        rng: np.random.Generator,
        overlaps: bool,
    ) -> MeanStep:
        method, n = walked.method, int(self.tables.batch_sizes[i])
        prices = self._batch_prices(method, h, i, overlaps)
        sample_of = follow_controller if method.stops_draft else sample_batches
        sample = sample_of(method, columns, walked.paths, prices, n, rng, self.of_copies)
        draft_s = prices.draft_s[:, sample.num_catch_up]
        if method.stops_draft:
            draft_s = draft_s * (sample.num_drafting[:, 0] > 0)
            for j in range(1, method.num_speculative_tokens):
                draft_s += prices.later_draft_s[:, j, sample.num_drafting[:, j]]
        companion_s = prices.companion_s[:, sample.num_unscored]
        verify_s = prices.verify_s[:, sample.num_verified]
        if overlaps:
            seen = np.maximum(1.0 - verify_s / (draft_s + companion_s), 0.0)
            draft_s, companion_s = draft_s * seen, companion_s * seen
        parts = draft_s, companion_s, verify_s
        return MeanStep(sample.lengths, np.stack([p.mean(axis=1) for p in parts], axis=1))

    def _batch_prices(self, method: DecodingMethod, h: int, i: int, overlaps: bool) -> BatchPrices:
        tables, n, k = self.tables, int(self.tables.batch_sizes[i]), method.num_speculative_tokens
        if method.stops_draft:
            first, later = tables.draft_passes_s(i, method)
            draft_s, later_s = first[h], later[h]
        else:
            draft_s, later_s = tables.draft_by_catch_up_s(i, method)[h], np.zeros((1, 1, 1))
        pipeline = method.pipeline if overlaps else SERIAL
        return BatchPrices(
            np.array([tables.knots.low, 1.0 / tables.knots.spacing]),
            float(tables.overhead_s(i, method)[h]),
            np.ascontiguousarray(draft_s * pipeline.draft_slowdown),
            np.ascontiguousarray(later_s),
            np.ascontiguousarray(tables.companion_by_unscored_s(i, method)[h] * pipeline.draft_slowdown),
            np.ascontiguousarray(tables.verify_s(i, method)[h, :, : n * k + 1] * pipeline.verify_slowdown),
            overlaps,
        )
