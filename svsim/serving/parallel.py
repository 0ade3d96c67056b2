"""What a step of a replica is where draft and target run at the same time; compiled."""

from svsim.compiled import compiled
from svsim.engines.parallel_step import parallel_sides_s
from svsim.engines.step import NUM_CONTEXT_TOKENS, spend_parallel
from svsim.serving.chunks import draft_added_s, target_added_s


@compiled()
def accepted_run(accepted, pool, request, most):  # type: ignore[no-untyped-def]
    """Tokens in a row, at most so many, whose first draft token is accepted, from ``out`` on.

    A run goes on over the pieces of ``acceptance_row``, which only a request that emits them moves to.
    """
    first, rows, out, chain = request.piece_first, request.piece_rows, request.piece_out, request.chain
    run = 0
    while run < most:
        while request.out + run - out >= rows:
            borrowed = pool.order[chain % pool.order.size]
            chain += 1
            out += rows - 1
            first, rows = pool.first[borrowed], pool.rows[borrowed]
        if accepted[first + request.out + run - out] == 0:
            break
        run += 1
    return run


@compiled()
def price_parallel(program, batch, prices, n, ending, new, context):  # type: ignore[no-untyped-def]
    """Seconds of a step whose draft runs on devices of its own; chunks stand beside either side."""
    kv, draft_s, verify_s, prompts_s = batch.counters[NUM_CONTEXT_TOKENS], 0.0, 0.0, 0.0
    if n > 0:
        draft_s, verify_s = parallel_sides_s(program, batch, n, kv)
    if new.size > 0:
        num_read = batch.carried[:n].sum()
        draft_s += draft_added_s(program, batch, prices, n, ending, new, context)
        prompts_s = target_added_s(prices, n, num_read, float(kv), ending, new, context)
    spend_parallel(program, batch, n if n > 0 else new.size, draft_s, verify_s, prompts_s)
