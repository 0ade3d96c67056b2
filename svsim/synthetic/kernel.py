"""Compiled growth of coherent chains, one output position after the other.

Imported lazily: it brings numba.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Requests(NamedTuple):
    """R requests of a batch: their rows and their parts of the latents.

    first_position: int64 [R + 1]; fields: float64 [R, 2], standard normal parts of z and of g;
    levels: float64 [R], task level minus reference level; age_shifts: float64 [R, K].
    """

    first_position: NDArray[np.int64]
    fields: NDArray[np.float64]
    levels: NDArray[np.float64]
    age_shifts: NDArray[np.float64]


class Law(NamedTuple):
    """The scalars of ``LatentParameters`` that drafting and accepting need."""

    reference_level: float
    drift: float
    request_share: float
    persistence: float
    unseen_share: float
    wrongness_shift: float
    wrongness_memory: float
    spread: float
    atom_share: float


@njit(cache=True, nogil=True, error_model="numpy")
def _normal_cdf(x):  # type: ignore[no-untyped-def]
    return 0.5 * math.erfc(-x * 0.7071067811865476)


@njit(cache=True, nogil=True, error_model="numpy")
def _accept_quantile(score, overlap, atom_share):  # type: ignore[no-untyped-def]
    """As ``synthetic_latent.accept_quantile``, for one token."""
    below = 1.0 - atom_share * overlap
    if score >= below:
        return 1.0
    if atom_share == 1.0:
        return 0.0
    return (score / below) ** ((1.0 - overlap) / ((1.0 - atom_share) * max(overlap, 1e-9)))


@njit(cache=True, nogil=True, error_model="numpy")
def grow_chains(requests, law, noise, num_tokens):  # type: ignore[no-untyped-def]
    """Draft, accept and extend: (token_of int32 [T, K], num_accepted int16 [T], draw, columns).

    noise: float32 [T * K, C], per output position and slot: innovations of z and g, scores of a and
    of its coin, n, and what the signals need. A drafted token keeps its values wherever chains
    carry it: draw int64 [N], its row of ``noise``; columns float64 [N, 5]: z + shift/s, g, W, O, a.
    """
    first_position = requests.first_position
    num_rows, k = first_position[-1], num_tokens
    token_of = np.empty((num_rows, k), np.int32)
    num_accepted = np.empty(num_rows, np.int16)
    draw = np.empty(num_rows * k, np.int64)
    columns = np.empty((num_rows * k, 5))
    state = np.empty((num_rows * k, 3))  # AR states of z and g, wrongness of the token after
    age = np.empty(num_rows * k, np.int64)  # draft tokens since the target's own, capped at K - 1
    accepted = np.empty(num_rows * k, np.bool_)
    chain = np.empty(k, np.int32)
    within, between = math.sqrt(1.0 - law.request_share), math.sqrt(law.request_share)
    innovation = math.sqrt(1.0 - law.persistence * law.persistence)
    seen, unseen = law.spread * math.sqrt(1.0 - law.unseen_share), law.spread * math.sqrt(law.unseen_share)
    count = 0
    for r in range(len(first_position) - 1):
        first = first_position[r]
        length = first_position[r + 1] - first
        chain_length, parent, fresh = 0, -1, True
        for i in range(length):
            for slot in range(chain_length, k):
                at = (first + i) * k + slot
                z_state, g_state = noise[at, 0], noise[at, 1]
                if parent >= 0:
                    z_state = law.persistence * state[parent, 0] + innovation * z_state
                    g_state = law.persistence * state[parent, 1] + innovation * g_state
                wrongness = 0.0 if fresh else state[parent, 2]
                age[count] = 0 if fresh else min(age[parent] + 1, k - 1)
                place = min((i + slot) / (length - 1), 1.0) - 0.5 if length > 1 else 0.0
                shift = requests.levels[r] + requests.age_shifts[r, age[count]] + law.drift * place
                z = between * requests.fields[r, 0] + within * z_state
                level = law.reference_level + shift - law.wrongness_shift * wrongness
                overlap = _normal_cdf(level + seen * z + unseen * noise[at, 4])
                a = _accept_quantile(_normal_cdf(noise[at, 2]), overlap, law.atom_share)
                draw[count] = at
                columns[count, 0] = z + shift / law.spread
                columns[count, 1] = between * requests.fields[r, 1] + within * g_state
                columns[count, 2] = wrongness
                columns[count, 3] = overlap
                columns[count, 4] = a
                state[count, 0], state[count, 1] = z_state, g_state
                state[count, 2] = 1.0 - a * (1.0 - law.wrongness_memory * wrongness)
                accepted[count] = _normal_cdf(noise[at, 3]) < a
                chain[slot], parent, fresh = count, count, False
                count += 1
            alive = 0
            while alive < k and accepted[chain[alive]]:
                alive += 1
            token_of[first + i] = chain
            num_accepted[first + i] = alive
            if alive > 0:
                chain[:-1] = chain[1:]
                chain_length = k - 1
            else:  # the text goes on with the target's own token: same state, nothing wrong with it
                chain_length, parent, fresh = 0, chain[0], True
    return token_of, num_accepted, draw[:count], columns[:count]
