"""From latent parameters to drawn requests: lengths, random numbers, chains, signals.

Every request has its own random streams, so it is the same whatever is drawn with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError, printable
from svsim.random_streams import RandomStreams
from svsim.synthetic.latent import (
    WRONGNESS_MEMORY,
    Floats,
    LatentParameters,
    TokenLatents,
    companion_accept,
    draft_entropy,
    draft_prob,
    similarity,
)
from svsim.synthetic.settings import SyntheticSettings

# per drafted token: innovations of z and g; scores of a and its coin; n; own parts of A, q(x), entropy
NUM_SCORES = 8
BATCH_VALUES = 1 << 22  # random numbers held at a time: 16 MiB of float32


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """Who asks for what: task index, prompt and output tokens, int64 [R] each."""

    task: NDArray[np.int64]
    num_prompt_tokens: NDArray[np.int64]
    num_output_tokens: NDArray[np.int64]

    @property
    def first_position(self) -> NDArray[np.int64]:
        """Row of each request's first output position, int64 [R + 1]."""
        return np.concatenate([[0], np.cumsum(self.num_output_tokens)]).astype(np.int64)


def plan_requests(settings: SyntheticSettings, seed: int, num_requests: int) -> RequestPlan:
    """The first ``num_requests`` requests; task shares are exact over each ``settings.num_requests``."""
    streams = RandomStreams(seed)
    shares = np.array([task.share for task in settings.tasks])
    counts = _largest_remainder(shares, settings.num_requests)
    for task, count in zip(settings.tasks, counts, strict=True):
        if count == 0:
            raise InputError(
                f"synthetic trace: none of {settings.num_requests} requests falls to task "
                f"{printable(task.name, 40)} (share {task.share:g} of {shares.sum():g}); expected one; "
                "ask for more requests"
            )
    block = streams.generator("synthetic tasks").permutation(np.repeat(np.arange(len(shares)), counts))
    tasks = np.resize(block, num_requests)
    lengths = np.empty((num_requests, 2), np.int64)
    for r, task in enumerate(tasks):
        prompt, output = streams.generator("synthetic lengths", r).standard_normal(2)
        law = settings.tasks[task]
        lengths[r] = law.prompt_tokens.tokens(prompt), law.output_tokens.tokens(output)
    return RequestPlan(tasks, lengths[:, 0], lengths[:, 1])


def _largest_remainder(shares: Floats, total: int) -> NDArray[np.int64]:
    exact = shares / shares.sum() * total
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return counts


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive requests with their random numbers.

    first_position: int64 [R + 1] from 0; task: int64 [R]; fields: float64 [R, 2] (request parts of z
    and g); noise: float32 [T * K, NUM_SCORES].
    """

    first_position: NDArray[np.int64]
    task: NDArray[np.int64]
    fields: Floats
    noise: NDArray[np.float32]

    @property
    def num_speculative_tokens(self) -> int:
        """K."""
        return len(self.noise) // int(self.first_position[-1])


def batches(plan: RequestPlan, num_speculative_tokens: int, seed: int) -> Iterator[Batch]:
    """The plan's requests in order, a bounded number of random numbers at a time."""
    per_position = num_speculative_tokens * NUM_SCORES
    ends = np.cumsum(plan.num_output_tokens * per_position) // BATCH_VALUES
    edges = [0, *(np.flatnonzero(np.diff(ends)) + 1), len(plan.task)]
    for start, stop in pairwise(edges):
        yield _batch(plan, start, stop, num_speculative_tokens, seed)


def _batch(plan: RequestPlan, start: int, stop: int, num_speculative_tokens: int, seed: int) -> Batch:
    streams = RandomStreams(seed)
    lengths = plan.num_output_tokens[start:stop]
    first = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    noise = np.empty((int(first[-1]) * num_speculative_tokens, NUM_SCORES), np.float32)
    fields = np.empty((stop - start, 2))
    for i, r in enumerate(range(start, stop)):
        generator = streams.generator("synthetic request", r)
        fields[i] = generator.standard_normal(2)
        rows = noise[first[i] * num_speculative_tokens : first[i + 1] * num_speculative_tokens]
        generator.standard_normal(dtype=np.float32, out=rows)
    return Batch(first, plan.task[start:stop], fields, noise)


@dataclass(frozen=True, slots=True)
class Chains:
    """What a batch drafted: N tokens, each kept by every chain that carries it.

    token_of: int32 [T, K], token number of each depth of each position; num_accepted: int16 [T];
    overlap (O), accept_prob (a): float64 [N]; latents: what the signals are made from, [N].
    """

    token_of: NDArray[np.int32]
    num_accepted: NDArray[np.int16]
    overlap: Floats
    accept_prob: Floats
    latents: TokenLatents


def grow(batch: Batch, parameters: LatentParameters, num_speculative_tokens: int) -> Chains:
    """Draw the trajectories of a batch, one token at a time (compiled on first use)."""
    from svsim.synthetic.kernel import Law, Requests, grow_chains

    requests = Requests(
        batch.first_position,
        batch.fields,
        parameters.level[batch.task] - parameters.reference_level,
        parameters.age_shift[batch.task],
    )
    law = Law(
        parameters.reference_level,
        parameters.drift,
        parameters.request_share,
        parameters.persistence,
        parameters.unseen_share,
        parameters.wrongness_shift,
        WRONGNESS_MEMORY,
        parameters.spread,
        parameters.atom_share,
    )
    token_of, num_accepted, draw, columns = grow_chains(requests, law, batch.noise, num_speculative_tokens)
    scores = batch.noise[draw].astype(np.float64)
    difficulty, field, wrongness, overlap, accept_prob = columns.T.copy()
    latents = TokenLatents(
        difficulty, field, wrongness, scores[:, 2], scores[:, 4], scores[:, 5], scores[:, 6], scores[:, 7]
    )
    return Chains(token_of, num_accepted, overlap, accept_prob, latents)


def signals_of(latents: TokenLatents, parameters: LatentParameters) -> dict[str, NDArray[np.float32]]:
    """The observable signals of drafted tokens by column name, float32 [N] each."""
    s = similarity(latents, parameters)
    entropy = draft_entropy(latents, parameters)
    columns = {
        "draft_prob": draft_prob(latents, entropy),
        "draft_entropy": entropy,
        "similarity": s,
        "companion_accept": companion_accept(latents, s, parameters),
    }
    return {name: values.astype(np.float32) for name, values in columns.items()}
