"""From the caller's words to the drafters that may be used, each with what is known of its acceptance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from svsim.advice.advise import Drafting
from svsim.advice.evidence import Evidence, of_rates, of_recording, of_trace
from svsim.decoding.drafters import DRAFTER_NAMES
from svsim.errors import InputError, printable
from svsim.importing.record import ImportOptions
from svsim.model_choice import ModelChoice
from svsim.options import several
from svsim.synthetic.options import length_of_text, rates_of_text
from svsim.synthetic.reported import DEFAULT_SHAPE, AcceptanceProfile, profile_of_mean, profile_of_rates
from svsim.synthetic.settings import LengthLaw
from svsim.trace.token_trace import TokenTrace

Rates = str | Sequence[float]
Length = int | float | str
SOURCES = "a trace, `accept_by_position`, `acceptance_length` with `k`, or recordings with `import_format`"


@dataclass(frozen=True, slots=True)
class Told:
    """What the caller says of acceptance; None or empty: not said. ``svsim.advise`` says what each is."""

    trace: TokenTrace | str | Path | Sequence[str | Path] | None = None
    import_format: str | None = None
    accept_by_position: Rates | Mapping[str, Rates] | None = None
    acceptance_length: float | None = None
    k: int | None = None
    prompt_tokens: Length | None = None
    output_tokens: Length | None = None
    shape: str | None = None
    seed: int = 0

    @property
    def files(self) -> tuple[TokenTrace | str | Path, ...]:
        """The trace, or the recordings."""
        return () if self.trace is None else several(self.trace)

    def law(self, name: str) -> LengthLaw | None:
        """A length of requests."""
        given = getattr(self, name)
        return None if given is None else length_of_text(name, str(given))


def drafting_of(told: Told, models: ModelChoice, num_requests: int) -> list[Drafting]:
    """What may draft, in the caller's order. InputError where nothing, or too much, is said."""
    _check(told)
    if isinstance(told.accept_by_position, Mapping):
        if not told.accept_by_position:
            raise InputError(f"`accept_by_position` names no drafter; give {SOURCES}")
        if models.drafter is not None:
            raise InputError("`accept_by_position` names drafters itself; leave `drafter` out")
        made = []
        for name, rates in told.accept_by_position.items():
            one = replace(models, drafter=name, head=models.head if _has_head(name) else None)
            made.append(Drafting(_of_rates(rates, told, one, num_requests), one))
        return made
    if told.accept_by_position is not None:
        evidence = _of_rates(told.accept_by_position, told, models, num_requests)
    elif told.acceptance_length is not None:
        evidence = _of_profile(_profile_of_length(told), told, models, num_requests)
    elif told.import_format is not None:
        options = ImportOptions(
            k=told.k,
            prompt_tokens=told.law("prompt_tokens"),
            output_tokens=told.law("output_tokens"),
            shape=told.shape,
            models=models.stored({}),
            seed=told.seed,
        )
        files = [str(file) for file in told.files]
        evidence = of_recording(told.import_format, files, options, models, num_requests)
    else:
        evidence = of_trace(told.files[0], models, num_requests)
    drafting = Drafting(evidence, models)
    if evidence.profile is not None and drafting.name is None and models.draft is None:
        raise InputError(
            "such numbers do not say what drafted; give `drafter` (one of "
            f"{', '.join(DRAFTER_NAMES)}), or the draft model with `draft`"
        )
    return [drafting]


def _has_head(drafter: str) -> bool:
    return drafter not in ("model", "ngram", "none")


def _check(told: Told) -> None:
    """One source, and nothing that it has no use for."""
    is_rates = told.accept_by_position is not None or told.acceptance_length is not None
    is_both = told.accept_by_position is not None and told.acceptance_length is not None
    if is_both or (is_rates and (told.files or told.import_format)):
        raise InputError(f"give {SOURCES}, not two of them")
    if not (is_rates or told.files or told.import_format):
        raise InputError(f"nothing says what is accepted; give {SOURCES}")
    if told.import_format is None and len(told.files) > 1:
        raise InputError(
            f"{len(told.files)} files, expected one trace; `import_format` says what recordings they are"
        )
    is_trace = not is_rates and told.import_format is None
    for name in ("k", "prompt_tokens", "output_tokens"):
        if getattr(told, name) is not None and (
            is_trace or (told.accept_by_position is not None and name == "k")
        ):
            what = "a trace's requests and lengths are recorded" if is_trace else "k is the number of rates"
            raise InputError(f"`{name}` has no effect: {what}; leave it out")
    if told.shape is not None and (is_trace or told.accept_by_position is not None):
        raise InputError(
            "`shape` has no effect: it spreads a mean, and every position is known; leave it out"
        )


def _of_rates(rates: Rates, told: Told, models: ModelChoice, num_requests: int) -> Evidence:
    values = rates_of_text(rates) if isinstance(rates, str) else tuple(float(rate) for rate in rates)
    return _of_profile(profile_of_rates(values, "`accept_by_position`"), told, models, num_requests)


def _profile_of_length(told: Told) -> AcceptanceProfile:
    """A mean, spread over positions by a shape; the ranges hold every other shape."""
    assert told.acceptance_length is not None
    if told.k is None:
        raise InputError("`acceptance_length` is a mean; give `k`, the draft tokens per step, beside it")
    return profile_of_mean(
        float(told.acceptance_length), told.k, "`acceptance_length`", told.shape or DEFAULT_SHAPE
    )


def _of_profile(profile: AcceptanceProfile, told: Told, models: ModelChoice, num_requests: int) -> Evidence:
    lengths = told.law("prompt_tokens"), told.law("output_tokens")
    return of_rates(profile, lengths, models, num_requests, told.seed)


def named_rates(texts: Sequence[str]) -> Rates | dict[str, Rates] | None:
    """Rates as a command line has them: ``.72/.51/.36``, or ``eagle3=.72/.51/.36`` of several drafters."""
    if not texts:
        return None
    pairs = [text.rpartition("=") for text in texts]
    if len(texts) == 1 and not pairs[0][1]:
        return texts[0]
    found: dict[str, Rates] = {}
    for text, (name, equals, rates) in zip(texts, pairs, strict=True):
        if not equals or not name or name in found:
            raise InputError(
                f"`accept_by_position` {printable(text, 60)}: expected DRAFTER=R1/R2/... of each drafter "
                "once, as eagle3=.72/.51/.36, where several are compared"
            )
        found[name] = rates
    return found
