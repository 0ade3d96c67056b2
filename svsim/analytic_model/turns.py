"""The mean step of two models that take turns (``decoding/switching.py``), from drawn batches.

Which model is at work at a row does not depend on the batch, and every row takes one step: a batch of n is n
rows drawn at random; of copies it is one row n times.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from svsim.analytic_model.prices import Floats
from svsim.analytic_model.walks import Paths
from svsim.decoding.switching import BOTH
from svsim.engines.prices import PricedWork

NUM_BATCHES = 8000
PassSeconds = Callable[[NDArray[np.int64], NDArray[np.int64], Floats], Floats]


def mean_seconds(
    priced: PricedWork,
    turns: NDArray[np.int32],
    contexts: Floats,
    num_sequences: int,
    rng: np.random.Generator,
    of_copies: bool = False,
) -> Floats:
    """Seconds of the small model's pass, of no companion, and of the large model's, float64 [G, 3].

    turns: int32 [T], what the model at work reads at a row; negative: the small one. contexts: mean tokens of
    context per sequence, float64 [G].
    """
    if of_copies or num_sequences == 1:  # every row as often as it is there
        values, counts = np.unique(turns, return_counts=True)
        here, weights = np.repeat(values[:, None], num_sequences, axis=1), counts / len(turns)
    else:
        here = turns[rng.integers(0, len(turns), (NUM_BATCHES, num_sequences))]
        weights = np.full(NUM_BATCHES, 1 / NUM_BATCHES)
    return _mean_s(priced, here, contexts, weights)


def drained_seconds(
    priced: PricedWork,
    turns: NDArray[np.int32],
    paths: Paths,
    contexts: Floats,
    alive: int,
    batch_size: int,
    rng: np.random.Generator,
) -> Floats:
    """The same of a batch of ``batch_size`` that drains, with ``alive`` sequences left.

    One token per step: all of them are at the same output position, which the number left tells of.
    """
    lengths = paths.end - paths.first
    longest_first = np.argsort(-lengths, kind="stable")
    num_longer = np.array([(lengths > t).sum() for t in range(lengths.max())])
    chance = num_longer / len(lengths)
    weights = chance**alive * (1.0 - chance) ** (batch_size - alive)
    weights = weights if weights.sum() > 0 else chance
    position = rng.choice(len(weights), NUM_BATCHES, p=weights / weights.sum())
    drawn = (rng.random((NUM_BATCHES, alive)) * num_longer[position][:, None]).astype(np.int64)
    here = turns[paths.first[longest_first[drawn]] + position[:, None]]
    return _mean_s(priced, here, contexts, np.full(NUM_BATCHES, 1 / NUM_BATCHES))


def _mean_s(priced: PricedWork, here: NDArray[np.int32], contexts: Floats, weights: Floats) -> Floats:
    """Of batches [N, n] by what the models at work read."""
    small_s = _pass_s(priced.draft_s, np.where(here <= BOTH, np.maximum(-here, 1), 0), contexts, weights)
    large_s = _pass_s(priced.verify_s, np.where(here >= BOTH, np.maximum(here, 1), 0), contexts, weights)
    return np.stack([small_s, np.zeros_like(small_s), large_s], axis=1)


def _pass_s(pass_s: PassSeconds, new_tokens: NDArray[np.int64], contexts: Floats, weights: Floats) -> Floats:
    """Mean seconds of one model's pass, float64 [G]; new_tokens [N, n], 0 where the other is at work."""
    count, tokens = (new_tokens > 0).sum(axis=1), new_tokens.sum(axis=1)
    running = np.maximum(count, 1)[:, None]
    cached = running * contexts - (tokens - count)[:, None]  # a gap is new, not cached
    seconds = pass_s(running, np.maximum(tokens, 1)[:, None], np.maximum(cached, 0.0))
    return np.asarray((weights * (count > 0)) @ seconds)
