"""What-ifs on a recorded trace: another mean acceptance, other context lengths. Labelled, never ``exact``.

acceptance   mean probability that the first draft token of a chain is accepted, over all positions. The odds
             of every acceptance probability are multiplied by one factor (a shift of its logit), so that
             easy tokens stay easier than hard ones and signals still tell them apart; probabilities within
             ``EDGE`` of 0 or 1 move as one at ``EDGE`` would, since their odds say nothing.
draws        follow the recorded ones: an accepted token stays so with probability a'/a, a rejected one is
             accepted with (a' - a)/(1 - a), by one coin per token, the same at every level of acceptance: a
             chain never gets shorter as acceptance rises.
context      mean tokens before a position (prompt and output so far). Prompts are scaled, outputs stay.

Signals stay as recorded. Chains no longer carry on from one another: rows are ``approximate``.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from svsim.errors import InputError
from svsim.random_streams import RandomStreams
from svsim.trace.token_trace import AcceptanceKind, TargetColumns, TokenTrace

EDGE = 0.02
MAX_SHIFT = 60.0  # of a logit: beyond it nothing moves
MAX_CONTEXT_TOKENS = 100_000_000
Floats = NDArray[np.float64]


def mean_acceptance(trace: TokenTrace) -> float:
    """Mean acceptance of the first draft token, over all positions; without probabilities, as coins fell."""
    accept, accepted = trace.target.accept_prob, trace.target.num_accepted
    return float((accepted > 0).mean() if accept is None else accept[:, 0].mean(dtype=np.float64))


def mean_context(trace: TokenTrace) -> float:
    """Mean tokens before a position."""
    return float(trace.num_context_tokens.mean(dtype=np.float64))


def with_acceptance(trace: TokenTrace, acceptance: float, seed: int = 0) -> TokenTrace:
    """The trace with that mean acceptance of the first draft token; itself if it has it.

    Raises InputError for a mean that no shift reaches.
    """
    own = mean_acceptance(trace)
    if acceptance == own:
        return trace
    accept = _probabilities(trace)
    shift = _shift(accept[:, 0], acceptance)
    moved = shifted(accept, shift)
    known = trace.target.accept_prob is not None
    target = TargetColumns(
        _redrawn(trace, accept, moved, seed), moved.astype(np.float32) if known else None, None
    )
    return _labelled(replace(trace, target=target), acceptance=acceptance, recorded_acceptance=own)


def with_context(trace: TokenTrace, context: float) -> TokenTrace:
    """The trace with that mean context, prompts scaled alike (to at least one token).

    Raises InputError for fewer tokens than the outputs alone make.
    """
    own = mean_context(trace)
    if context == own:
        return trace
    of_prompts = float(np.average(trace.num_prompt_tokens, weights=trace.num_output_tokens))
    least = own - of_prompts + 1.0
    if not least <= context <= MAX_CONTEXT_TOKENS or of_prompts == 0.0:
        raise InputError(
            f"`context` {context:g} is out of range: outputs alone make a mean context of {least:.0f} tokens "
            f"here; expected {least:.0f} to {MAX_CONTEXT_TOKENS:,}"
        )
    scale = (context - own + of_prompts) / of_prompts
    scaled = np.maximum(np.rint(trace.num_prompt_tokens * scale), 1.0)
    prompts = np.minimum(scaled, np.iinfo(np.int32).max // 2).astype(np.int32)
    return _labelled(replace(trace, num_prompt_tokens=prompts), context=context, recorded_context=own)


def shifted(accept: Floats, shift: float) -> Floats:
    """Probabilities whose logits are moved by ``shift``; monotone in both, the identity at 0."""
    inner = np.clip(accept, EDGE, 1.0 - EDGE)
    return _moved(accept, inner, logit(inner), shift)


def _moved(accept: Floats, inner: Floats, inner_logit: Floats, shift: float) -> Floats:
    return np.clip(accept + expit(inner_logit + shift) - inner, 0.0, 1.0)


def _shift(first: Floats, acceptance: float) -> float:
    """The shift that gives the first token this mean."""

    inner = np.clip(first, EDGE, 1.0 - EDGE)
    inner_logit = logit(inner)

    def beyond(shift: float) -> float:
        return float(_moved(first, inner, inner_logit, shift).mean()) - acceptance

    if not beyond(-MAX_SHIFT) < 0.0 < beyond(MAX_SHIFT):
        least, most = beyond(-MAX_SHIFT) + acceptance, beyond(MAX_SHIFT) + acceptance
        raise InputError(
            f"`acceptance` {acceptance:g} is out of reach of this trace; expected more than {least:.3f} and "
            f"less than {most:.3f}"
        )
    return float(brentq(beyond, -MAX_SHIFT, MAX_SHIFT, xtol=1e-9))


def _probabilities(trace: TokenTrace) -> Floats:
    """accept_prob; without it 1 or 0 as coins fell, and behind a rejected token the rate at that depth."""
    if trace.target.accept_prob is not None:
        return trace.target.accept_prob.astype(np.float64)
    reached, accepted = _outcomes(trace)
    rate = accepted.sum(axis=0) / np.maximum(reached.sum(axis=0), 1)
    return np.where(reached, accepted.astype(np.float64), rate)


def _outcomes(trace: TokenTrace) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which tokens the target judged in the recording, and which of them it accepted, [T, K] each."""
    depth, count = np.arange(trace.num_speculative_tokens), trace.target.num_accepted[:, None]
    return depth <= count, depth < count


def _redrawn(trace: TokenTrace, before: Floats, after: Floats, seed: int) -> NDArray[np.int16]:
    """Accepted tokens of every chain under the new probabilities, from the recorded outcomes, int16 [T]."""
    reached, accepted = _outcomes(trace)
    coins = RandomStreams(seed).coins("what-if acceptance", shape=before.shape)
    tiny = np.finfo(np.float32).tiny
    stays = after / np.maximum(before, tiny)
    turns = (after - before) / np.maximum(1.0 - before, tiny)
    bar = np.where(accepted, stays, np.where(reached, turns, after))
    return np.asarray(np.logical_and.accumulate(coins < bar, axis=1).sum(axis=1), np.int16)


def _labelled(trace: TokenTrace, **what_if: float) -> TokenTrace:
    about = trace.metadata
    told: dict[str, Any] = {**about.extra, "what_if": {**about.extra.get("what_if", {}), **what_if}}
    kind: AcceptanceKind = "synthetic" if about.acceptance_kind == "synthetic" else "reconstructed"
    return replace(trace, metadata=replace(about, acceptance_kind=kind, chains="independent", extra=told))
