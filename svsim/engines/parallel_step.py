"""A step of a parallel pipeline: both sides priced, every sequence moved on (``ParallelPipeline``)."""

from svsim.compiled import compiled
from svsim.engines.prices import growing_passes_s, pass_s


@compiled()
def parallel_sides_s(program, batch, n, num_context_tokens):  # type: ignore[no-untyped-def]
    """Seconds of the two sides of a parallel step of the first n slots: (drafting, verification)."""
    m, gamma = program.multiplicity, program.turn.gammas[n]
    kv, num_read, num_ahead = num_context_tokens * m, 0, 0
    for i in range(n):
        num_read += max(batch.carried[i], 1)
        num_ahead += max(batch.carried[i] - 1, 0)
    draft_s = growing_passes_s(program.prices.draft, n * m, kv + num_ahead * m, gamma)
    return draft_s, pass_s(program.prices.target, n * m, num_read * m, kv)


@compiled()
def advance_parallel(program, batch, n):  # type: ignore[no-untyped-def]
    """Emit the accepted tokens of every sequence and, where one was rejected, the target's own.

    Returns the tokens emitted, and how many sequences finished (the first of ``batch.finished``).
    """
    accepted, gamma = program.columns.accepted, program.turn.gammas[n]
    emitted, finished = 0, 0
    for i in range(n):
        here, num_left = batch.position[i], batch.end[i] - batch.position[i]
        num_tested, kept = max(batch.carried[i], 1), 0
        while kept < min(num_tested, num_left) and accepted[here + kept] > 0:
            kept += 1
        is_cut = kept < num_tested
        batch.num_verified[i] += num_tested
        batch.num_drafted[i] += gamma
        batch.num_accepted[i] += kept
        batch.carried[i] = 0 if is_cut else gamma
        moved = min(kept + is_cut, num_left)
        batch.position[i] = here + moved
        emitted += moved
        if moved == num_left:
            batch.finished[finished] = i
            finished += 1
    return emitted, finished
