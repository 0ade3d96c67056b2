"""``svsim.phase``: the fastest method over acceptance x batch and context x batch, by the analytic model.

The trace is reshaped (``svsim.trace.what_if``) level by level; methods are walked once a level and answer all
batch sizes. A few cells of every diagram are replayed.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svsim.engines.belief_error import with_belief_error
from svsim.engines.settings import PreparedRun, prepare
from svsim.errors import InfeasibleError, InputError, OutOfRangeError, require
from svsim.feasibility import MemoryFit
from svsim.latency.model import LatencyModel, OutOfRange
from svsim.metrics.bootstrap import goodput_tok_s, resampled_goodput
from svsim.metrics.phase import Measured, PhaseCell, PhaseCheck, PhaseDiagram, phase_cell
from svsim.model_choice import ModelChoice
from svsim.options import RunOptions, several
from svsim.progress import Count, OnProgress
from svsim.run import (
    Question,
    Run,
    Trace,
    default_methods,
    file_name,
    fits_in_memory,
    is_file,
    open_source,
    understand,
)
from svsim.trace.file import load_trace
from svsim.trace.token_trace import TokenTrace
from svsim.trace.what_if import mean_acceptance, mean_context, with_acceptance, with_context
from svsim.version import __version__

if TYPE_CHECKING:
    import pandas as pd

    from svsim.decoding.method import DecodingMethod

BATCH_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
ACCEPTANCES = tuple(round(0.32 + 0.04 * i, 2) for i in range(17))
CONTEXTS = tuple(round(2.0 ** (8 + i / 2)) for i in range(15))  # 256 to 32,768 tokens
NUM_CHECKED = 3  # levels, and batch sizes, of a diagram that are replayed
OUT_OF_RANGE = "beyond the calibrated step times"


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """Diagrams with where they come from; ``trace`` and ``config`` hold plain JSON values."""

    diagrams: tuple[PhaseDiagram, ...]
    version: str
    trace: dict[str, Any]
    config: dict[str, Any]
    notes: tuple[str, ...] = ()
    command: str = field(default="", repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "svsim": self.version,
            "trace": self.trace,
            "config": self.config,
            "notes": list(self.notes),
            "diagrams": [
                {
                    **asdict(diagram),
                    "settled_share": diagram.settled_share,
                    "cells": [asdict(cell) | {"is_settled": cell.is_settled} for cell in diagram.cells],
                }
                for diagram in self.diagrams
            ],
        }

    def to_frame(self) -> "pd.DataFrame":
        """All cells as a data frame: ``axis``, ``level``, ``batch_size``, then the fields of a cell."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "axis": d.axis,
                    **asdict(cell),
                    "could_be": ", ".join(cell.could_be),
                    "unfit": ", ".join(cell.unfit),
                    "is_settled": cell.is_settled,
                }
                for d in self.diagrams
                for cell in d.cells
            ]
        )

    def report(self, path: str | os.PathLike[str], *, command: str | None = None) -> None:
        """Write one offline HTML page with the picture and its numbers."""
        from svsim.report.phase_page import write_phase_page

        write_phase_page(self, path, command or self.command)

    def picture(self, path: str | os.PathLike[str]) -> None:
        """Write the picture alone, as SVG, for slides and papers."""
        from svsim.report.phase_page import write_phase_picture

        write_phase_picture(self, path)


def phase(
    trace: Trace,
    *,
    acceptance: Sequence[float] | float = (),
    context: Sequence[float] | float = (),
    methods: "Sequence[str | DecodingMethod] | str | DecodingMethod" = (),
    batch_sizes: Sequence[int] | int = (),
    hardware: str | None = None,
    latency: str | LatencyModel = "trace",
    engine: str | None = None,
    target: str | Path | None = None,
    draft: str | Path | None = None,
    companion: str | Path | None = None,
    drafter: str | None = None,
    head: str | Path | None = None,
    prefill: str | None = None,
    profile_split: float | None = None,
    out_of_range: OutOfRange | None = None,
    seed: int = 0,
    jobs: int | None = None,
    progress: OnProgress | None = None,
) -> PhaseResult:
    """Which method is fastest, over acceptance x batch and over context x batch, and where that is open.

    Levels other than the recorded one are what-ifs (``svsim.trace.what_if``): signals stay as recorded, draws
    follow the recorded ones. Raises the errors of ``svsim.errors``.

    Parameters
    ----------
    acceptance: mean acceptance of the first draft token; default 0.32 to 0.96, as far as the trace reaches.
    context: mean tokens before a position; default 256 to 32,768, as far as step times are calibrated.
    methods: compared with td; default as in ``replay``.
    batch_sizes: default 1 to 256, as far as the trace has requests.
    hardware: one; default the first of the step times.

    The others are those of ``replay``.

    >>> svsim.phase("traces/llama70b.parquet").report("phase.html")  # doctest: +SKIP
    """
    require(
        hardware is None or isinstance(hardware, str),
        "`hardware`: a phase diagram is of one deployment; name one at a time",
    )
    options = RunOptions(
        methods=methods,
        batch_sizes=batch_sizes,
        hardware=() if hardware is None else hardware,
        latency=latency,
        engine=engine,
        models=ModelChoice(target, draft, companion, drafter, head),
        prefill=prefill,
        profile_split=profile_split,
        out_of_range=out_of_range,
        seed=seed,
        jobs=jobs,
    )
    require(fits_in_memory(trace), "`trace` is too long to be reshaped in memory; take a shorter one")
    loaded = load_trace(trace) if is_file(trace) else trace
    assert isinstance(loaded, TokenTrace)
    asked = _Asked.of(loaded, options)
    wanted = (
        _Axis.of("acceptance", loaded, acceptance, ACCEPTANCES),
        _Axis.of("context", loaded, context, CONTEXTS),
    )
    count = Count(progress, "levels", sum(len(axis.levels) for axis in wanted))
    done = iter(range(1, count.total + 1))
    diagrams = tuple(asked.diagram(axis, lambda: count(next(done))) for axis in wanted)
    return asked.result(trace, diagrams)


@dataclass(frozen=True, slots=True)
class _Axis:
    """What is varied: levels, and how a trace gets one. is_asked: the caller named the levels."""

    name: str
    levels: tuple[float, ...]
    recorded: float
    reshape: Callable[[float], TokenTrace]
    is_asked: bool

    @classmethod
    def of(cls, name: str, trace: TokenTrace, given: Any, usual: Sequence[float]) -> "_Axis":
        """The levels asked for, rising, or the usual ones that the trace reaches."""
        of_acceptance = name == "acceptance"
        own = mean_acceptance(trace) if of_acceptance else mean_context(trace)
        levels = several(given)
        for level in levels:
            is_number = isinstance(level, int | float) and not isinstance(level, bool)
            require(is_number and math.isfinite(level), f"`{name}` holds {level!r}; expected numbers")

        def reshape(level: float) -> TokenTrace:
            return with_acceptance(trace, level) if of_acceptance else with_context(trace, level)

        asked = tuple(sorted(set(levels)))
        for level in {asked[0], asked[-1]} if asked else ():
            reshape(level)  # out of reach is said before the work
        return cls(name, asked or tuple(usual), own, reshape, bool(asked))


Goodputs = dict[tuple[float, int], dict[str, float]]


@dataclass(frozen=True, slots=True)
class _Asked:
    """The question understood once: methods, settings and prices, which no level changes."""

    run: Run
    options: RunOptions

    @classmethod
    def of(cls, trace: TokenTrace, options: RunOptions) -> "_Asked":
        """td is always there: not to speculate is a choice."""
        given = several(options.methods) or default_methods(open_source(trace, options.models), [])
        options = replace(options, methods=("td", *(method for method in given if method != "td")))
        if several(options.batch_sizes):
            return cls(understand(trace, options), options)
        first = understand(trace, replace(options, batch_sizes=(1,)))
        most = first.prepared.part.num_requests
        usual = tuple(size for size in BATCH_SIZES if size <= most)
        return cls(first, replace(options, batch_sizes=usual))

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """All of them, rising."""
        return tuple(sorted(set(several(self.options.batch_sizes))))

    def diagram(self, axis: _Axis, count: Callable[[], None]) -> PhaseDiagram:
        """All cells of an axis, and some of them replayed."""
        rows: dict[float, list[PhaseCell]] = {}
        goodputs: Goodputs = {}
        for level in axis.levels:
            rows[level] = self._level(axis, level, goodputs)
            count()
        kept = [level for level in axis.levels if axis.is_asked or any(c.best for c in rows[level])]
        if not any(cell.best for level in kept for cell in rows[level]):
            why = next((cell.why for cells in rows.values() for cell in cells), "no level is in its reach")
            raise InfeasibleError(f"no `{axis.name}` has an answer: {why}; ask for other levels")
        cells = tuple(cell for level in kept for cell in rows[level])
        checks = tuple(self._checks(axis, kept, rows, goodputs))
        return PhaseDiagram(axis.name, axis.recorded, tuple(kept), self.batch_sizes, cells, checks)

    def result(self, trace: Trace, diagrams: tuple[PhaseDiagram, ...]) -> PhaseResult:
        """Diagrams with where they come from."""
        deployment = self.run.prepared.deployments[0]
        config = {
            **self.run.config,
            "engine": "analytic",
            "batch_sizes": list(self.batch_sizes),
            "deployment": deployment.name,
            "latency_source": deployment.latency.source,
        }
        name = repr(str(trace)) if is_file(trace) else "trace"
        about = {**self.run.trace, "file": file_name(trace)}
        notes = (*self.run.notes, *self._lossy(diagrams))
        return PhaseResult(diagrams, __version__, about, config, notes, f"svsim.phase({name})")

    def _lossy(self, diagrams: tuple[PhaseDiagram, ...]) -> Iterator[str]:
        """Methods of the map that change the text's law, by name: fastest there is not what to run."""
        prepared = self.run.prepared
        shown = {cell.best for diagram in diagrams for cell in diagram.cells}
        lossy = [
            method.label
            for method in prepared.methods
            if method.label in shown and not method.is_lossless_on(prepared.part.metadata)
        ]
        if lossy:
            yield f"Not lossless at this sampling: {', '.join(lossy)} (the text leaves the target's law)."

    def _level(self, axis: _Axis, level: float, goodputs: Goodputs) -> list[PhaseCell]:
        """Cells of one level; those beyond the calibrated step times say so."""
        sizes = self.batch_sizes
        try:
            trace = axis.reshape(level)
        except InputError as error:
            return [PhaseCell(level, size, why=str(error)) for size in sizes]
        found: list[PhaseCell] = []
        fewer, many = 0, len(sizes) + 1  # so many of the smallest are answered, and so many are not
        trying = len(sizes)
        while fewer < trying < many:
            try:
                found, fewer = self._cells(level, trace, sizes[:trying], goodputs), trying
            except OutOfRangeError:
                many = trying
            trying = (fewer + many) // 2 if fewer else 1
        return found + [PhaseCell(level, size, why=OUT_OF_RANGE) for size in sizes[fewer:]]

    def _prepared(self, trace: TokenTrace, sizes: Sequence[int]) -> PreparedRun:
        settings = replace(self.run.prepared.settings, batch_sizes=tuple(sizes), trim_batch_sizes=False)
        return prepare(open_source(trace, self.options.models), settings, self.run.prepared.deployments)

    def _cells(
        self, level: float, trace: TokenTrace, sizes: Sequence[int], goodputs: Goodputs
    ) -> list[PhaseCell]:
        from svsim.analytic_model.model import AnalyticModel

        prepared = self._prepared(trace, sizes)
        records = with_belief_error(AnalyticModel(prepared).run(), prepared)
        memory = MemoryFit.of(prepared, self.options.memory_share)
        run = replace(self.run, prepared=prepared, memory=memory)
        rows = run.result(Question("analytic", trace, self.options), records, ()).rows
        by_size: dict[int, list[Measured]] = {size: [] for size in sizes}
        for row, record in zip(rows, records, strict=True):
            measured = Measured(row, resampled_goodput(record, prepared.settings.seed))
            by_size[row.batch_size].append(measured)
            goodputs.setdefault((level, row.batch_size), {})[row.label] = goodput_tok_s(record)
        return [phase_cell(level, size, by_size[size]) for size in sizes]

    def _checks(
        self, axis: _Axis, levels: Sequence[float], rows: dict[float, list[PhaseCell]], goodputs: Goodputs
    ) -> Iterator[PhaseCheck]:
        """First, middle and last levels and batch sizes, replayed."""
        from svsim.engines.replay import ClosedLoopReplay

        for level in _spread(levels):
            cells = {cell.batch_size: cell for cell in rows[level] if cell.best is not None}
            if not cells:
                continue
            sizes = _spread(list(cells))
            replayed: dict[int, dict[str, float]] = {size: {} for size in sizes}
            for record in ClosedLoopReplay(self._prepared(axis.reshape(level), sizes)).run():
                replayed[record.batch_size][record.label] = goodput_tok_s(record)
            yield from (_check(cells[size], replayed[size], goodputs[level, size]) for size in sizes)


def _spread(values: Sequence[Any]) -> list[Any]:
    """First, middle and last."""
    places = {round(i * (len(values) - 1) / (NUM_CHECKED - 1)) for i in range(NUM_CHECKED)}
    return [values[place] for place in sorted(places)]


def _check(cell: PhaseCell, replayed: dict[str, float], modelled: dict[str, float]) -> PhaseCheck:
    """Among the methods that fit in memory."""
    labels = [label for label in replayed if label not in cell.unfit]
    best = max(labels, key=lambda label: replayed[label])
    apart = max(abs(replayed[label] / modelled[label] - 1.0) for label in labels)
    agrees = best == cell.best or best in cell.could_be
    return PhaseCheck(cell.level, cell.batch_size, cell.best or "", best, agrees, apart)
