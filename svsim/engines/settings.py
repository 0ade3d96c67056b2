"""What to run: settings, the split into profile and evaluation part, fitted beliefs.

Both engines start from the same ``PreparedRun``; a belief is fitted here, once, on requests that are
not replayed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from svsim.decoding.acceptance_rules import AcceptanceRule, RecordedCoins
from svsim.decoding.method import DecodingMethod
from svsim.engines.binding import Deployment
from svsim.errors import InputError
from svsim.workload.split import profile_mask
from svsim.workload.token_trace import TokenTrace

Refill = Literal["continuous", "static"]
BatchOf = Literal["requests", "copies"]
Prefill = Literal["include", "exclude"]
Convention = Literal["native", "specdecode-bench"]


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How to run: everything of the command line but the trace, the hardware and the output.

    ``trim_batch_sizes``: drop batch sizes that exceed the requests (with a note) instead of failing.
    """

    methods: tuple[DecodingMethod, ...]
    batch_sizes: tuple[int, ...]
    trim_batch_sizes: bool = False
    refill: Refill = "continuous"
    batch_of: BatchOf = "requests"
    prefill: Prefill = "exclude"
    profile_split: float = 0.5
    coins: AcceptanceRule = field(default_factory=RecordedCoins)
    convention: Convention = "native"
    seed: int = 0
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """An evaluation part, methods with fitted beliefs, batch sizes that fit it, deployments."""

    trace: TokenTrace
    methods: tuple[DecodingMethod, ...]
    settings: RunSettings
    deployments: tuple[Deployment, ...]
    notes: tuple[str, ...] = ()


def prepare(trace: TokenTrace, settings: RunSettings, deployments: Sequence[Deployment]) -> PreparedRun:
    """Split, fit and check. Raises InputError, MissingSignalError or LatencyError."""
    for method in settings.methods:
        if method.num_speculative_tokens > trace.num_speculative_tokens:
            raise InputError(
                f"{method.label} drafts {method.num_speculative_tokens} tokens, but the trace holds chains "
                f"of K = {trace.num_speculative_tokens}; ask for k <= {trace.num_speculative_tokens}"
            )
        for deployment in deployments:
            deployment.check(method)
    profile, evaluation = _split(trace, settings)
    methods = tuple(_fit_belief(m, profile) for m in settings.methods)
    sizes, notes = _fitting_batch_sizes(settings, evaluation.num_requests)
    return PreparedRun(evaluation, methods, replace(settings, batch_sizes=sizes), tuple(deployments), notes)


def _split(trace: TokenTrace, settings: RunSettings) -> tuple[TokenTrace | None, TokenTrace]:
    """(profile part or None, evaluation part); the whole trace where no method needs a belief."""
    learning = [m for m in settings.methods if m.belief is not None]
    if not learning:
        return None, trace
    for method in learning:
        trace.observable.require(method.belief.signals if method.belief else (), method.label)
    if settings.profile_split == 0:
        raise InputError(
            f"{learning[0].label} learns a belief, but a profile split of 0 leaves nothing to learn from; "
            "raise --profile-split or leave the method out"
        )
    mask = profile_mask(trace.request_ids, trace.tasks, settings.profile_split, settings.seed)
    profile, evaluation = np.flatnonzero(mask), np.flatnonzero(~mask)
    if len(profile) == 0 or len(evaluation) == 0:
        raise InputError(
            f"a profile split of {settings.profile_split:g} leaves one part of {trace.num_requests} requests "
            "empty; use a longer trace or another --profile-split"
        )
    return trace.select(profile), trace.select(evaluation)


def _fit_belief(method: DecodingMethod, profile: TokenTrace | None) -> DecodingMethod:
    """The method with its belief fitted on the depth-1 column of the profile part."""
    if method.belief is None or profile is None:
        return method
    signals = profile.observable.require(method.belief.signals, method.label)
    target = profile.target
    accept = target.accept_prob[:, 0] if target.accept_prob is not None else target.num_accepted > 0
    belief = method.belief.fit(tuple(s[:, 0] for s in signals), np.asarray(accept, np.float32))
    return replace(method, belief=belief)


def _fitting_batch_sizes(settings: RunSettings, num_requests: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    if settings.batch_of == "copies" or max(settings.batch_sizes) <= num_requests:
        return settings.batch_sizes, ()
    if not settings.trim_batch_sizes:
        raise InputError(
            f"batch {max(settings.batch_sizes)} exceeds the {num_requests} requests to replay; "
            "ask for a smaller --batch, or --batch-of copies"
        )
    sizes = tuple(b for b in settings.batch_sizes if b <= num_requests)
    return sizes, (f"batch sizes above the {num_requests} requests to replay are left out",)
