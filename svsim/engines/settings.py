"""What to run: settings, the split into profile and evaluation part, fitted beliefs.

Both engines start from the same ``PreparedRun``; a belief is fitted here, once, on requests that are
not replayed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from svsim.decoding.acceptance_rules import AcceptanceRule, RecordedCoins
from svsim.decoding.drafters import MODEL, TrimmedDrafter
from svsim.decoding.exit_methods import on_trace
from svsim.decoding.method import DecodingMethod
from svsim.decoding.selections import Plan
from svsim.decoding.tree_methods import loops_note, tree_on_trace
from svsim.engines.binding import Deployment
from svsim.engines.convention import NATIVE, BatchOf, Convention, Prefill, Refill
from svsim.engines.profile import fit_belief, is_small, learns, refits, small_profile_note
from svsim.errors import InputError, LatencyError, MissingSignalError
from svsim.latency.geometry import ModelGeometry, told_geometry
from svsim.latency.shape import Role
from svsim.trace.accept_histogram import HISTOGRAM
from svsim.trace.method_columns import method_column
from svsim.trace.parts import EvaluationPart, Needed, Source
from svsim.trace.token_trace import TokenTrace, TraceMetadata, missing_outcome


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
    convention: Convention = NATIVE
    seed: int = 0
    jobs: int = 1

    @property
    def prefills_stall(self) -> bool:
        """Whether prefills are counted and hold up running sequences."""
        return self.prefill == "include" and self.refill == "continuous"


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """An evaluation part, methods with fitted beliefs, batch sizes that fit it, deployments.

    num_small_profile_requests: requests that beliefs were learnt on, if these are few; then ``refits``
    holds the learning methods on resamples of them.
    """

    part: EvaluationPart
    methods: tuple[DecodingMethod, ...]
    settings: RunSettings
    deployments: tuple[Deployment, ...]
    notes: tuple[str, ...] = ()
    num_small_profile_requests: int | None = None
    refits: tuple[tuple[DecodingMethod, ...], ...] = ()

    @property
    def trace(self) -> TokenTrace:
        """The evaluation part as one trace. Raises InputError where it is too long for memory."""
        if self.part.trace is None:
            raise InputError(
                f"this needs the {self.part.num_positions:,} positions in memory; use a shorter trace"
            )
        return self.part.trace


def prepare(
    source: Source,
    settings: RunSettings,
    deployments: Sequence[Deployment],
    foreign: Source | None = None,
) -> PreparedRun:
    """Split, fit and check. Raises InputError, MissingSignalError or LatencyError.

    foreign: beliefs are learnt on its profile part instead; what is replayed stays the same.
    """
    present = source.target_columns
    on_this = tuple(
        tree_on_trace(on_trace(method, source.metadata), source.metadata, present)
        for method in settings.methods
    )
    settings = replace(settings, methods=on_this)
    learning = [m for m in settings.methods if learns(m)]
    needed = _needed(source, settings)
    limit = source.metadata.num_speculative_tokens
    deployments = tuple(_knowing_models(d, source.metadata) for d in deployments)
    for method in settings.methods:
        if method.selection.outcomes and not source.metadata.is_greedy:
            raise InputError(
                f"{method.label} replays greedy decoding alone, and this trace is sampled (sampling takes "
                f"another draft pass); take a greedy trace, or leave {method.label} out"
            )
        if method.num_speculative_tokens > limit and not method.drafts_own:
            raise InputError(
                f"{method.label} drafts {method.num_speculative_tokens} tokens, but the trace holds chains "
                f"of K = {limit}; ask for k <= {limit}"
            )
        for deployment in deployments:
            deployment.check(method)
        for size in settings.batch_sizes:
            if not method.pipeline.splits(size):
                raise InputError(
                    f"{method.label} splits the batch in two, and batch {size} is odd; ask for even "
                    "`batch_sizes` (or 1, which runs without overlap), or overlap=full"
                )
    if learning and settings.profile_split == 0:
        raise InputError(
            f"{learning[0].label} learns a belief, but a profile split of 0 leaves nothing to learn from; "
            "raise `profile_split` or leave the method out"
        )
    profile, part = source.split(settings.profile_split if learning else 0.0, settings.seed, needed)
    if profile is not None and foreign is not None:
        profile, _ = foreign.split(settings.profile_split, settings.seed, _needed(foreign, settings))
    methods = settings.methods if profile is None else tuple(fit_belief(m, profile) for m in settings.methods)
    sizes, notes = _fitting_batch_sizes(settings, part.num_requests)
    notes += (*_foreign_drafts(source, settings), *_heads_not_apart(deployments, settings))
    notes += (*_rests_on(methods, profile, foreign), *loops_note(methods))
    ready = PreparedRun(part, methods, replace(settings, batch_sizes=sizes), deployments, notes)
    if profile is None or not is_small(profile):
        return ready
    return replace(
        ready,
        notes=(*notes, small_profile_note(methods, profile)),
        num_small_profile_requests=profile.num_requests,
        refits=refits(methods, profile, settings.seed),
    )


def _rests_on(
    methods: Sequence[DecodingMethod], profile: TokenTrace | None, foreign: Source | None
) -> tuple[str, ...]:
    """How much a plan knows of acceptance before it begins, and of whom."""
    learning = [m for m in methods if learns(m)]
    if profile is None or not learning:
        return ()
    size = f"{profile.num_positions:,} tokens of {profile.num_requests:,} requests"
    if foreign is not None:
        named = ", ".join(m.label for m in learning[:MOST_NAMED])
        return (f"beliefs of {named} were learnt on another trace: {size}",)
    planning = [m.label for m in learning if m.selection.lengths_from is Plan.ASKED]
    return (f"{', '.join(planning)}: beliefs rest on {size}",) if planning else ()


def _knowing_models(deployment: Deployment, metadata: TraceMetadata) -> Deployment:
    """With the shapes of target and draft, if the trace tells them: heads get theirs from the target."""

    def told(role: Role) -> ModelGeometry | None:
        try:
            return told_geometry(metadata.models.get(role), role)
        except LatencyError:  # a name or shape that svsim does not know
            return None

    target, draft = deployment.target or told(Role.TARGET), deployment.draft or told(Role.DRAFT)
    return replace(deployment, target=target, draft=draft)


def _heads_not_apart(deployments: Sequence[Deployment], settings: RunSettings) -> tuple[str, ...]:
    """Shares of layers, and parts of a head, on step times that do not tell the head apart."""
    sources = [d for d in deployments if not d.latency.separates_head]
    works = {m.label: m.work().draft for m in settings.methods if m.num_speculative_tokens}
    shared = [label for label, work in works.items() if work.exits_early]
    trimmed = [m.label for m in settings.methods if isinstance(m.drafter, TrimmedDrafter)]
    if not sources or not (shared or trimmed):
        return ()
    where = f"step times of {sources[0].name} ({sources[0].latency.source}) do not tell the head apart"
    says = [
        f"{', '.join(shared[:MOST_NAMED])}: a share of the layers is priced as that share of a whole pass"
    ] * bool(shared)
    says += [f"{', '.join(trimmed[:MOST_NAMED])}: a trimmed head is priced as a whole one"] * bool(trimmed)
    return tuple(f"{where}; {said}" for said in says)


MOST_NAMED = 5  # methods that a note names


def _foreign_drafts(source: Source, settings: RunSettings) -> tuple[str, ...]:
    """A head is priced as itself, but accepted as the trace's own drafter was."""
    told = source.metadata.models.get("draft")
    model = told if isinstance(told, Mapping) else {}
    own, name = model.get("drafter", MODEL.name), model.get("name")
    drafting = [m for m in settings.methods if m.num_speculative_tokens and not m.drafts_own]
    heads = [method.label for method in drafting if method.drafter.name != own]
    if not heads:
        return ()
    more = f" and {len(heads) - MOST_NAMED} more" if len(heads) > MOST_NAMED else ""
    return (
        f"{', '.join(heads[:MOST_NAMED])}{more}: what is accepted is what the trace's drafter"
        f"{f' ({name})' if name else ''} proposed; import or capture a trace of what drafts to judge it",
    )


def _needed(source: Source, settings: RunSettings) -> Needed:
    """The columns that methods and coins read. Raises MissingSignalError for one the trace lacks."""
    signals: list[str] = []
    for method in settings.methods:
        wanted = method.signals
        missing = [name for name in wanted if name not in source.signals]
        if missing:
            present = ", ".join(sorted(source.signals)) or "none"
            raise MissingSignalError(
                f"{method.label} needs the column{'s' * (len(missing) > 1)} {', '.join(missing)}, which this "
                f"trace lacks (it has: {present}); {_remedy(missing)}, or leave {method.label} out"
            )
        signals += wanted
    return Needed(tuple(dict.fromkeys(signals)), _needed_of_target(source, settings))


def _needed_of_target(source: Source, settings: RunSettings) -> tuple[str, ...]:
    """Columns of the target's half: acceptance probabilities where there are, and methods' own."""
    present = source.target_columns
    needed = ["accept_prob"] if "accept_prob" in present else []
    for method in settings.methods:
        for name in (*method.acceptance.needs(present), *method.outcomes):
            if name not in present and method_column(name) is not None:
                raise MissingSignalError(missing_outcome(name, method.label))
            needed.append(name)
    return tuple(name for name in dict.fromkeys(needed) if name in present)


def _remedy(missing: Sequence[str]) -> str:
    if "draft_confidence" in missing:
        return (
            "svsim capture does not record it, as only a drafter with a confidence head has it: import a "
            "trace of one, or ask for signal=draft_entropy"
        )
    if set(missing) <= set(HISTOGRAM):
        return "record it with svsim capture (without --leave-out histogram), or ask for unseen=similarity"
    return "record it with svsim capture, which runs a companion model beside the draft"


def _fitting_batch_sizes(settings: RunSettings, num_requests: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    if settings.batch_of == "copies" or max(settings.batch_sizes) <= num_requests:
        return settings.batch_sizes, ()
    if not settings.trim_batch_sizes:
        raise InputError(
            f"batch {max(settings.batch_sizes)} exceeds the {num_requests} requests to replay; "
            "ask for smaller `batch_sizes`, or `batch_of=copies`"
        )
    sizes = tuple(b for b in settings.batch_sizes if b <= num_requests)
    return sizes, (f"batch sizes above the {num_requests} requests to replay are left out",)
