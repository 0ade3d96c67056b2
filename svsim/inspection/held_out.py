"""Beliefs learnt on the profile requests of the replay's own split, judged on all the others."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.beliefs import BinnedBelief
from svsim.metrics.information import (
    BeliefValue,
    Information,
    JudgedTokens,
    PaperGain,
    correlation,
    paper_gains,
)
from svsim.metrics.request_sums import Estimate, request_of_rows
from svsim.speculation_math import Floats
from svsim.trace.sample import TraceSample
from svsim.trace.split import profile_mask, profile_mask_by_threshold
from svsim.trace.token_trace import TokenTrace

COMPANION = ("similarity", "companion_accept")
# name -> the columns a belief reads, in the order they are shown
BELIEFS: dict[str, tuple[str, ...]] = {
    "S and A": COMPANION,
    "S": ("similarity",),
    "A": ("companion_accept",),
    "draft probability and entropy": ("draft_prob", "draft_entropy"),
    "draft probability": ("draft_prob",),
    "draft entropy": ("draft_entropy",),
}
NUM_CELLS_OF_ONE_SIGNAL = 64
LEAST_BELIEF = 1e-6  # a belief of exactly 0 or 1 would lose infinitely many bits


def information_of(
    sample: TraceSample, profile_split: float, seed: int, notes: list[str]
) -> Information | None:
    """The headline gain of every belief the trace has signals for, and the paper's table.

    None, with a note, where there is no signal or one part of the split is empty.
    """
    trace = sample.trace
    present = {n: columns for n, columns in BELIEFS.items() if set(columns) <= set(trace.observable.signals)}
    if not present:
        notes.append("no information gain: the trace holds no signal that a belief could read")
        return None
    mask = profile_mask if sample.is_whole else _mask_by_threshold
    in_profile = mask(trace.request_ids, trace.tasks, profile_split, seed)
    if in_profile.all() or not in_profile.any():
        notes.append(
            f"no information gain: a profile split of {profile_split:g} leaves one part of "
            f"{trace.num_requests} requests empty"
        )
        return None
    if trace.target.accept_prob is None:
        notes.append("no accept_prob recorded: beliefs learn from the recorded coins and are judged on them")
    split = _Split.of(trace, in_profile, seed)
    judged = split.judged
    return Information(
        acceptance="coin" if trace.target.accept_prob is None else "probability",
        num_profile_requests=int(in_profile.sum()),
        num_profile_tokens=int(split.learnt.sum()),
        num_judged_requests=judged.num_requests,
        num_judged_tokens=len(judged.accept_prob),
        mean_acceptance=judged.mean_acceptance(),
        entropy_bits=judged.entropy_bits(),
        ceiling_bits=judged.ceiling_bits(),
        beliefs=tuple(split.judge(trace, name, columns) for name, columns in present.items()),
        paper=_paper(trace, seed),
        overlap_correlation=_overlap_correlation(trace, seed),
    )


def _mask_by_threshold(
    request_ids: tuple[str, ...], tasks: tuple[str, ...] | None, share: float, seed: int
) -> NDArray[np.bool_]:
    """As the replay splits a trace that does not fit in memory: request by request."""
    return profile_mask_by_threshold(request_ids, share, seed)


def first_token_acceptance(trace: TokenTrace) -> Floats:
    """a of the depth-1 token, float64 [T]: its probability, or its coin where that is all there is."""
    if trace.target.accept_prob is not None:
        return trace.target.accept_prob[:, 0].astype(np.float64)
    return (trace.target.num_accepted > 0).astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Split:
    """Depth-1 tokens: acceptance of all [T], which of them beliefs learn from [T], the others to judge on."""

    accept_prob: Floats
    learnt: NDArray[np.bool_]
    judged: JudgedTokens

    @classmethod
    def of(cls, trace: TokenTrace, in_profile: NDArray[np.bool_], seed: int) -> "_Split":
        a, request = first_token_acceptance(trace), request_of_rows(trace.first_position)
        learnt = in_profile[request]
        judged_requests = np.cumsum(~in_profile) - 1
        judged = JudgedTokens(a[~learnt], judged_requests[request[~learnt]], int((~in_profile).sum()), seed)
        return cls(a, learnt, judged)

    def judge(self, trace: TokenTrace, name: str, columns: tuple[str, ...]) -> BeliefValue:
        """Fit a belief on these columns and judge it."""
        signals = [trace.observable.signals[column][:, 0] for column in columns]
        belief = new_belief(columns)
        belief.fit(tuple(s[self.learnt] for s in signals), self.accept_prob[self.learnt].astype(np.float32))
        believed = belief.predict(tuple(s[~self.learnt] for s in signals)).astype(np.float64)
        return self.judged.judge(name, columns, np.clip(believed, LEAST_BELIEF, 1 - LEAST_BELIEF))


def new_belief(columns: tuple[str, ...]) -> BinnedBelief:
    """The belief that is fitted on these columns."""
    return BinnedBelief(columns) if len(columns) > 1 else BinnedBelief(columns, NUM_CELLS_OF_ONE_SIGNAL)


def _paper(trace: TokenTrace, seed: int) -> tuple[PaperGain, ...]:
    """The paper's table over all depth-1 tokens; empty without both companion signals or a."""
    if not set(COMPANION) <= set(trace.observable.signals) or trace.target.accept_prob is None:
        return ()
    s, companion = (trace.observable.signals[name][:, 0].astype(np.float64) for name in COMPANION)
    return paper_gains(first_token_acceptance(trace), s, companion, seed)


def _overlap_correlation(trace: TokenTrace, seed: int) -> Estimate | None:
    """Correlation of the two overlaps, draft with companion and draft with target."""
    similarity, overlap = trace.observable.signals.get("similarity"), trace.target.target_overlap
    if similarity is None or overlap is None:
        return None
    x, y = (column[:, 0].astype(np.float64) for column in (similarity, overlap))
    return correlation(x, y, request_of_rows(trace.first_position), trace.num_requests, seed)
