"""Static refill: batches of B distinct requests that drain, summed over the law of the number alive.

A request that takes N steps shares its s-th step (s < N) with n - 1 others of its batch that take more
than s steps as well; over random batches that number is hypergeometric. So the request's share of the
batch's time is the sum over s < N of E[T(n, s) / n], and batches need not be drawn.
"""

import numpy as np
from numpy.typing import NDArray

from svsim.analytic_model.prices import ContextKnots, Counts, Floats
from svsim.analytic_model.walks import STEPS, Paths, Visits, walk_lengths

NUM_ROUNDS = 3


def alive_law(num_alive: Counts, num_requests: int, batch_size: int) -> Floats:
    """P(n of the batch alive, this request being one of them), float64 [S, B] for n = 1 .. B.

    num_alive: int64 [S], requests of all ``num_requests`` that are alive at step s (at least one).
    """
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, num_requests + 1)))])

    def log_ways(total: Counts, chosen: Counts) -> Floats:
        possible = (chosen >= 0) & (chosen <= total)
        k = np.where(possible, chosen, 0)
        ways = log_factorial[total] - log_factorial[k] - log_factorial[total - k]
        return np.where(possible, ways, -np.inf)

    others = np.arange(batch_size)
    alive, ended = num_alive[:, None] - 1, num_requests - num_alive[:, None]
    ways = log_ways(alive, others) + log_ways(ended, batch_size - 1 - others)
    return np.asarray(np.exp(ways - log_ways(np.array(num_requests - 1), np.array(batch_size - 1))))


def shares_by_steps(by_step: Counts, seconds: Floats, knots: ContextKnots, num_requests: int) -> Floats:
    """A request's share of its batch's steps and seconds by the number of steps it takes, [S + 1, 1 + X].

    by_step: int64 [S, 2], requests alive at step s and their context tokens; seconds: [B, G, X], parts of
    a step of n = 1 .. B sequences at context knots. Row N: of a request that takes N steps; column 0:
    steps of the whole batch.
    """
    batch_size, num_knots, num_parts = seconds.shape
    share = alive_law(by_step[:, 0], num_requests, batch_size) / np.arange(1, batch_size + 1)
    at_knots = (share @ seconds.reshape(batch_size, -1)).reshape(-1, num_knots, num_parts)
    at_context = knots.weights(by_step[:, 1] / by_step[:, 0])
    parts = np.einsum("sgx,sg->sx", at_knots, at_context)
    rows = np.column_stack([share.sum(axis=1), parts])
    return np.concatenate([np.zeros((1, 1 + num_parts)), np.cumsum(rows, axis=0)])


def drain(
    paths: Paths,
    accepted: NDArray[np.uint8],
    lengths: NDArray[np.uint8],
    row_of_count: Counts,
    num_drafted: int | None,
    seconds: Floats,
    knots: ContextKnots,
) -> tuple[Visits, Floats]:
    """Walks of requests whose batches of B drain, and every request's share of its batch, [R, 1 + X].

    lengths: uint8 [rows, T]; with n of the batch alive a step takes them from row ``row_of_count[n - 1]``;
    seconds: as for ``shares_by_steps``. How many are alive at a step follows from the walks, and the
    walks from that: NUM_ROUNDS rounds, where there is more than one row.
    """
    num_requests, batch_size = len(paths.first), len(row_of_count)
    row_of_step = np.full(int((paths.end - paths.first).max()), row_of_count[-1])
    visits = walk_lengths(paths, accepted, lengths, num_drafted, row_of_step)
    for _ in range(NUM_ROUNDS if len(lengths) > 1 else 0):
        others = (visits.by_step[:, 0] - 1) / max(num_requests - 1, 1)
        alive = np.rint(1 + (batch_size - 1) * others).astype(np.int64)
        row_of_step[:] = row_of_count[0]
        row_of_step[: len(alive)] = row_of_count[alive - 1]
        visits = walk_lengths(paths, accepted, lengths, num_drafted, row_of_step)
    shares = shares_by_steps(visits.by_step, seconds, knots, num_requests)
    return visits, shares[visits.sums[:, STEPS]]
