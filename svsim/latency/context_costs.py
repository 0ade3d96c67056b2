"""Seconds that depend on sequences and their contexts: attention, and the states of recurrent layers.

Groups of sequences in one pass add up: what one group reads and multiplies does not change another's.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# More new tokens per sequence than this make a pass a prompt (or a chunk of one).
MANY_QUERIES = 32
NO_WINDOW = 1e15


@dataclass(frozen=True, slots=True)
class AttentionCosts:
    """Attention of B alike sequences with n new tokens in all behind a mean context c.

    attention = max(kv_token_s * B c + read_token_s * n, work)
    work      = the smaller of pair_s * pairs and expanded_pair_s * pairs + expansion_s * B c

    pairs: query-key pairs, n (c + n / 2B). Latent attention alone has a second way to compute them
    (``latent_attention.py``). window_tokens: c is at most that, and pairs at most so many per new token.
    """

    kv_token_s: float = 0.0
    read_token_s: float = 0.0
    pair_s: float = 0.0
    expanded_pair_s: float = np.inf
    expansion_s: float = 0.0
    window_tokens: float = NO_WINDOW

    def seconds(self, sequences: Floats, tokens: Floats, context: Floats, read_s: Floats | None) -> Floats:
        """Seconds of each group, float64; ``read_s``: what stands for reading B c tokens, if not that."""
        context = np.minimum(context, self.window_tokens)
        if read_s is None:
            read_s = self.kv_token_s * sequences * context
        if self.read_token_s > 0:
            read_s = read_s + self.read_token_s * tokens
        if not self.pair_s > 0:
            return np.asarray(read_s)
        met = pairs(sequences, tokens, context)
        if self.window_tokens < NO_WINDOW:
            met = np.minimum(met, tokens * self.window_tokens)
        work_s = self.pair_s * met
        if np.isfinite(self.expanded_pair_s):
            expanded_s = self.expanded_pair_s * met + self.expansion_s * sequences * context
            work_s = np.minimum(work_s, expanded_s)
        return np.maximum(read_s, work_s)


@dataclass(frozen=True, slots=True)
class ContextCosts:
    """Costs of B alike sequences with n new tokens in all behind a mean context c.

    contexts   = attention (its reading as the surface says) + windowed attention + recurrence
    recurrence = state_s * (B + n) for up to 32 new tokens per sequence (one state read, one written per
                token), else the larger of state_s * 2 B and chunk_token_s * n

    sequences [I], contexts [J], read_s [I, J]: knots of the surface of reading, never below 0: bilinear, and
    linear beyond its knots. windowed: of the layers with a window, where a source tells them apart.
    """

    sequences: Floats
    contexts: Floats
    read_s: Floats
    attention: AttentionCosts = AttentionCosts()
    windowed: AttentionCosts | None = None
    state_s: float = 0.0
    chunk_token_s: float = 0.0

    @classmethod
    def in_proportion(
        cls,
        attention: AttentionCosts,
        windowed: AttentionCosts | None = None,
        state_s: float = 0.0,
        chunk_token_s: float = 0.0,
    ) -> "ContextCosts":
        """Reading costs its ``kv_token_s`` per token in the cache, however they are spread."""
        knots, read_s = np.array([0.0, 1.0]), np.diag([0.0, attention.kv_token_s])
        return cls(knots, knots, read_s, attention, windowed, state_s, chunk_token_s)

    def seconds(self, sequences: Floats, tokens: Floats, context: Floats) -> Floats:
        """Seconds of each group, float64; the arguments broadcast, B >= 1."""
        read_s = self._read(sequences, context)
        contexts_s = self.attention.seconds(sequences, tokens, context, read_s)
        if self.windowed:
            contexts_s = contexts_s + self.windowed.seconds(sequences, tokens, context, None)
        if self.state_s > 0 or self.chunk_token_s > 0:
            contexts_s = contexts_s + recurrence_s(sequences, tokens, self.state_s, self.chunk_token_s)
        return np.asarray(contexts_s)

    def _read(self, sequences: Floats, context: Floats) -> Floats:
        """The surface: bilinear, and linear beyond its knots."""
        row, row_share = _place(self.sequences, sequences)
        column, column_share = _place(self.contexts, context)
        flat, num_contexts = self.read_s.ravel(), len(self.contexts)
        corner = row * num_contexts + column
        lower, upper = flat[corner], flat[corner + num_contexts]
        lower = lower + column_share * (flat[corner + 1] - lower)
        upper = upper + column_share * (flat[corner + num_contexts + 1] - upper)
        return np.asarray(np.maximum(lower + row_share * (upper - lower), 0.0))


def recurrence_s(sequences: Floats, tokens: Floats, state_s: float, chunk_token_s: float) -> Floats:
    """Seconds of recurrent states: a prompt writes one per sequence, a verification one per token."""
    is_prompt = tokens > MANY_QUERIES * sequences
    states_s = state_s * (sequences + np.where(is_prompt, sequences, tokens))
    return np.where(is_prompt, np.maximum(states_s, chunk_token_s * tokens), states_s)


def pairs(sequences: Floats, tokens: Floats, context: Floats) -> Floats:
    """Query-key pairs of the pass, per head."""
    return tokens * (context + 0.5 * tokens / sequences)


def _place(knots: Floats, values: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Segment number and (unclipped) share along it, for linear interpolation and extrapolation."""
    left = np.clip(np.searchsorted(knots, values, side="right") - 1, 0, len(knots) - 2)
    return left, (values - knots[left]) / (knots[left + 1] - knots[left])
