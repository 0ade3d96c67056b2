"""How many tokens a parallel pipeline drafts per step, where nobody says it: what both sides take alike."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from svsim.decoding.method import DecodingMethod
from svsim.decoding.pipelines import ParallelPipeline
from svsim.engines.binding import Deployment
from svsim.limits import MAX_SPECULATIVE_TOKENS


def with_gamma(
    method: DecodingMethod, deployment: Deployment, counts: Sequence[int], context: float
) -> DecodingMethod:
    """The method with draft tokens per step found for these numbers of sequences at a mean context.

    gamma = round(T_t / T_d), T_t and T_d a pass of the target and of the draft over one token per sequence
    (PEARL, arXiv 2408.11850; nano-PEARL measures it per batch size); at least 1 and at most
    MAX_SPECULATIVE_TOKENS. Unchanged where it is given, or nothing runs in parallel.
    """
    pipeline = method.pipeline
    if not isinstance(pipeline, ParallelPipeline) or pipeline.gammas:
        return method
    n, priced = np.asarray(counts, np.float64), deployment.priced(method)
    ratio = priced.verify_s(n, n, n * context) / np.maximum(priced.draft_s(n, n, n * context), 1e-12)
    gammas = np.clip(np.rint(ratio), 1, MAX_SPECULATIVE_TOKENS).astype(int)
    return replace(method, pipeline=replace(pipeline, gammas=tuple(gammas.tolist())))


def gamma_notes(
    methods: Sequence[DecodingMethod],
    deployments: Sequence[Deployment],
    counts: Sequence[int],
    context: float,
) -> list[str]:
    """One sentence per method and deployment whose draft tokens per step were found."""
    notes = []
    for deployment in deployments:
        for method in methods:
            found = with_gamma(method, deployment, counts, context).pipeline
            if found == method.pipeline or not isinstance(found, ParallelPipeline):
                continue
            said = ", ".join(f"{gamma} at {n}" for n, gamma in zip(counts, found.gammas, strict=True))
            notes.append(f"{deployment.name}, {method.label}: gamma by batch size: {said}")
    return notes


def reach(method: DecodingMethod) -> int:
    """Most tokens past a sequence's context that a step's passes lie."""
    pipeline = method.pipeline
    return (
        2 * pipeline.longest if isinstance(pipeline, ParallelPipeline) else method.num_speculative_tokens + 1
    )
