"""What a question of open-loop serving stands for: everything is checked before the first replication.

Straight down, as for the closed loop (``run.py``): trace or stand-in, prices, methods, demand, what fits.
"""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from svsim.decoding.acceptance_rules import RecordedCoins
from svsim.decoding.method import DecodingMethod
from svsim.decoding.pipelines import ParallelPipeline
from svsim.decoding.presets import target_only
from svsim.deployments import known_geometries, unchecked_notes
from svsim.device_groups import NO_COST, running_costs
from svsim.engines.binding import Deployment, bind_columns
from svsim.engines.parallel import reach, with_gamma
from svsim.engines.program import BoundColumns
from svsim.engines.settings import PreparedRun, prepare
from svsim.errors import InfeasibleError, InputError, require
from svsim.feasibility import groups_of
from svsim.latency.model import LatencyModel
from svsim.model_choice import ModelChoice
from svsim.open_loop.options import Cell, ServeOptions, ServeRun
from svsim.options import MAX_SEED, RunOptions, integer, several
from svsim.run import Trace, deployments_of, file_name, methods_of, model_notes, open_source
from svsim.serving.arrivals import Arrivals
from svsim.serving.demand import STAND_IN_ROWS, Demand
from svsim.serving.lengths import LengthLaw
from svsim.serving.memory import ENDLESS_BLOCKS, check_request_fits, kv_blocks
from svsim.serving.replica import MethodPrices
from svsim.serving.routing import router_named
from svsim.serving.simulation import Failure, Fleet, Horizon
from svsim.serving.slo import Slo
from svsim.trace.parts import MemorySource, Source
from svsim.trace.token_trace import ObservableColumns, TargetColumns, TokenTrace, TraceMetadata
from svsim.workload.files import read_workload

DEFAULT_REPLICATIONS = 8
LEAST_DURATION_S, REQUESTS_OF_DURATION = 300.0, 1000
LEAST_WORKLOAD_S = 1.0
MAX_REPLICAS, MAX_REPLICATIONS = 1024, 1000
WINDOWS, MOST_WINDOWS, REQUESTS_OF_WINDOW = 16, 100_000, 8192.0


def understand(trace: Trace | None, options: ServeOptions) -> ServeRun:
    """What the options stand for, checked."""
    slos = tuple(Slo.parse(text) for text in several(options.slo))
    source, notes = _source(trace, options.run.models, options.run.latency)
    run = with_prices(options.run, source)
    drafter = options.run.models.drafter_of(source.metadata.models)
    methods = methods_of(run.methods or ("td" if trace is None else ()), source, drafter, notes)
    if trace is None and any(method.name != "td" for method in methods):
        raise InputError("only td runs without a trace: give a TRACE whose acceptance other methods borrow")
    asked = frozenset(method.label for method in methods)
    if "td" not in asked:
        methods = [target_only(), *methods]  # the baseline of the verdict
    settings = run.settings(methods)
    prepared = prepare(source, settings, deployments_of(source, run))
    demand = _demand(options, prepared if trace is not None else None, settings.seed)
    horizon = _horizon(options, demand)
    cells, more = _cells(options, prepared, demand, asked)
    notes += [*prepared.notes, *unchecked_notes(d.latency for d in prepared.deployments), *more]
    return ServeRun(
        cells,
        demand,
        horizon,
        slos,
        _num_replications(options, demand),
        None if trace is None else _about(trace, source, prepared),
        source.metadata,
        _config(options, prepared, demand, horizon),
        tuple(dict.fromkeys(notes)),
    )


def _source(
    trace: Trace | None, models: ModelChoice, latency: str | LatencyModel
) -> tuple[Source, list[str]]:
    """The trace, or a stand-in that names the models and accepts nothing."""
    if trace is not None:
        source = open_source(trace, models)
        return source, model_notes(trace, source, models, latency)
    about = TraceMetadata(1, "synthetic", "coherent", models=models.stored({}), sampling={"greedy": True})
    stand_in = TokenTrace(
        ("none",),
        np.array([0, 1]),
        np.ones(1, np.int32),
        ObservableColumns({}),
        TargetColumns(np.zeros(1, np.int16)),
        about,
    )
    return MemorySource(stand_in), []


def with_prices(run: RunOptions, source: Source) -> RunOptions:
    """Batches are the scheduler's; prices by default the trace's own, as in ``replay``, else a roofline's."""
    run = replace(run, batch_sizes=(1,))
    if run.latency != "auto":
        return run
    times, named = source.step_times, run.models.to_dict()
    if times is not None and not named.keys() & {"target", "draft", "companion"}:
        return replace(run, latency="trace")
    hardware = several(run.hardware)
    if not hardware and times is not None:
        hardware = (f"{times['hardware'][0]}:tp={times['tensor_parallel'][0]}",)
    require(len(hardware) > 0, "`hardware` is missing; give NAME:tp=N as h100_sxm:tp=4, or `latency=FILE`")
    return replace(run, latency="roofline", hardware=hardware)


def _demand(options: ServeOptions, prepared: PreparedRun | None, seed: int) -> Demand:
    trace = None if prepared is None else prepared.trace
    scale = options.time_scale
    require(0.0 < scale < 1e6, f"`time_scale` {scale:g} is out of range; expected a number above 0")
    if options.workload is not None:
        for name, given in (("arrivals", options.arrivals), ("lengths", options.lengths)):
            require(given is None, f"`{name}`: the `workload` file says it; leave one of them out")
        file = read_workload(options.workload, options.format or "csv")
        whole_s = max(float(np.nextafter(file.duration_s * scale, np.inf)), LEAST_WORKLOAD_S)
        duration_s = whole_s if options.duration is None else options.duration
        return Demand(None, LengthLaw(), file, trace, duration_s, scale, seed)
    require(options.format is None, "`format` has no effect without `workload`; leave it out")
    require(scale == 1.0, "`time_scale` has no effect without `workload`; change the rate of `arrivals`")
    if options.arrivals is None:
        raise InputError("nothing arrives: give `arrivals`, as poisson:rate=4, or a `workload` file")
    arrivals = Arrivals.parse(options.arrivals)
    if options.lengths is None and trace is None:
        raise InputError("`lengths` is missing; give prompt and output tokens, as fixed:1024/128")
    lengths = LengthLaw.parse(options.lengths or "trace")
    rate = arrivals.rate
    usual_s = LEAST_DURATION_S if rate is None else max(LEAST_DURATION_S, REQUESTS_OF_DURATION / rate)
    duration_s = usual_s if options.duration is None else options.duration
    return Demand(arrivals, lengths, None, trace, duration_s, 1.0, seed)


def _horizon(options: ServeOptions, demand: Demand) -> Horizon:
    # a file ends: all of it can be waited for
    drain_s, rate = np.inf if demand.is_given else None, demand.rate
    if demand.arrivals is not None and demand.arrivals.is_closed:
        rate = demand.arrivals.num_users / max(demand.arrivals.think_s, 1.0)
    window_s = demand.duration_s / WINDOWS
    if rate is not None:  # what arrives in a window is held in memory
        window_s = min(window_s, max(REQUESTS_OF_WINDOW / rate, demand.duration_s / MOST_WINDOWS))
    return Horizon.of(demand.duration_s, options.warm_up_s, window_s, drain_s)


def _num_replications(options: ServeOptions, demand: Demand) -> int:
    given = options.replications
    usual = 1 if demand.is_given else DEFAULT_REPLICATIONS
    return usual if given is None else integer("replications", given, 1, MAX_REPLICATIONS)


def _failures(options: ServeOptions, num_replicas: int) -> tuple[Failure, ...]:
    found = tuple(Failure.parse(text) for text in several(options.failure))
    for one in found:
        require(
            one.replica < num_replicas,
            f"`failure` replica={one.replica}: there are replicas 0 to {num_replicas - 1}",
        )
    return found


def _cells(
    options: ServeOptions, prepared: PreparedRun, demand: Demand, asked: frozenset[str]
) -> tuple[tuple[Cell, ...], list[str]]:
    """Every method on every deployment that it fits on; InfeasibleError if nothing fits."""
    replicas = integer("replicas", options.replicas, 1, MAX_REPLICAS)
    router_named(options.router)
    failures = _failures(options, replicas)
    groups = {(d.name, m.label): groups_of(d, m) for d in prepared.deployments for m in prepared.methods}
    costs = running_costs(groups, options.run.prices)
    cells: list[Cell] = []
    problems: list[InfeasibleError] = []
    for deployment in prepared.deployments:
        for method in prepared.methods:
            try:
                cell = _cell(options, prepared, deployment, method, demand)
            except InfeasibleError as error:
                problems.append(error)
                continue
            fleet = replace(cell.fleet, num_replicas=replicas, router=options.router, failures=failures)
            cost, is_asked = costs[deployment.name, method.label], method.label in asked
            cells.append(replace(cell, fleet=fleet, cost=cost, is_asked=is_asked))
    if not any(cell.is_asked for cell in cells):
        raise problems[0]
    notes = [f"left out: {problem}" for problem in problems]
    notes += [
        f"{m.label} runs without overlap in open-loop serving" for m in prepared.methods if _overlaps(m)
    ]
    return tuple(cells), notes + [note for cell in cells for note in _gamma_notes(cell)]


def _gamma_notes(cell: Cell) -> list[str]:
    """Draft tokens per step of a parallel pipeline, where they were found."""
    pipeline = cell.method.pipeline
    if not isinstance(pipeline, ParallelPipeline) or len(pipeline.gammas) == 1:
        return []
    first, last = pipeline.gammas[1], pipeline.gammas[-1]
    where = f"{cell.deployment.name}, {cell.method.label}"
    return [f"{where}: gamma is {first} for 1 request in a step and {last} for {len(pipeline.gammas) - 1}"]


def _overlaps(method: DecodingMethod) -> bool:
    return method.pipeline.num_micro_batches(2) > 1


def _cell(
    options: ServeOptions,
    prepared: PreparedRun,
    deployment: Deployment,
    method: DecodingMethod,
    demand: Demand,
) -> Cell:
    """One method on one deployment, checked and priced."""
    require(
        not method.work().draft.exit_shares,
        f"{method.label} chooses one exit for the whole batch, and runs in the closed loop alone; ask "
        f"svsim replay, or leave {method.label} out",
    )
    settings, longest = options.scheduler_settings(deployment), demand.longest()
    require(
        not method.pipeline.is_parallel or settings.scheduling == "sync",
        f"`scheduling=async` plans a step before the last one's outcome, which says what {method.label} "
        "verifies; take sync",
    )
    counts = [1, *range(1, settings.max_num_seqs + 1)]
    method = with_gamma(method, deployment, counts, demand.mean_context() if demand.trace else 1.0)
    known = known_geometries(prepared.part.metadata)
    num_blocks: int | None
    if options.kv_blocks is not None:
        num_blocks = integer("kv_blocks", options.kv_blocks, 1, ENDLESS_BLOCKS)
    else:
        share = options.run.memory_share
        num_blocks = kv_blocks(known, deployment, method, settings, share, sum(longest))
    blocks = ENDLESS_BLOCKS if num_blocks is None else num_blocks
    check_request_fits(deployment, method, settings, blocks, longest)
    if demand.trace is None:
        columns = BoundColumns(
            np.zeros(STAND_IN_ROWS, np.uint8), np.zeros(0, np.uint8), np.zeros((0, 1), np.uint16)
        )
    else:
        columns = bind_columns(method, demand.trace, RecordedCoins(), 0)
    most = float(sum(longest) + reach(method))
    prices = MethodPrices(
        method,
        columns,
        deployment,
        (float(demand.shortest_prompt()), most),
        settings.max_num_batched_tokens,
        settings.max_num_seqs,
        most,
    )
    rules = settings.rules(method, deployment.priced(method).work.draft, blocks)
    return Cell(method, deployment, Fleet(prices, rules), settings, NO_COST, num_blocks, True)


def _about(trace: Trace, source: Source, prepared: PreparedRun) -> dict[str, Any]:
    return {
        "file": file_name(trace),
        "num_evaluation_positions": prepared.part.num_positions,
        **asdict(source.metadata),
    }


_TOLD_APART = {
    *("run", "slo", "failure", "workload", "duration", "warm_up", "replications", "arrivals", "lengths"),
}


def _config(
    options: ServeOptions, prepared: PreparedRun, demand: Demand, horizon: "Horizon"
) -> dict[str, Any]:
    """What was run, as plain JSON values."""
    run = options.run
    plain = asdict(replace(options, run=RunOptions(), workload=None))
    said = {name: value for name, value in plain.items() if name not in _TOLD_APART}
    return {
        "loop": "open",
        "arrivals": demand.text,
        "lengths": "workload" if demand.is_given else demand.lengths.text,
        "duration_s": demand.duration_s,
        "warm_up": "auto" if horizon.warm_up_s is None else horizon.warm_up_s,
        "replications": _num_replications(options, demand),
        "slo": list(several(options.slo)),
        "failure": list(several(options.failure)),
        **said,
        "hardware": [d.name for d in prepared.deployments],
        "latency": prepared.deployments[0].latency.source,
        "engine_profile": prepared.deployments[0].engine,
        "gpu_memory_utilization": run.memory_share,
        "profile_split": prepared.settings.profile_split,
        "seed": integer("seed", run.seed, 0, MAX_SEED),
        **run.models.to_dict(),
        **run.elsewhere.to_dict(),
    }
