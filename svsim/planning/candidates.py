"""The grid of candidates: every method on every deployment under every scheduler that was asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from svsim.errors import InfeasibleError, InputError, LatencyError
from svsim.feasibility import groups_of
from svsim.open_loop.options import Cell, ServeOptions, ServeRun
from svsim.open_loop.understand import understand
from svsim.run import Trace
from svsim.serving.demand import Demand

DEGREES = (1, 2, 4, 8)  # GPUs per replica that are tried where nothing says it


@dataclass(frozen=True, slots=True)
class Candidate:
    """One method on one deployment under one scheduler, with the run that it was understood in."""

    cell: Cell
    run: ServeRun

    @property
    def label(self) -> str:
        """The method as the command line spells it."""
        return self.cell.method.label

    @property
    def deployment(self) -> str:
        """The hardware as the command line spells it."""
        return self.cell.deployment.name

    @property
    def name(self) -> str:
        """All that tells it from others."""
        settings = self.cell.settings
        return (
            f"{self.label} on {self.deployment} (max_num_seqs {settings.max_num_seqs:,}, "
            f"max_num_batched_tokens {settings.max_num_batched_tokens:,})"
        )

    @property
    def num_gpus(self) -> int:
        """GPUs of one replica, those of models on devices of their own too; 1 where nothing says how many."""
        groups = groups_of(self.cell.deployment, self.cell.method)
        return sum(group.num_gpus or 0 for group in groups) or 1

    @property
    def usd_per_hour(self) -> float | None:
        """Of one replica; None: no price is known."""
        return self.cell.cost.usd_per_hour

    def with_replicas(self, num: int) -> "Candidate":
        """The same, so many times behind the router."""
        return replace(self, cell=replace(self.cell, fleet=replace(self.cell.fleet, num_replicas=num)))

    def demand_at(self, rate: float, duration_s: float) -> Demand:
        """What arrives at ``rate`` requests/s: the same requests at every rate, closer together."""
        demand = self.run.demand
        assert demand.arrivals is not None
        return replace(demand, arrivals=demand.arrivals.at_rate(rate), duration_s=duration_s)


@dataclass(frozen=True, slots=True)
class Grid:
    """What is tried beside methods: hardware as spelt, and lists of scheduler limits; None: the default.

    is_widened: the hardware was spelt out from lists, and what cannot be is left out. is_modelled: step times
    are computed, for any number of GPUs.
    """

    hardware: tuple[str, ...]
    max_num_seqs: tuple[int | None, ...]
    max_num_batched_tokens: tuple[int | None, ...]
    is_widened: bool
    is_modelled: bool

    @classmethod
    def of(
        cls,
        hardware: Sequence[str],
        tp: Sequence[int],
        quant: Sequence[str],
        limits: tuple[Sequence[int], Sequence[int]],
        is_modelled: bool,
    ) -> "Grid":
        """Hardware that names no tp or quant gets every one asked for; by default 1, 2, 4 and 8 GPUs."""
        degrees = tuple(tp) or (DEGREES if is_modelled else ())
        found: list[str] = []
        for text in hardware:
            parts = [
                [f"{key}={v}" for v in values] if values and f"{key}=" not in text else [""]
                for key, values in (("tp", degrees), ("quant", quant))
            ]
            for chosen in product(*parts):
                more = ",".join(part for part in chosen if part)
                found.append(text + (("," if ":" in text else ":") + more if more else ""))
        seqs, tokens = (tuple(given) or (None,) for given in limits)
        return cls(tuple(dict.fromkeys(found)), seqs, tokens, len(found) > len(hardware), is_modelled)

    @property
    def size(self) -> int:
        """Deployments times schedulers."""
        return max(len(self.hardware), 1) * len(self.max_num_seqs) * len(self.max_num_batched_tokens)


def candidates_of(
    trace: Trace | None, options: ServeOptions, grid: Grid
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Every candidate that fits, and what there is to note. InfeasibleError if none does."""
    found: list[Candidate] = []
    notes: list[str] = []
    problems: list[InputError | InfeasibleError] = []
    for seqs, tokens in product(grid.max_num_seqs, grid.max_num_batched_tokens):
        limited = replace(options, max_num_seqs=seqs, max_num_batched_tokens=tokens)
        for run in _runs(trace, limited, grid, problems):
            found += [Candidate(cell, run) for cell in run.cells if cell.is_asked]
            notes += run.notes
    if not found:
        raise next((p for p in problems if isinstance(p, InfeasibleError)), problems[0])
    notes += [f"left out: {problem}" for problem in problems]
    first = found[0].run.demand  # the same requests: one copy of the trace is enough
    shared = [replace(c, run=replace(c.run, demand=first)) for c in found]
    named = {(c.name, c.cell.deployment.engine): c for c in shared}
    return tuple(named.values()), tuple(dict.fromkeys(notes))


def _runs(
    trace: Trace | None, options: ServeOptions, grid: Grid, problems: list[InputError | InfeasibleError]
) -> Iterator[ServeRun]:
    """All hardware understood together; where some of a widened grid cannot be, each by itself."""

    def on(hardware: tuple[str, ...]) -> ServeRun:
        return understand(trace, replace(options, run=replace(options.run, hardware=hardware)))

    try:
        yield on(grid.hardware)
        return
    except (LatencyError, InfeasibleError) as error:
        if not grid.is_widened and not isinstance(error, InfeasibleError):
            raise
        if len(grid.hardware) < 2:
            problems.append(error)
            return
    for text in grid.hardware:
        try:
            yield on((text,))
        except (LatencyError, InfeasibleError) as error:
            problems.append(error)
