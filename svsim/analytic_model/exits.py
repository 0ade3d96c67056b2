"""A rule that chooses among exits, followed through whole requests: as ``controllers``, with other news."""

from dataclasses import dataclass

import numpy as np
from numba import typeof, types

from svsim.analytic_model.batches import Lengths, new_work
from svsim.analytic_model.controllers import most_steps
from svsim.analytic_model.prices import Floats, StepTables
from svsim.analytic_model.walks import Paths
from svsim.compiled import compiled
from svsim.decoding.exit_rules import EXIT, EXIT_S, MATCHES, SEEN
from svsim.decoding.method import DecodingMethod
from svsim.decoding.selection_rules import RULE
from svsim.engines.admission import PLACE, is_used_up, new_queue, queue_of_passes, take_next
from svsim.engines.program import BoundColumns


@dataclass(frozen=True, slots=True)
class FollowedExits:
    """Steps of full batches: lengths and accepted tokens at the positions of the last pass, uint8 [T];
    seconds of drafting and verification at context knots, float64 [G, 2]."""

    lengths: Lengths
    accepted: Lengths
    seconds: Floats


def follow_exits(
    method: DecodingMethod,
    columns: BoundColumns,
    paths: Paths,
    tables: StepTables,
    place: tuple[int, int],
    rng: np.random.Generator,
    of_copies: bool = False,
) -> FollowedExits:
    """The mean step on deployment h at batch size i, ``place`` = (h, i)."""
    h, i = place
    n, k = int(tables.batch_sizes[i]), method.num_speculative_tokens
    draft_s, verify_s = _choices_s(method, tables, h, n)
    axis = np.array([tables.knots.low, 1.0 / tables.knots.spacing])
    num_rows = paths.end - paths.first
    queue = queue_of_passes(num_rows, n, rng, of_copies)
    chosen = np.zeros((most_steps(num_rows, queue, n), 2), np.int64)
    lengths, accepted = np.full(len(columns.accepted), k, np.uint8), columns.accepted.copy()
    warm_up, num_steps = follow_queue_of_exits(
        method.selection.rule.loaded,
        np.asarray(method.selection.options, np.float64),
        paths,
        columns.exits,
        queue,
        axis,
        float(tables.overhead_s(i, method)[h]),
        draft_s + verify_s,
        new_work(n, k),
        np.zeros((2, n), np.int64),
        chosen,
        lengths,
        accepted,
    )
    exits, tokens = chosen[warm_up:num_steps].T
    parts = (part[:, exits, tokens].mean(axis=1) for part in (draft_s, verify_s))
    return FollowedExits(lengths, accepted, np.stack(list(parts), axis=1))


def _choices_s(method: DecodingMethod, tables: StepTables, h: int, n: int) -> tuple[Floats, Floats]:
    """Seconds of drafting and of verifying d tokens of every sequence at every exit, [G, E, K + 1] each."""
    k, context = method.num_speculative_tokens, tables.knots.values[:, None]
    drafting, verifying = [], []
    for priced in tables.priced(method)[h].at_exits:
        passes = priced.draft_s(n, n, n * (context + np.arange(k)))
        drafting.append(np.concatenate([np.zeros_like(context), np.cumsum(passes, axis=1)], axis=1))
        verifying.append(priced.verify_s(n, n * np.arange(1, k + 2), n * context))
    return np.ascontiguousarray(np.stack(drafting, axis=1)), np.ascontiguousarray(np.stack(verifying, axis=1))


_PATHS, _QUEUE, _WORK, _TWO_COUNTS = map(
    typeof, (Paths(*np.zeros((3, 0), np.int64)), new_queue(np.zeros(1), (0, 0)), new_work(1, 1), (0, 0))
)


@compiled(
    _TWO_COUNTS(
        types.FunctionType(RULE),
        types.float64[::1],
        _PATHS,
        types.uint8[:, ::1],
        _QUEUE,
        types.float64[::1],
        types.float64,
        types.float64[:, :, ::1],
        _WORK,
        types.int64[:, ::1],
        types.int64[:, ::1],
        types.uint8[::1],
        types.uint8[::1],
    )
)
def follow_queue_of_exits(  # type: ignore[no-untyped-def]
    select, options, paths, exits, queue, axis, overhead_s, choices_s, work, slots, chosen, lengths, accepted
):  # fmt: skip
    """Step n slots until the queue is used up: (steps that warm up, steps), as ``follow_queue``.

    axis: the lowest context knot, and knots per token; choices_s: [G, E, K + 1]; slots: int64 [2, n], row and
    request; chosen: int64 [S, 2], exit and length of every step; lengths, accepted: of the rows passed.
    """
    n, k = work.candidates.shape
    num_exits, memory = exits.shape[1], work.memory
    position, request = slots[0], slots[1]
    for i in range(n):
        request[i] = take_next(queue)
        position[i] = paths.first[request[i]]
    step, warm_up = 0, 0
    while step < len(chosen):
        context = 0
        for i in range(n):
            context += position[i] + paths.context_base[request[i]]
        place = max((context / n - axis[0]) * axis[1], 0.0)
        knot = min(int(place), len(choices_s) - 2)
        up = place - knot
        for e in range(num_exits):
            for d in range(k + 1):
                seconds = choices_s[knot, e, d] * (1.0 - up) + choices_s[knot + 1, e, d] * up
                memory[EXIT_S + e * (k + 1) + d] = seconds
        select(n, work.candidates, work.verify_s, overhead_s, options, memory, work.scratch, work.lengths)
        e, length = int(memory[EXIT]), work.lengths[0]
        chosen[step, 0], chosen[step, 1] = e, length
        memory[SEEN] = 0.0
        memory[MATCHES : MATCHES + num_exits] = 0.0
        for i in range(n):
            here = position[i]
            kept = min(int(exits[here, e]), length)
            lengths[here], accepted[here] = length, exits[here, e]
            end = min(here + kept + 1, paths.end[request[i]])
            for row in range(here, end):
                for each in range(num_exits):
                    memory[MATCHES + each] += exits[row, each] > 0
            memory[SEEN] += end - here
            position[i] = here + kept + 1
        step += 1
        for i in range(n):
            if position[i] >= paths.end[request[i]]:
                if is_used_up(queue):
                    return warm_up, step
                request[i] = take_next(queue)
                position[i] = paths.first[request[i]]
                if queue.progress[PLACE] == queue.measured[0]:
                    warm_up = step
    return warm_up, step
