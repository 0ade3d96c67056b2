"""A synthetic trace of what a person asks for: only what was asked may refuse.

Acceptance alone decides whether a trace exists. Properties of the companion's signals have defaults; one
that nobody asked for and that this acceptance excludes is moved to the nearest that it allows, and said.
Acceptance as engines report it (rates at step starts, or their sum), and acceptance so near 0 or 1 that no
signal could tell anything, make traces without signals (``svsim.synthetic.reported_trace``).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from svsim.errors import InputError, printable
from svsim.synthetic.length_law import AcceptanceLengthLaw
from svsim.synthetic.options import rates_of_text, settings_of, with_options
from svsim.synthetic.outcome import Outcome, outcomes
from svsim.synthetic.reported import DEFAULT_SHAPE, AcceptanceProfile, profile_of_mean, profile_of_rates
from svsim.synthetic.reported_trace import RequestLengths, trace_of_rates
from svsim.synthetic.settings import LATENT_ACCEPTANCE, OutOfReachError, SyntheticSettings
from svsim.synthetic.trace import synthesize
from svsim.trace.measurement import visited_starts
from svsim.trace.token_trace import TokenTrace, TraceMetadata

COMPANION = ("information_gain_bits", "overlap_correlation", "draft_entropy_nats", "request_spread")
# what a trace of rates has: everything else shapes signals, or the course of acceptance along the text
OF_RATES = frozenset(
    {"num_requests", "num_speculative_tokens", "prompt_tokens", "output_tokens", "greedy", "tasks"}
)
ACCEPTANCE = ("acceptance", "verified_acceptance")
MAX_RELAXATIONS = 8


@dataclass(frozen=True, slots=True)
class Made:
    """A trace, what was asked beside what was made, and what was moved or assumed."""

    trace: TokenTrace
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportedAcceptance:
    """Acceptance as engines report it: rates by position, or a mean acceptance length in a shape.

    length_law: the mean as ``A,B,X`` of a + b log10 x instead.
    """

    accept_by_position: str | None = None
    acceptance_length: float | None = None
    shape: str | None = None
    proposal_share: float | None = None
    length_law: str | None = None

    @property
    def law(self) -> AcceptanceLengthLaw | None:
        """The law of the mean acceptance length, where one is given."""
        return None if self.length_law is None else AcceptanceLengthLaw.parse(self.length_law)

    @property
    def is_asked(self) -> bool:
        """Whether anything of it was said."""
        return any(x is not None for x in (self.accept_by_position, self.acceptance_length, self.length_law))

    def profile(self, k: int | None) -> AcceptanceProfile:
        """Rates of k draft tokens; ``k`` None: as many as rates are given."""
        law, name = self.law, "acceptance_length" if self.length_law is None else "length_law"
        length = self.acceptance_length if law is None else law.mean_acceptance_length
        if law is not None and self.acceptance_length is not None:
            raise InputError("give `acceptance_length` or `length_law`, not both")
        if self.accept_by_position is not None:
            if law is not None:
                raise InputError("give `accept_by_position` or `length_law`, not both")
            if length is not None:
                raise InputError("give `accept_by_position` or `acceptance_length`, not both")
            if self.shape is not None:
                raise InputError("`shape` spreads a mean, and `accept_by_position` says all; leave it out")
            rates = rates_of_text(self.accept_by_position)
            profile = profile_of_rates(rates, "`accept_by_position`")
        else:
            assert length is not None
            if k is None:
                raise InputError(f"`{name}` is a mean; give `num_speculative_tokens`, its k, beside it")
            profile = profile_of_mean(length, k, f"`{name}`", self.shape or DEFAULT_SHAPE)
        return profile if self.proposal_share is None else profile.drafting(self.proposal_share)


def make(
    values: Mapping[str, Any],
    tasks: Sequence[str],
    options: Mapping[str, Any],
    reported: ReportedAcceptance,
    seed: int,
    command: str | None = None,
) -> Made:
    """The trace of a settings file's ``values``, ``tasks`` and ``options`` of a command line (None: "
    "unsaid)."""
    merged = with_options(values, tasks, options)
    if reported.is_asked:
        asked_twice = [name for name in ACCEPTANCE if options.get(name) is not None]
        if asked_twice or tasks or values.get("tasks"):
            name = asked_twice[0] if asked_twice else "tasks"
            raise InputError(f"`{name}` and reported rates exclude each other; give one of them")
        return _of_rates(merged, reported, seed, command)
    for name, given in (("shape", reported.shape), ("proposal_share", reported.proposal_share)):
        if given is not None:
            raise InputError(
                f"`{name}` is of acceptance as engines report it; give `accept_by_position` or "
                "`acceptance_length` with it, or leave it out"
            )
    settings = settings_of(merged)
    task = settings.tasks[0]
    asked = task.acceptance if task.acceptance is not None else task.verified_acceptance
    low, high = LATENT_ACCEPTANCE
    if len(settings.tasks) == 1 and isinstance(asked, float) and not low <= asked <= high:
        return _constant(merged, settings, asked, seed, command)
    trace, settings, notes = _relaxed(settings, frozenset(COMPANION) - set(merged), seed, command)
    return Made(trace, outcomes(settings, trace), notes)


def _relaxed(
    settings: SyntheticSettings, unasked: Collection[str], seed: int, command: str | None
) -> tuple[TokenTrace, SyntheticSettings, tuple[str, ...]]:
    """The trace; settings that nobody asked for give way where no trace has them."""
    given = settings
    for _ in range(MAX_RELAXATIONS):
        try:
            trace = synthesize(settings, seed, command)
            break
        except OutOfReachError as error:
            if error.name not in unasked:
                raise
            moved_to: dict[str, Any] = {error.name: error.limit}
            settings = replace(settings, **moved_to)
    else:
        trace = synthesize(settings, seed, command)
    moved = [name for name in COMPANION if getattr(given, name) != getattr(settings, name)]
    notes = tuple(
        f"`{name}` is {getattr(settings, name):.3f}, not its default {getattr(given, name):g}: more is "
        "out of "
        "reach at this acceptance"
        for name in moved
    )
    return trace, settings, notes


def _constant(
    merged: Mapping[str, Any], settings: SyntheticSettings, accept: float, seed: int, command: str | None
) -> Made:
    """Every token accepted alike: near 0 or 1 there is nothing that a signal could tell."""
    _require_no_signals(merged, f"an acceptance of {accept:g}")
    k = settings.num_speculative_tokens
    if settings.tasks[0].verified_acceptance is not None:
        profile = profile_of_mean(1.0 + k * accept, k, "`verified_acceptance`")
    else:
        profile = AcceptanceProfile(tuple(accept**d for d in range(1, k + 1)))
    note = f"no signals: at an acceptance of {accept:g} a companion has nothing to tell"
    return _reported(profile, settings, seed, command, (note,))


def _of_rates(
    merged: Mapping[str, Any], reported: ReportedAcceptance, seed: int, command: str | None
) -> Made:
    _require_no_signals(merged, "acceptance as engines report it")
    (task,) = merged.get("tasks") or [{}]
    lengths = {name: value for name, value in task.items() if name not in ACCEPTANCE}
    k = merged.get("num_speculative_tokens")
    profile = reported.profile(k)
    notes = ["no signals: rates at step starts tell nothing of a companion"]
    if reported.law is not None:
        notes.append(reported.law.words)
    if k is not None and k != profile.k:
        notes.append(f"k = {profile.k} was given, {k} is asked for: {profile.assumption(k)}")
        profile = profile.at(k)
    settings = settings_of(
        {**merged, "num_speculative_tokens": profile.k, "tasks": [{**lengths, "acceptance": 0.5}]}
    )
    return _reported(profile, settings, seed, command, tuple(notes))


def _require_no_signals(merged: Mapping[str, Any], what: str) -> None:
    for name in merged:
        if name not in OF_RATES:
            raise InputError(
                f"`{name}` shapes signals or the course of acceptance, and {what} has none; leave it out"
            )
    if len(merged.get("tasks") or [{}]) > 1:
        raise InputError(f"{what} is one kind of request; give one task")


def _reported(
    profile: AcceptanceProfile,
    settings: SyntheticSettings,
    seed: int,
    command: str | None,
    notes: tuple[str, ...],
) -> Made:
    notes = (*notes, profile.assumptions())
    task = settings.tasks[0]
    lengths = RequestLengths.drawn(settings.num_requests, task.prompt_tokens, task.output_tokens, seed)
    metadata = TraceMetadata(
        profile.k,
        "synthetic",
        "independent",
        sampling={"greedy": settings.greedy},
        seed=seed,
        command=command,
        extra={"assumed": list(notes)},
    )
    names = (printable(task.name),) * settings.num_requests
    trace = trace_of_rates(profile, lengths, metadata, seed, names)
    return Made(trace, tuple(_outcomes(profile, trace)), notes)


def _outcomes(profile: AcceptanceProfile, trace: TokenTrace) -> list[Outcome]:
    accepted = trace.target.num_accepted[visited_starts(trace.target.num_accepted, trace.first_position)]
    rates = [float((accepted >= d).mean()) for d in range(1, profile.k + 1)]
    found = [
        Outcome(f"rate at position {d}, step starts", asked, made, 0.01)
        for d, (asked, made) in enumerate(zip(profile.rates, rates, strict=True), start=1)
    ]
    length = profile.mean_acceptance_length
    return [*found, Outcome("mean acceptance length", length, 1.0 + sum(rates), 0.01 * length)]
