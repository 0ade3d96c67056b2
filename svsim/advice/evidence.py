"""What is known of acceptance: rates that an engine reported, its recordings, or a trace of svsim."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from svsim.errors import InputError, printable
from svsim.importing.formats import DEFAULT_OUTPUT, DEFAULT_PROMPT, import_acceptance
from svsim.importing.record import ImportOptions
from svsim.limits import MAX_SPECULATIVE_TOKENS
from svsim.model_choice import ModelChoice
from svsim.options import MAX_BATCH_SIZE
from svsim.synthetic.reported import AcceptanceProfile, Assumption
from svsim.synthetic.reported_trace import RequestLengths, trace_of_rates
from svsim.synthetic.settings import LengthLaw
from svsim.trace.file import TraceReader, load_trace
from svsim.trace.measurement import visited_starts
from svsim.trace.parts import IN_MEMORY_POSITIONS
from svsim.trace.token_trace import TokenTrace, TraceMetadata

MAX_SEARCHED = 16  # draft tokens: longer drafts are searched only where they were recorded
DENSE = "specdecode-bench"  # the format whose requests are as they are
TRACE = "mine.parquet"  # how a command names the trace that it makes first


@dataclass(frozen=True, slots=True)
class Evidence:
    """Acceptance of one drafter.

    trace: what is replayed; its chains hold ``longest`` draft tokens. profile: rates by position at step
    starts, with the k that ran; None where every position was recorded, and no k has to be assumed.
    file: the trace's own file; else made_by: the command that writes ``mine.parquet``, to validate it.
    """

    trace: TokenTrace | Path
    longest: int
    is_of_server: bool
    profile: AcceptanceProfile | None = None
    notes: tuple[str, ...] = ()
    made_by: str | None = None
    file: str | None = None

    @property
    def recorded_k(self) -> int | None:
        """The draft tokens per step that ran; None where all were recorded."""
        return None if self.profile is None else self.profile.k

    @property
    def is_made(self) -> bool:
        """Whether the trace was made of rates, with as many requests as were wanted."""
        return self.profile is not None and self.profile.k < self.longest

    @property
    def num_requests(self) -> int:
        """Of the trace; of one too long for memory as many as can be asked about."""
        if isinstance(self.trace, TokenTrace):
            return self.trace.num_requests
        if TraceReader(self.trace).num_positions > IN_MEMORY_POSITIONS:
            return 2 * MAX_BATCH_SIZE
        return load_trace(self.trace, signals=(), target_columns=()).num_requests

    def trace_for(self, k: int) -> tuple[str, str]:
        """The command that makes a trace with chains of k tokens (empty: it is there), and the trace."""
        if self.profile is not None and k > self.profile.k and isinstance(self.trace, TokenTrace):
            prompt = float(np.mean(self.trace.num_prompt_tokens))
            output = float(np.mean(np.diff(self.trace.first_position)))
            return _synth(self.profile.at(k), prompt, output), TRACE
        if self.file is not None:
            return "", self.file
        return (self.made_by, TRACE) if self.made_by else ("", "TRACE")

    def share_of_assumed(self, k: int, assumption: Assumption) -> float:
        """Mean acceptance length at k under an assumption, over the one assumed."""
        if self.profile is None:
            return 1.0
        assumed, other = self.profile.at(k), self.profile.at(k, assumption)
        return other.mean_acceptance_length / assumed.mean_acceptance_length

    def rates(self, k: int) -> tuple[float, ...]:
        """Cumulative acceptance rates at the starts of steps that draft k tokens."""
        if self.profile is not None:
            return self.profile.at(k).rates
        trace = load_trace(self.trace) if isinstance(self.trace, Path) else self.trace
        accepted = np.minimum(trace.target.num_accepted, k)
        at_starts = accepted[visited_starts(accepted, trace.first_position)]
        return tuple(float((at_starts >= d).mean()) for d in range(1, k + 1))


def of_rates(
    profile: AcceptanceProfile,
    lengths: tuple[LengthLaw | None, LengthLaw | None],
    models: ModelChoice,
    num_requests: int,
    seed: int,
) -> Evidence:
    """Evidence of reported rates; lengths: of prompts and outputs, None: assumed, and said."""
    names = ("prompt_tokens", "output_tokens")
    notes = tuple(
        f"`{name}` is not said: {default} tokens assumed"
        for name, law, default in zip(names, lengths, (DEFAULT_PROMPT, DEFAULT_OUTPUT), strict=True)
        if law is None
    )
    prompt, output = lengths[0] or LengthLaw(DEFAULT_PROMPT), lengths[1] or LengthLaw(DEFAULT_OUTPUT)
    drawn = RequestLengths.drawn(num_requests, prompt, output, seed)
    metadata = TraceMetadata(
        num_speculative_tokens=profile.k,
        acceptance_kind="imported",
        chains="independent",
        models=models.stored({}),
        seed=seed,
    )
    made_by = _synth(profile, prompt.mean, output.mean)
    longest = longest_searched(profile.k)
    trace = trace_of_rates(profile.at(longest), drawn, metadata, seed)
    return Evidence(trace, longest, True, profile, notes, made_by)


def _synth(profile: AcceptanceProfile, prompt_tokens: float, output_tokens: float) -> str:
    """The command that makes a trace of these rates."""
    rates = "/".join(f"{rate:.4g}" for rate in profile.rates)
    return (
        f"svsim synth --accept-by-position {rates} --prompt-tokens {prompt_tokens:g} "
        f"--output-tokens {output_tokens:g} --out {TRACE}"
    )


def longest_searched(recorded_k: int) -> int:
    """The longest draft worth a look: twice the recorded one, up to ``MAX_SEARCHED``, or the recorded one."""
    twice = min(max(2 * recorded_k, recorded_k + 2), MAX_SEARCHED, MAX_SPECULATIVE_TOKENS)
    return max(twice, recorded_k)


def of_recording(
    format_name: str, files: Sequence[str | Path], options: ImportOptions, models: ModelChoice, least: int
) -> Evidence:
    """Evidence of what an engine recorded, in a format of ``svsim import``; least: requests of the trace."""
    if not files:
        raise InputError(
            f"`import_format` {printable(format_name, 40)} needs files; name them, as before.prom"
        )
    made = import_acceptance(format_name, files, options)
    if _reported(made.trace.metadata) is None and made.trace.num_requests < least and format_name != DENSE:
        made = import_acceptance(format_name, files, replace(options, num_requests=least))
    made_by = shlex.join(["svsim", "import", format_name, *map(str, files), "--out", TRACE])
    return of_trace(made.trace, models, least, made_by, made.notes)


def of_trace(
    given: TokenTrace | str | Path,
    models: ModelChoice,
    least: int,
    made_by: str | None = None,
    notes: Sequence[str] = (),
) -> Evidence:
    """Evidence of a trace; one of reported rates is made anew, with drafts longer than those that ran.

    least: requests of such a trace, repeated where there are fewer.
    """
    file = None if isinstance(given, TokenTrace) else str(given)
    if not isinstance(given, TokenTrace):
        reader = TraceReader(given)
        is_short = reader.num_positions <= IN_MEMORY_POSITIONS
        if not is_short or _reported(reader.metadata) is None:
            return replace(_as_recorded(Path(given), reader.metadata), file=file)
        given = load_trace(given)
    profile = _reported(given.metadata)
    if profile is None:
        kept = _as_recorded(given, given.metadata)
        return replace(kept, notes=tuple(notes), made_by=made_by, file=file)
    longest = longest_searched(profile.k)
    lengths = np.diff(given.first_position), given.num_prompt_tokens.astype(np.int64)
    num = max(len(lengths[0]), least)
    outputs, prompts = (np.resize(column, num) for column in lengths)
    metadata = replace(given.metadata, models=models.stored(given.metadata.models))
    trace = trace_of_rates(
        profile.at(longest), RequestLengths(prompts, outputs), metadata, given.metadata.seed or 0
    )
    is_of_server = given.metadata.acceptance_kind == "imported"
    return Evidence(trace, longest, is_of_server, profile, tuple(notes), made_by, file)


def _reported(metadata: TraceMetadata) -> AcceptanceProfile | None:
    """The rates that a trace was made of; None where positions or steps were recorded."""
    told: Any = metadata.extra.get("acceptance")
    if not isinstance(told, dict) or "rates_at_step_starts" not in told:
        return None
    return AcceptanceProfile(tuple(told["rates_at_step_starts"]), told.get("num_known_rates"))


def _as_recorded(trace: TokenTrace | Path, metadata: TraceMetadata) -> Evidence:
    """A trace that is replayed as it is. Of recorded steps only their own k is certain."""
    kept = Evidence(trace, metadata.num_speculative_tokens, metadata.acceptance_kind == "imported")
    if metadata.chains != "stepwise":
        return kept
    return replace(kept, profile=AcceptanceProfile(kept.rates(kept.longest)))
