"""Lengths that one sequence's own signals decide: where a draft stops, or what a companion lets through.

Each function takes signals [T, K] and returns a length per output position, uint8 [T]. A draft stop is
tested after a token was drafted: the token stays and is verified, the next one is not drafted. So
{length >= d} is decided by x_1 .. x_(d-1), which keeps the target's law (docs/losslessness.md).
"""

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.beliefs import Signal
from svsim.random_streams import RandomStreams

Lengths = NDArray[np.uint8]


def _until_first(stops: NDArray[np.bool_]) -> Lengths:
    """1 + the number of tokens before the first that stops the draft, at most K."""
    going_on = np.logical_and.accumulate(~stops[:, :-1], axis=1)
    return np.asarray(1 + going_on.sum(axis=1), np.uint8)


def entropy_bound(signals: tuple[Signal, ...], factor: float, limit: float) -> Lengths:
    """SVIP: stop when sqrt(factor * entropy) exceeds the limit; ``signals``: draft_entropy in nats.

    1 - sqrt(c H(q)) bounds the acceptance probability from below for a factor c of the model pair
    (arXiv 2411.18462; its code takes c = 0.15, limit 0.3).
    """
    return _until_first(factor * signals[0] > limit**2)


def low_confidence(signals: tuple[Signal, ...], threshold: float) -> Lengths:
    """Stop when the drafted token's probability is below the threshold; ``signals``: draft_prob.

    Hugging Face transformers' ``assistant_confidence_threshold`` (0.4), the training-free form of DISCO
    (arXiv 2405.04304).
    """
    return _until_first(signals[0] < threshold)


def unlikely_path(signals: tuple[Signal, ...], threshold: float) -> Lengths:
    """Stop when the product of draft probabilities falls below the threshold; ``signals``: draft_prob.

    DySpec's expansion by estimated acceptance (arXiv 2410.11744), in its threshold form, on a chain.
    """
    return _until_first(np.cumprod(signals[0], axis=1, dtype=np.float32) < threshold)


def companion_filter(signals: tuple[Signal, ...], first_row: int = 0) -> Lengths:
    """Tokens before the first that the companion rejects by its own coin; ``signals``: companion_accept.

    Staged speculation with the mid model as a filter (arXiv 2308.04623, as compared in 2509.24328): a
    token passes with probability A = min(1, c/q). first_row: where the signals begin in the replayed part.
    """
    num_rows, k = signals[0].shape
    coins = RandomStreams(0).coins("companion coins", shape=(num_rows, k), first_row=first_row)
    passed = np.logical_and.accumulate(coins < signals[0], axis=1)
    return np.asarray(passed.sum(axis=1), np.uint8)
