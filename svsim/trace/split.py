"""Profile and evaluation parts: beliefs are never judged on the requests they learnt from."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError


def request_ranks(request_ids: Sequence[str], seed: int) -> NDArray[np.uint64]:
    """A pseudo-random 64-bit rank per request id: the same whatever the file's order."""
    key = seed.to_bytes(8, "little")
    digests = b"".join(hashlib.blake2b(i.encode(), digest_size=8, key=key).digest() for i in request_ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def profile_mask(
    request_ids: Sequence[str], tasks: Sequence[str] | None, profile_split: float, seed: int
) -> NDArray[np.bool_]:
    """True for the requests of the profile part: a share ``profile_split`` of every task, bool [R]."""
    if not 0.0 <= profile_split < 1.0:
        raise InputError(f"profile split {profile_split:g} is out of range; expected 0 <= split < 1")
    ranks = request_ranks(request_ids, seed)
    labels = np.zeros(len(ranks), np.int64) if tasks is None else np.unique(tasks, return_inverse=True)[1]
    return lowest_ranks(ranks, labels, profile_split)


def lowest_ranks(
    ranks: NDArray[np.uint64], labels: NDArray[np.int64], profile_split: float
) -> NDArray[np.bool_]:
    """True for the share ``profile_split`` of lowest rank among the requests of every label, bool [R]."""
    mask = np.zeros(len(ranks), np.bool_)
    for label in range(labels.max() + 1 if len(labels) else 0):
        members = np.flatnonzero(labels == label)
        chosen = members[np.argsort(ranks[members], kind="stable")]
        mask[chosen[: round(len(chosen) * profile_split)]] = True
    return mask


def profile_mask_by_threshold(
    request_ids: Sequence[str], profile_split: float, seed: int
) -> NDArray[np.bool_]:
    """As ``profile_mask`` in expectation, deciding request by request: for traces read in stretches."""
    threshold = np.uint64(min(int(profile_split * 2.0**64), 2**64 - 1))
    return request_ranks(request_ids, seed) < threshold
