"""One question from the words of the caller to rows: trace, methods, prices, memory, engine, result.

``understand`` goes straight down: the trace with the models it is about, the methods, how to run them,
what a step costs, who learns from whom, what fits; ``answer`` asks an engine and puts the rows together.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from svsim.deployments import PricesAsked, unchecked_notes
from svsim.device_groups import DeviceGroup, RunningCost, running_costs
from svsim.errors import InputError, LatencyError, printable, require
from svsim.latency.elsewhere import Elsewhere
from svsim.latency.model import LatencyModel
from svsim.metrics.rows import ResultTable, result_rows
from svsim.model_choice import AS_THE_TRACE_SAYS, ModelChoice
from svsim.options import (
    MAX_SEED,
    VALUE_BATCH_SIZES,
    RunOptions,
    integer,
    latency_of,
    open_share,
    several,
    texts,
    workers,
)
from svsim.progress import OnProgress
from svsim.trace.file import TraceReader
from svsim.trace.parts import IN_MEMORY_POSITIONS, FileSource, MemorySource, Source
from svsim.trace.token_trace import TokenTrace
from svsim.version import __version__

if TYPE_CHECKING:
    from svsim.decoding.drafters import Drafter
    from svsim.decoding.method import DecodingMethod
    from svsim.engines.binding import Deployment
    from svsim.engines.settings import PreparedRun
    from svsim.feasibility import MemoryFit
    from svsim.metrics.signal_values import SignalValues
    from svsim.metrics.trace_information import TraceInformation
    from svsim.records import RunRecord
    from svsim.report.plain_table import Lead

Trace = TokenTrace | str | Path
Engine = Literal["replay", "analytic"]
FIXED_LADDER = (1, 2, 3, 5)  # draft tokens of the fixed lengths that a run without methods compares
SV_TOKENS = 7


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked of an engine, so that its page can ask for more."""

    engine: Engine
    trace: Trace
    options: RunOptions

    @property
    def command(self) -> str:
        """The call in Python, with what differs from the defaults."""
        given = [
            f"{f.name}={getattr(self.options, f.name)!r}"
            for f in fields(RunOptions)
            if f.name not in ("models", "elsewhere") and getattr(self.options, f.name) != f.default
        ]
        trace = repr(str(self.trace)) if is_file(self.trace) else "trace"
        words = [*self.options.models.words, *self.options.elsewhere.words]
        return f"svsim.{self.engine}({', '.join([trace, *given, *words])})"


@dataclass(frozen=True, slots=True)
class RunResult(ResultTable):
    """Rows of ``replay`` or ``analytic``, and the page about them."""

    question: Question | None = field(default=None, repr=False, compare=False)

    def report(
        self, path: str | os.PathLike[str], *, command: str | None = None, lead: "Lead | None" = None
    ) -> None:
        """Write one offline HTML page with figures: what ``--report`` writes.

        Beside a replay stands the analytic model, and what the signals are worth, unless the trace is too
        long for memory. command: how the page says it was made. lead: what comes first, instead of the
        fastest methods. Raises InputError if ``path`` is the trace.
        """
        from svsim.report.page import write_report  # the only path to plotly

        asked, analytic, information = self.question, None, None
        if asked is not None and is_file(asked.trace) and _is_same_file(path, asked.trace):
            raise InputError(f"{path} is the trace itself; write the page to another file")
        if asked is not None and fits_in_memory(asked.trace):
            analytic = _modelled(asked) if asked.engine == "replay" else None
            found = inspect(
                asked.trace,
                latency=asked.options.latency,
                engine=asked.options.engine,
                hardware=several(asked.options.hardware)[:1],
                models=asked.options.models,
                seed=asked.options.seed,
            )
            information = found.to_dict()["information"]
        command = command or (asked.command if asked else "")
        write_report(self, path, analytic=analytic, information=information, command=command, lead=lead)


@dataclass(frozen=True, slots=True)
class Run:
    """A question understood: what the engines need, and what the result says of it."""

    prepared: "PreparedRun"
    memory: "MemoryFit"
    costs: Mapping[tuple[str, str], RunningCost]
    asked: frozenset[str]
    trace: Mapping[str, Any]
    config: Mapping[str, Any]
    notes: tuple[str, ...]

    def result(self, question: Question, records: Sequence["RunRecord"], notes: Sequence[str]) -> RunResult:
        """Rows of an engine's records, with where they come from."""
        marked = [
            replace(
                record,
                asked=record.label in self.asked,
                fits_memory=self.memory.of_record(record),
                **asdict(self.costs[record.deployment, record.label]),
            )
            for record in records
        ]
        rows = result_rows(marked, self.prepared.settings.seed)
        config = {"engine": question.engine, **self.config}
        return RunResult(rows, __version__, self.trace, config, (*self.notes, *notes), question)


def answer(
    engine: Engine, trace: Trace, options: RunOptions, progress: OnProgress | None = None
) -> RunResult:
    """Ask one of the two engines. Raises the errors of ``svsim.errors``."""
    from svsim.engines.belief_error import with_belief_error

    run = understand(trace, options)
    notes: tuple[str, ...] = ()
    if engine == "replay":
        from svsim.engines.replay import ClosedLoopReplay

        records = ClosedLoopReplay(run.prepared).run(progress)
    else:
        from svsim.analytic_model.model import AnalyticModel

        model = AnalyticModel(run.prepared)
        records, notes = model.run(progress), model.notes
    records = with_belief_error(records, run.prepared)
    return run.result(Question(engine, trace, options), records, notes)


def _modelled(asked: Question) -> RunResult:
    """The same question to the analytic model, without methods that it does not know."""
    from svsim.analytic_model.model import is_answered

    source, options = open_source(asked.trace, asked.options.models), asked.options
    drafter = options.models.drafter_of(source.metadata.models)
    known = [m for m in methods_of(options.methods, source, drafter, []) if is_answered(m)]
    return answer("analytic", asked.trace, replace(options, methods=known or "td", believed_prices=None))


def understand(trace: Trace, options: RunOptions) -> Run:
    """What the options stand for, checked, as one run of this trace."""
    from svsim.decoding.presets import target_only
    from svsim.engines.parallel import gamma_notes
    from svsim.engines.settings import prepare
    from svsim.feasibility import MemoryFit, groups_of

    source = open_source(trace, options.models)
    notes = model_notes(trace, source, options.models, options.latency)
    drafter = options.models.drafter_of(source.metadata.models)
    methods = methods_of(options.methods, source, drafter, notes)
    asked = frozenset(method.label for method in methods)
    methods = methods if "td" in asked else [target_only(), *methods]  # the baseline of every speedup
    settings = options.settings(methods)
    deployments = deployments_of(source, options, settings.convention.draft_of_one_sequence)
    foreign = open_source(options.profile_from) if options.profile_from is not None else None
    prepared = prepare(source, settings, deployments, foreign)
    memory = MemoryFit.of(prepared, options.memory_share)
    require(
        options.gpu_memory_utilization is None or memory.is_known,
        "`gpu_memory_utilization` has no effect: memory is modelled for a GPU with a data sheet and models "
        "of known shape; leave it out, or name the hardware and the models",
    )
    groups = {(d.name, m.label): groups_of(d, m) for d in prepared.deployments for m in methods}
    costs = running_costs(groups, options.prices)
    unchecked = unchecked_notes(d.latency for d in deployments)
    if options.profile_split and not any(m.belief is not None and m.belief.needs_profile for m in methods):
        notes.append("profile_split has no effect: no method here learns a belief, all requests are replayed")
    notes += [*options.models.unused(methods), *_unused(options.elsewhere, groups.values())]
    sizes, context = prepared.settings.batch_sizes, prepared.part.context_mean
    notes += gamma_notes(prepared.methods, prepared.deployments, sizes, context)
    notes += [*prepared.notes, *unchecked, *memory.notes(sizes)]
    return Run(
        prepared,
        memory,
        costs,
        asked,
        {
            "file": file_name(trace),
            "num_evaluation_positions": prepared.part.num_positions,
            **asdict(source.metadata),
        },
        _config(options, prepared, asked),
        tuple(notes),
    )


def _config(options: RunOptions, prepared: "PreparedRun", asked: frozenset[str]) -> dict[str, Any]:
    """What was run, as plain JSON values."""
    settings, latency = prepared.settings, options.latency
    return {
        "methods": sorted(asked),
        "batch_sizes": list(settings.batch_sizes),
        "hardware": [d.latency.hardware for d in prepared.deployments],
        "deployments": [d.name for d in prepared.deployments],
        "gpu_memory_utilization": options.memory_share,
        "latency": latency if isinstance(latency, str) else latency.source,
        "engine_profile": prepared.deployments[0].engine,
        "refill": settings.refill,
        "batch_of": settings.batch_of,
        "prefill": settings.prefill,
        "profile_split": settings.profile_split,
        "coins": options.coins,
        "convention": settings.convention.name,
        "seed": settings.seed,
        **options.models.to_dict(),
        **options.elsewhere.to_dict(),
    }


def _unused(elsewhere: Elsewhere, groups: Iterable[Sequence[DeviceGroup]]) -> list[str]:
    """One line for each role whose own devices no method uses."""
    used = {role for several in groups for group in several[1:] for role in group.roles}
    return [
        f"{role}_hardware has no effect: no method here runs a {role} model (a head runs beside the target)"
        for role in elsewhere.hardware.keys() - used
    ]


def methods_of(
    given: "Sequence[str | DecodingMethod] | str | DecodingMethod",
    source: Source,
    drafter: "Drafter | None",
    notes: list[str],
) -> list["DecodingMethod"]:
    """The distinct methods that are asked for, or td, a ladder of fixed lengths and sv, drafting so."""
    from svsim.decoding.method import DecodingMethod
    from svsim.decoding.ranges import parse_methods

    limit = source.metadata.num_speculative_tokens
    methods: list[DecodingMethod] = []
    drafts = drafter is None or drafter.name != "none"
    for one in several(given) or (default_methods(source, notes) if drafts else ["td"]):
        if isinstance(one, str):
            methods += parse_methods([one], limit, source.signals)
        elif isinstance(one, DecodingMethod):
            methods.append(one)
        else:
            raise InputError(
                f"`methods` holds {printable(repr(one), 40)}; expected a text as sd:k=5, or a DecodingMethod"
            )
    if drafter is not None:
        methods = [method.with_drafter(drafter) for method in methods]
    return list({method.label: method for method in methods}.values())


def default_methods(source: Source, notes: list[str]) -> list[str]:
    """td, sd of every length of ``FIXED_LADDER``, and sv, as far as the trace carries them."""
    limit = source.metadata.num_speculative_tokens
    methods = ["td", *dict.fromkeys(f"sd:k={min(k, limit)}" for k in FIXED_LADDER)]
    missing = [s for s in ("similarity", "companion_accept") if s not in source.signals]
    if missing:
        notes.append(
            f"sv is left out: the trace has no {' or '.join(missing)} (record it with a companion model)"
        )
        return methods
    return [*methods, f"sv:k={min(SV_TOKENS, limit)}"]


def inspect(
    trace: Trace,
    profile_split: float = 0.5,
    latency: str | LatencyModel = "trace",
    engine: str | None = None,
    hardware: Sequence[str] | str = (),
    models: ModelChoice = AS_THE_TRACE_SAYS,
    seed: int = 0,
    jobs: int | None = None,
    progress: OnProgress | None = None,
) -> "TraceInformation":
    """What ``svsim.info`` answers."""
    from svsim.inspection.inspect import InspectionSettings, inspect_trace

    require(
        len(several(hardware)) <= 1, "`hardware`: slow steps are told of one deployment; name one at a time"
    )
    source, latency = open_source(trace, models), latency_of(latency)
    model_notes(trace, source, models, latency)
    settings = InspectionSettings(
        file=file_name(trace),
        profile_split=open_share("profile_split", profile_split),
        seed=integer("seed", seed, 0, MAX_SEED),
        prices=PricesAsked(latency, engine, texts("hardware", hardware)),
        jobs=workers(jobs),
        drafter=models.drafter_of(source.metadata.models),
    )
    return inspect_trace(source, settings, progress)


def value_signals(
    trace: Trace, k: int | None, options: RunOptions, progress: OnProgress | None = None
) -> "SignalValues":
    """What ``svsim.value`` answers."""
    from svsim.decoding.presets import target_only
    from svsim.inspection.signal_value import value_of_signals

    source = open_source(trace, options.models)
    model_notes(trace, source, options.models, options.latency)
    open_share("profile_split", options.profile_split or 0.0)
    sizes = several(options.batch_sizes)
    asked = replace(options, batch_sizes=sizes or VALUE_BATCH_SIZES)
    settings = replace(asked.settings([target_only()]), trim_batch_sizes=not sizes)
    longest = source.metadata.num_speculative_tokens
    return value_of_signals(
        source,
        settings,
        deployments_of(source, options),
        integer("k", min(SV_TOKENS, longest) if k is None else k, 1, longest),
        file_name(trace),
        options.models.drafter_of(source.metadata.models),
        progress,
    )


def deployments_of(
    source: Source, options: RunOptions, draft_of_one_sequence: bool = False
) -> list["Deployment"]:
    """What ``latency``, ``engine`` and ``hardware`` stand for, or the given latency model on that engine."""
    from svsim.engines.binding import Deployment

    hardware = texts("hardware", options.hardware)
    options.elsewhere.check()
    asked = PricesAsked(options.latency, options.engine, hardware, options.elsewhere)
    priced = asked.priced(source, options.out_of_range)
    found = [Deployment(p.latency, draft_of_one_sequence, p.spec) for p in priced]
    if not options.believed_prices:
        return found
    other = replace(asked, latency=options.believed_prices).priced(source, options.out_of_range)
    return [replace(one, believed=p.latency) for one, p in zip(found, other, strict=True)]


def open_source(trace: Trace, models: ModelChoice = AS_THE_TRACE_SAYS) -> Source:
    """Where a run reads its trace from (memory, or a file of any length), about these models."""
    if isinstance(trace, TokenTrace):
        about = replace(trace.metadata, models=models.over(trace.metadata.models))
        return MemorySource(replace(trace, metadata=about))
    reader = TraceReader(trace)
    return FileSource(reader, models.over(reader.metadata.models))


def model_notes(trace: Trace, source: Source, models: ModelChoice, latency: str | LatencyModel) -> list[str]:
    """Says whose acceptance it is where other models are named; LatencyError if the step times are theirs."""
    recorded = source.reader.metadata if isinstance(source, FileSource) else source.trace.metadata
    recorded = trace.metadata if isinstance(trace, TokenTrace) else recorded
    replaced = models.replaced(recorded.models)
    for role, (old, new) in replaced.items():
        if latency == "trace" and source.step_times is not None:
            raise LatencyError(
                f"`{role}={new}`: the trace's step times are those of {old}; give `latency` database or "
                f"roofline with `hardware`, or a file of step times, or leave `{role}` out"
            )
    swaps = ", ".join(f"{new} in the place of {old}" for old, new in replaced.values())
    return [f"acceptance is as recorded, times are of the models named: {swaps}"] if swaps else []


def is_file(trace: Trace) -> TypeGuard[str | Path]:
    """Whether a trace is given by its file."""
    return not isinstance(trace, TokenTrace)


def file_name(trace: Trace) -> str | None:
    """The name of the trace's file; None for one in memory."""
    return Path(trace).name if is_file(trace) else None


def fits_in_memory(trace: Trace) -> bool:
    """Whether a trace is short enough for the analytic model (a longer one is streamed)."""
    return not is_file(trace) or TraceReader(trace).num_positions <= IN_MEMORY_POSITIONS


def _is_same_file(path: str | os.PathLike[str], other: str | Path) -> bool:
    return os.path.exists(path) and os.path.samefile(path, other)
