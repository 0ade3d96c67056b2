"""Synthetic columns of trees: what a made-up stateless drafter says along the text of a synthetic trace.

It is right at once where the trace's drafter is (depth 1), so trees and chains of one trace agree. Elsewhere
the text's token is its 2nd with chance ``rank``, else its 3rd with the same chance, and so on; its own law
falls off alike, a little faster or slower at every row. Its likeliest token is as probable as it is to be
right, through noise of ``spread`` logits.
"""

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.trees import PathColumns, donors_of, grow
from svsim.random_streams import RandomStreams
from svsim.trace.token_trace import Signal, TokenTrace

Floats = NDArray[np.float64]
MAX_RANK = 65534
FALL_SPREAD = 0.2


def tree_columns(
    trace: TokenTrace,
    law: tuple[float, float],
    num_children: int,
    own_tree: tuple[int, int],
    num_siblings: int,
    streams: RandomStreams,
) -> dict[str, Signal]:
    """The columns by name; law: (rank, spread); own_tree: (beam, depth) of the drafter's own tree, which is
    grown with donors in the place of nodes off the text."""
    (rank_share, spread), (beam, depth) = law, own_tree
    generator = streams.generator("paths")
    is_first = trace.target.num_accepted > 0
    missed = 1 + generator.geometric(rank_share, trace.num_positions)
    rank = np.where(is_first, 1, np.minimum(missed, MAX_RANK))
    falls = np.clip(rank_share * np.exp(FALL_SPREAD * generator.normal(size=len(rank))), 0.01, 0.99)
    chances = _chances(_confidence(trace, spread, generator), falls[:, None], num_children)
    logs = np.log(chances).astype(np.float16).astype(np.float32)
    beyond = logs[:, -1] + (rank - num_children) * np.float32(np.log1p(-rank_share))
    own = np.where(
        rank <= num_children, logs[np.arange(len(logs)), np.minimum(rank, num_children) - 1], beyond
    )
    own = np.maximum(own, np.float32(-60000.0)).astype(np.float32)
    paths = PathColumns(rank[:, None].astype(np.int32), own[:, None], logs[:, None])
    grown = grow(paths, donors_of(paths, trace.first_position), (beam,) * (depth + 1))
    index, given = _siblings(trace, is_first, rank_share, num_siblings, generator)
    return {
        "path_rank": rank.astype(np.float32)[:, None],
        "path_logprob": own[:, None],
        "top_logprob": logs,
        "tree_rank": grown.tree_rank.astype(np.float32),
        "child_index": index.astype(np.float32)[:, None],
        "accept_given_token": given,
    }


def _confidence(trace: TokenTrace, spread: float, generator: np.random.Generator) -> Floats:
    """Probability of the drafter's likeliest token, [T]."""
    accept = trace.target.accept_prob
    right = trace.target.num_accepted > 0 if accept is None else accept[:, 0]
    mean = np.clip(right.astype(np.float64), 0.1, 0.97)
    logit = np.log(mean / (1.0 - mean)) + spread * generator.normal(size=len(mean))
    return np.asarray(1.0 / (1.0 + np.exp(-logit)))


def _chances(first: Floats, share: Floats, num_children: int) -> Floats:
    """The largest probabilities, falling, [T, W]: the first, and a share [T, 1] of what is left each time."""
    first = np.clip(first[:, None], share / (1.0 + share), 0.9995)  # at least the second's
    rest = share * (1.0 - share) ** np.arange(num_children - 1)
    return np.concatenate([first, (1.0 - first) * rest], axis=1)


def _siblings(
    trace: TokenTrace, is_first: NDArray[np.bool_], share: float, num: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], Signal]:
    """Index of the sibling that is the text's token, 0: none [T]; chance that one of the first n is, [T, N]:
    of a miss, the same share each time."""
    index = np.where(is_first, 1, 1 + generator.geometric(share, len(is_first)))
    later = 1.0 - (1.0 - share) ** np.arange(num)
    accept = trace.target.accept_prob
    first = is_first.astype(np.float64) if accept is None else accept[:, 0].astype(np.float64)
    given = first[:, None] + (1.0 - first[:, None]) * later
    return np.where(index <= num, index, 0), given.astype(np.float32)
