"""Dense traces whose SD(k) steps have the acceptance that an engine reported.

Two kinds of evidence. *Rates* (``trace_of_rates``): every step is alike and independent of the others.
Where each token is accepted alike the chains are coherent (a deeper token is a later first one); else every
position has a chain of its own, as heads and n-grams draft them anew: ``chains`` is "independent". *Steps*
(``trace_of_steps``): the recorded steps lie end to end, "stepwise"; the positions between their starts,
which nobody saw, take the outcome of one of the request's own steps.

Steps that SD(k) takes from the first position on are dealt from a deck that holds the rates exactly, so
even short traces have them; all others are drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError, printable
from svsim.random_streams import RandomStreams
from svsim.synthetic.memory import check_requests
from svsim.synthetic.reported import AcceptanceProfile, Assumption
from svsim.synthetic.settings import LengthLaw
from svsim.trace.token_trace import Chains, ObservableColumns, TargetColumns, TokenTrace, TraceMetadata

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RequestLengths:
    """Prompt and output tokens of R requests, int64 [R] each."""

    num_prompt_tokens: Counts
    num_output_tokens: Counts

    @classmethod
    def drawn(cls, num_requests: int, prompt: LengthLaw, output: LengthLaw, seed: int) -> "RequestLengths":
        """So many requests with lengths of these laws; the first ones do not depend on their number."""
        if num_requests < 1:
            raise InputError(f"`num_requests` {num_requests} is out of range; expected at least 1")
        check_requests(num_requests, output.mean)
        normal = RandomStreams(seed).generator("reported lengths").standard_normal((num_requests, 2))
        prompts = [prompt.tokens(score) for score in normal[:, 0]]
        outputs = [output.tokens(score) for score in normal[:, 1]]
        return cls(np.array(prompts, np.int64), np.array(outputs, np.int64))


def trace_of_rates(
    profile: AcceptanceProfile,
    lengths: RequestLengths,
    metadata: TraceMetadata,
    seed: int,
    tasks: tuple[str, ...] | None = None,
) -> TokenTrace:
    """The trace of these rates; ``metadata`` tells where they come from, its K and chains are filled in.

    Replayed with ``sd`` at k = ``profile.k`` it has these rates and their mean acceptance length.
    """
    acceptance = acceptance_of_rates(profile, lengths.num_output_tokens, seed)
    about = {"acceptance": profile.to_dict(), "other_k": other_k(profile)}
    return _trace(acceptance, lengths, replace(metadata, extra={**metadata.extra, **about}), profile.k, tasks)


def other_k(profile: AcceptanceProfile) -> list[Mapping[str, float]]:
    """The mean acceptance length at k of 1 to 8, and twice the recorded k: low, assumed, high."""
    words: tuple[Assumption, ...] = ("low", "assumed", "high")
    ks = [k for k in sorted({*range(1, 9), profile.k, min(2 * profile.k, 16)}) if k <= max(8, 2 * profile.k)]
    return [{"k": k} | {w: profile.at(k, w).mean_acceptance_length for w in words} for k in ks]


def trace_of_steps(
    requests: Sequence["RecordedSteps"], k: int, metadata: TraceMetadata, prompt: LengthLaw, seed: int
) -> TokenTrace:
    """The trace of recorded steps; ``prompt``: lengths of the prompts that were not recorded."""
    acceptance = acceptance_of_steps(requests, k, seed)
    drawn = RequestLengths.drawn(len(requests), prompt, LengthLaw(1), seed).num_prompt_tokens
    known = [request.num_prompt_tokens for request in requests]
    prompts = np.array([d if p is None else p for d, p in zip(drawn, known, strict=True)], np.int64)
    lengths = RequestLengths(prompts, np.array([request.num_output_tokens for request in requests]))
    tasks = tuple(request.task or "unknown" for request in requests)
    ids = tuple(request.request_id or f"request-{r:06d}" for r, request in enumerate(requests))
    made = _trace(acceptance, lengths, metadata, k, tasks if any(r.task for r in requests) else None)
    return replace(made, request_ids=ids)


def _trace(
    acceptance: "Acceptance",
    lengths: RequestLengths,
    metadata: TraceMetadata,
    k: int,
    tasks: tuple[str, ...] | None,
) -> TokenTrace:
    num = len(lengths.num_output_tokens)
    return TokenTrace(
        request_ids=tuple(f"request-{r:06d}" for r in range(num)),
        first_position=np.concatenate([[0], np.cumsum(lengths.num_output_tokens)]).astype(np.int64),
        num_prompt_tokens=lengths.num_prompt_tokens.astype(np.int32),
        observable=ObservableColumns({}),
        target=TargetColumns(acceptance.num_accepted),
        metadata=replace(metadata, num_speculative_tokens=k, chains=acceptance.chains),
        tasks=tasks,
    )


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Accepted draft tokens at every output position: int16 [T] of all requests, and what chains they are."""

    num_accepted: NDArray[np.int16]
    chains: Chains


def acceptance_of_rates(profile: AcceptanceProfile, num_output_tokens: Counts, seed: int) -> Acceptance:
    """Outcomes [T] for requests of these lengths [R], int64; same seed, same outcomes."""
    streams = RandomStreams(seed)
    k, walk = profile.k, _Deck(profile, streams, num_output_tokens)
    other = streams.generator("reported acceptance between steps")
    parts: list[NDArray[np.int16]] = []
    for length in map(int, num_output_tokens):
        accepted = walk.steps_of(length)
        if profile.is_constant:
            parts.append(_coherent(accepted, length, k, profile.rates[0], other))
            continue
        starts = _starts(accepted)
        row = _drawn(profile, other.random(length))
        row[starts] = accepted
        parts.append(row)
    return Acceptance(np.concatenate(parts), "coherent" if profile.is_constant else "independent")


class _Deck:
    """Accepted counts of successive steps: as many of each as the rates say, in random order."""

    def __init__(self, profile: AcceptanceProfile, streams: RandomStreams, num_output_tokens: Counts) -> None:
        self.profile = profile
        self.generator = streams.generator("reported acceptance")
        self.left = np.zeros(0, np.int16)
        tried = self.generator.spawn(1)[0]
        # how many steps the requests take, by a first try with other numbers
        num_steps = 0
        for length in map(int, num_output_tokens):
            draws = _drawn(profile, tried.random(length))
            num_steps += int(np.searchsorted(np.cumsum(draws + 1), length) + 1)
        self._deal(num_steps)

    def _deal(self, num_steps: int) -> None:
        places = (self.generator.permutation(num_steps) + self.generator.random()) / num_steps
        self.left = np.concatenate([self.left, _drawn(self.profile, places)])

    def steps_of(self, length: int) -> NDArray[np.int16]:
        """Accepted counts of the steps that start within ``length`` tokens; they leave the deck."""
        while True:
            ends = np.cumsum(self.left[:length].astype(np.int64) + 1)
            if len(ends) and ends[-1] >= length:
                break
            self._deal(length)
        num = int(np.searchsorted(ends, length)) + 1
        taken, self.left = self.left[:num], self.left[num:]
        return taken


def _drawn(profile: AcceptanceProfile, places: NDArray[np.float64]) -> NDArray[np.int16]:
    """Accepted counts at places in [0, 1): at least d where the place is below r_d."""
    rates = np.array(profile.rates)
    return (profile.k - np.searchsorted(rates[::-1], places, side="right")).astype(np.int16)


def _starts(accepted: NDArray[np.int16]) -> Counts:
    ends = np.cumsum(accepted.astype(np.int64) + 1)
    return np.concatenate([[0], ends[:-1]])


def _coherent(
    accepted: NDArray[np.int16], length: int, k: int, rate: float, generator: np.random.Generator
) -> NDArray[np.int16]:
    """Counts [length] of one stream of token outcomes that has these steps: runs of accepted tokens."""
    coins = generator.random(length + 2 * k + 1) < rate
    for start, num in zip(_starts(accepted), map(int, accepted), strict=True):
        coins[start : start + num] = True
        if num < k:
            coins[start + num] = False
    index = np.arange(len(coins))
    rejected_at = np.where(coins, len(coins), index)
    next_rejected = np.minimum.accumulate(rejected_at[::-1])[::-1]
    return np.minimum(next_rejected - index, k)[:length].astype(np.int16)


@dataclass(frozen=True, slots=True)
class RecordedSteps:
    """One request's steps in order: accepted draft tokens, int [S] (bonus tokens not counted)."""

    accepted: tuple[int, ...]
    request_id: str | None = None
    num_prompt_tokens: int | None = None
    task: str | None = None
    where: str = field(default="", compare=False)

    @property
    def num_output_tokens(self) -> int:
        """Tokens that its steps emitted."""
        return sum(self.accepted) + len(self.accepted)


def acceptance_of_steps(requests: Sequence[RecordedSteps], k: int, seed: int) -> Acceptance:
    """Outcomes [T] of the recorded steps, end to end; InputError for a step that accepted more than k."""
    generator = RandomStreams(seed).generator("unrecorded positions")
    parts = []
    for request in requests:
        accepted = np.array(request.accepted, np.int16)
        if len(accepted) == 0 or accepted.min() < 0 or accepted.max() > k:
            got = "no step" if len(accepted) == 0 else f"{accepted.max()} accepted tokens in a step"
            raise InputError(
                f"{printable(request.where)}: {got}, expected steps of 0 to k = {k} accepted draft tokens; "
                "check k, and whether the bonus token is counted"
            )
        row = accepted[generator.integers(len(accepted), size=request.num_output_tokens)]
        row[_starts(accepted)] = accepted
        parts.append(row)
    return Acceptance(np.concatenate(parts), "stepwise")
