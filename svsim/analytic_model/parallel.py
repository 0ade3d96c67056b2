"""Parallel pipelines (PEARL): walks through PRE and POST, and the mean of the longer of two sides.

Whether a sequence carries tokens into a step does not depend on its batch, so walks are exact. A continuously
refilled batch of n holds, nearly, n independent sequences: the number of them that is POST is binomial, and
with it both sides of a step are known.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from svsim.analytic_model.prices import ContextKnots, Counts, Floats, binomial_law
from svsim.analytic_model.walks import (
    ACCEPTED,
    CONTEXT,
    DRAFTED,
    NUM_REQUEST_SUMS,
    STEPS,
    VERIFIED,
    Paths,
    Visits,
)
from svsim.compiled import compiled
from svsim.engines.prices import PricedWork


class ParallelWalks(NamedTuple):
    """Walks of all requests: their visits, and of each step its context and whether it is POST, [V] each."""

    visits: Visits
    context: Counts
    is_post: NDArray[np.bool_]

    @property
    def post_share(self) -> float:
        """Of all steps."""
        return float(self.is_post.mean())


@compiled()
def _walk(paths, accepted, gamma, sums, by_step, starts, is_post):  # type: ignore[no-untyped-def]
    visits = 0
    for r in range(paths.first.size):
        here, end, base = paths.first[r], paths.end[r], paths.context_base[r]
        step, post = 0, False
        while here < end:
            tested = gamma if post else 1
            run = 0
            while run < tested and here + run < end and accepted[here + run] > 0:
                run += 1
            starts[visits], is_post[visits] = here, post
            visits += 1
            by_step[step, 0] += 1
            by_step[step, 1] += here + base
            sums[r, VERIFIED] += tested
            sums[r, DRAFTED] += gamma
            sums[r, ACCEPTED] += run
            sums[r, CONTEXT] += here + base
            post = run == tested
            here += run if post else run + 1
            step += 1
        sums[r, STEPS] += step
    return visits


def walk_parallel(paths: Paths, accepted: NDArray[np.uint8], gamma: int) -> ParallelWalks:
    """Every request from PRE at its first row to its end; ``accepted``: uint8 [T], 0 where z_t fails."""
    num_rows = paths.end - paths.first
    sums = np.zeros((len(num_rows), NUM_REQUEST_SUMS), np.int64)
    by_step = np.zeros((int(num_rows.max()), 2), np.int64)
    starts, is_post = np.empty(int(num_rows.sum()), np.int64), np.empty(int(num_rows.sum()), np.bool_)
    num = _walk(paths, accepted, gamma, sums, by_step, starts, is_post)
    starts, is_post = starts[:num].copy(), is_post[:num].copy()
    nothing = np.zeros(num, np.int64)
    visits = Visits(sums, by_step[by_step[:, 0] > 0], starts, nothing, nothing)
    return ParallelWalks(visits, starts + np.repeat(paths.context_base, sums[:, STEPS]), is_post)


def sides_s(
    priced: PricedWork, n: int, gamma: int, num_post: Counts, context: Floats
) -> tuple[Floats, Floats]:
    """Seconds of drafting and of verification of n sequences, so many of them POST, [G, len(num_post)]."""
    kv, ahead = context[:, None] * n, (gamma - 1) * num_post
    draft_s = np.zeros((len(context), len(num_post)))
    for j in range(gamma):
        draft_s += priced.draft_s(n, n, kv + ahead + n * j)
    return draft_s, np.broadcast_to(priced.verify_s(n, n + ahead, kv), draft_s.shape)


def mean_parallel_step(
    priced: PricedWork, n: int, gamma: int, post_share: float, knots: ContextKnots
) -> Floats:
    """Mean seconds of a step of n sequences at context knots, [G, 3]: drafting beyond the target's pass, 0
    (companion), the target's pass."""
    draft_s, verify_s = sides_s(priced, n, gamma, np.arange(n + 1), knots.values)
    law = binomial_law(n, [post_share])[0]
    seen_s = np.maximum(draft_s - verify_s, 0.0) @ law
    return np.stack([seen_s, np.zeros_like(seen_s), verify_s @ law], axis=1)


def parallel_lockstep_s(
    priced: PricedWork, copies: int, gamma: int, walks: ParallelWalks, knots: ContextKnots
) -> Floats:
    """Seconds of every step of a batch of copies that do everything alike, [V, 3]."""
    draft_s, verify_s = sides_s(priced, copies, gamma, np.array([0, copies]), knots.values)
    parts = np.maximum(draft_s - verify_s, 0.0), np.zeros_like(draft_s), verify_s
    below, up = knots.locate(walks.context)
    post = walks.is_post.astype(np.intp)
    return np.stack([p[below, post] * (1.0 - up) + p[below + 1, post] * up for p in parts], axis=1)
