"""Learning beliefs on the profile part, and learning them anew where it is small."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.beliefs import CodedBelief
from svsim.decoding.method import DecodingMethod
from svsim.decoding.tree_acceptance import TreeAcceptance
from svsim.decoding.tree_methods import fit_tree
from svsim.random_streams import RandomStreams
from svsim.trace.token_trace import TokenTrace

# Below either, a profile part is small. With fewer tokens the 272 cells of the paper's belief hold no more
# each than its prior counts for (16). On traces/llama70b.parquet, beliefs learnt on other 20 requests change
# goodput by a standard deviation of at most 0.15 % (on 5: 0.5 %), whatever the method and batch size.
FEW_REQUESTS, FEW_TOKENS = 20, 5_000
NUM_REFITS = 8


def learns(method: DecodingMethod) -> bool:
    """Whether a method's belief, or its tree, is learnt on profile requests."""
    if isinstance(method.acceptance, TreeAcceptance):
        return method.acceptance.needs_profile
    return method.belief is not None and method.belief.needs_profile


def fit_belief(
    method: DecodingMethod,
    profile: TokenTrace,
    rows: NDArray[np.int64] | slice = slice(None),
    first_position: NDArray[np.int64] | None = None,
) -> DecodingMethod:
    """The method with a belief fitted on the depth-1 column of the profile part (or rows of it), or a tree.

    first_position: int64 [R + 1], where requests begin in these rows, unless they are the profile's own.
    """
    if isinstance(method.acceptance, TreeAcceptance):
        return fit_tree(method, profile, rows)
    if method.belief is None or not learns(method):
        return method
    signals = profile.observable.require(method.belief.signals, method.label)
    target = profile.target
    accept = target.accept_prob[:, 0] if target.accept_prob is not None else target.num_accepted > 0
    accept = method.acceptance.first_accept(target, np.asarray(accept, np.float32))
    columns = tuple(s[rows, 0] for s in signals)
    belief = copy(method.belief).fit(columns, np.asarray(accept[rows], np.float32))
    if isinstance(belief, CodedBelief):
        begin = profile.first_position if first_position is None else first_position
        belief.fit_chains(tuple(s[rows] for s in signals), target.num_accepted[rows], np.asarray(begin))
    return replace(method, belief=belief)


def is_small(profile: TokenTrace) -> bool:
    """Whether another choice of profile requests may move results."""
    return profile.num_requests < FEW_REQUESTS or profile.num_positions < FEW_TOKENS


def refits(
    methods: Sequence[DecodingMethod], profile: TokenTrace, seed: int
) -> tuple[tuple[DecodingMethod, ...], ...]:
    """The methods that learn, NUM_REFITS times, each time on requests drawn from the profile's own."""
    rng = RandomStreams(seed).generator("refits")
    learning = [m for m in methods if learns(m)]
    found = []
    for _ in range(NUM_REFITS if profile.num_requests > 1 else 0):
        drawn = rng.integers(0, profile.num_requests, profile.num_requests)
        first, end = profile.first_position[drawn], profile.first_position[drawn + 1]
        rows = np.concatenate([np.arange(f, e) for f, e in zip(first, end, strict=True)])
        begin = np.concatenate([[0], np.cumsum(end - first)])
        found.append(tuple(fit_belief(m, profile, rows, begin) for m in learning))
    return tuple(found)


def small_profile_note(methods: Sequence[DecodingMethod], profile: TokenTrace) -> str:
    """What a small profile part means for the run."""
    requests = f"{profile.num_requests} request{'s' * (profile.num_requests > 1)}"
    meaning = "their intervals are widened by refits on resampled profile requests"
    if profile.num_requests == 1:
        meaning = "one request does not tell how others differ, so they have no intervals"
    return (
        f"the profile part is small: {', '.join(m.label for m in methods if learns(m))} learnt on {requests} "
        f"({profile.num_positions:,} tokens; {FEW_REQUESTS} requests and {FEW_TOKENS:,} tokens are enough); "
        f"{meaning}; raise the profile split, or record more"
    )
