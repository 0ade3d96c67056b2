"""What an acceptance recording says, whatever format said it; and what the user adds.

A record holds rates, or a mean alone, or steps: the most detailed evidence that its file has. What the file
does not say is None here and unknown in the trace: no model, hardware or sampling is made up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from svsim.errors import InputError, printable
from svsim.synthetic.reported import (
    DEFAULT_SHAPE,
    ROUNDING,
    AcceptanceProfile,
    profile_of_mean,
    profile_of_rates,
)
from svsim.synthetic.reported_trace import RecordedSteps
from svsim.synthetic.settings import LengthLaw

RATIO_TOLERANCE = 0.01  # of numbers in a file that must tell the same


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the user says beside the file; None: not said.

    k: draft tokens per step; accept_by_position: cumulative rates at step starts; shape: how a mean is
    spread over positions; series: which of several models or modes; drafter: whose column of
    SpecDecode-Bench; greedy: how the target decoded; proposal_share: of the steps that drafted anything
    (n-gram drafters do not always), rates being per draft.
    """

    k: int | None = None
    num_requests: int | None = None
    prompt_tokens: LengthLaw | None = None
    output_tokens: LengthLaw | None = None
    accept_by_position: tuple[float, ...] | None = None
    shape: str | None = None
    series: str | None = None
    drafter: str | None = None
    greedy: bool | None = None
    proposal_share: float | None = None
    models: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    command: str | None = None

    def __post_init__(self) -> None:
        if self.num_requests is not None and self.num_requests < 1:
            raise InputError(f"`num_requests` {self.num_requests} is out of range; expected at least 1")

    @property
    def spread(self) -> str:
        """The shape in which a mean is spread."""
        return self.shape or DEFAULT_SHAPE


@dataclass(frozen=True, slots=True)
class AcceptanceRecord:
    """What a file says. One of ``profile`` and ``steps`` is there.

    lengths: (prompt, output) tokens of each request, None where not recorded; notes: one line each, what was
    inferred and how; is_spread: rates follow, all or some, from a mean in the shape that was asked for.
    """

    profile: AcceptanceProfile | None = None
    steps: tuple[RecordedSteps, ...] = ()
    k: int | None = None
    num_requests: int | None = None
    mean_prompt_tokens: float | None = None
    mean_output_tokens: float | None = None
    lengths: tuple[tuple[int, int], ...] = ()
    models: Mapping[str, Any] = field(default_factory=dict)
    dataset: str | None = None
    counted: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    is_spread: bool = False


@dataclass(slots=True)
class Tally:
    """Steps, drafted and accepted draft tokens, and accepted ones by position (floats: weighted logs)."""

    num_steps: float = 0.0
    num_drafted: float = 0.0
    num_accepted: float = 0.0
    by_position: list[float] = field(default_factory=list)

    def add(self, num_steps: float, drafted: float, accepted: float, by_position: Sequence[float]) -> None:
        """Count another interval."""
        self.num_steps += num_steps
        self.num_drafted += drafted
        self.num_accepted += accepted
        missing = len(by_position) - len(self.by_position)
        self.by_position += [0.0] * max(missing, 0)
        for d, num in enumerate(by_position):
            self.by_position[d] += num

    @property
    def mean_acceptance_length(self) -> float:
        """Tokens per step, bonus included."""
        return 1.0 + self.num_accepted / self.num_steps


def record_of_tally(tally: Tally, options: ImportOptions, where: str, **about: Any) -> AcceptanceRecord:
    """The record of counted steps: rates by position where all are there, else filled in by shape.

    Raises InputError for counts that contradict each other or K, naming ``where``.
    """
    if tally.num_steps <= 0:
        raise InputError(
            f"{where}: counts no step that drafted, expected at least one; import a run that did"
        )
    per_step = tally.num_drafted / tally.num_steps
    positions = len(tally.by_position)
    k = _k_of(per_step, positions, options, where)
    if tally.num_accepted > tally.num_drafted * (1 + RATIO_TOLERANCE):
        raise InputError(
            f"{where}: {tally.num_accepted:g} draft tokens accepted of {tally.num_drafted:g} drafted, "
            "expected "
            "no more than were drafted; are the counters of one run?"
        )
    rates = tuple(num / tally.num_steps for num in tally.by_position)
    length, told = tally.mean_acceptance_length, sum(rates)
    notes: tuple[str, ...] = ()
    if abs(told - (length - 1)) <= max(RATIO_TOLERANCE, positions * ROUNDING) and positions:
        profile = profile_of_rates((*rates, *[0.0] * (k - positions)), where)
    elif positions == k:
        raise InputError(
            f"{where}: positions add up to {told:.3f} accepted tokens per step, the total to "
            f"{length - 1:.3f}; "
            "expected the same; take both from one scrape or interval"
        )
    else:
        profile = profile_of_mean(length, k, where, options.spread, _levelled(rates, where))
        missing = f"positions {positions}..{k - 1}" if positions < k - 1 else f"position {k - 1}"
        notes = (
            f"{where}: {missing} of {k} missing, expected accepted tokens of each; their rates follow "
            "from the "
            f"total of accepted tokens in the shape `{options.spread}`",
        )
    counted = {"num_steps": tally.num_steps, "num_draft_tokens": tally.num_drafted}
    return AcceptanceRecord(
        profile=profile,
        k=k,
        counted={**counted, "num_accepted_tokens": tally.num_accepted},
        notes=(*notes, *about.pop("notes", ())),
        is_spread=bool(notes),
        **about,
    )


def _levelled(rates: tuple[float, ...], where: str) -> tuple[float, ...]:
    return profile_of_rates(rates, where).rates if rates else ()


def _k_of(per_step: float, positions: int, options: ImportOptions, where: str) -> int:
    """K of drafted tokens per step and counted positions; the user's word must not contradict them."""
    least = max(positions, int(np.ceil(per_step - RATIO_TOLERANCE)), 1)
    whole = abs(per_step - round(per_step)) <= RATIO_TOLERANCE * max(per_step, 1.0)
    found = least if whole or positions else None
    if options.k is not None:
        if options.k < least or (found is not None and options.k != found and whole):
            raise InputError(
                f"{where}: `k` {options.k} contradicts {per_step:.3g} draft tokens per step"
                f"{f' and {positions} positions' if positions else ''}; leave `k` out, or mend it"
            )
        return options.k
    if found is None:
        raise InputError(
            f"{where}: {per_step:.3g} draft tokens per step is no whole number, and no positions are "
            "counted; "
            "expected K, give `k`"
        )
    return found


def record_of_mean(
    mean_acceptance_length: float, k: int | None, options: ImportOptions, where: str, **about: Any
) -> AcceptanceRecord:
    """The record of a mean acceptance length alone: rates in the shape the user asks for, or given by hand.

    ``k``: what the file says. Raises InputError where neither says it, or they contradict.
    """
    if k is not None and options.k is not None and options.k != k:
        raise InputError(f"{where}: `k` {options.k} contradicts k = {k} in the file; leave `k` out")
    known = k or options.k or (len(options.accept_by_position) if options.accept_by_position else None)
    if known is None:
        raise InputError(
            f"{where}: holds a mean acceptance length, not how many tokens were drafted; give `k`, as 3"
        )
    if mean_acceptance_length < 1.0 - 1e-9:
        raise InputError(
            f"{where}: the mean acceptance length is {mean_acceptance_length:g}, expected at least 1: the "
            "bonus "
            "token is counted; add 1 if it is left out"
        )
    profile = profile_of_mean(mean_acceptance_length, known, where, options.spread)
    note = f"{where}: a mean alone; acceptance by position in the shape `{options.spread}`"
    given = () if options.accept_by_position else (note,)
    notes = (*given, *about.pop("notes", ()))
    return AcceptanceRecord(profile=profile, k=known, notes=notes, is_spread=bool(given), **about)


def whole(value: float, what: str, where: str) -> int:
    """A counter's value, which is a whole number of at least 0."""
    if not (np.isfinite(value) and value >= 0 and float(value).is_integer()):
        raise InputError(
            f"{where}: {printable(what, 80)} is {value:g}, expected a whole number of at least 0"
        )
    return int(value)
