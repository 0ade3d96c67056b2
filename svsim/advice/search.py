"""Which lengths and batch sizes are looked at, and what the replay says of them."""

from dataclasses import dataclass, replace
from pathlib import Path

from svsim.advice.evidence import Evidence
from svsim.deployments import MODELLED
from svsim.errors import InputError, OutOfRangeError
from svsim.latency.elsewhere import TOGETHER, Elsewhere
from svsim.latency.model import LatencyModel, OutOfRange
from svsim.model_choice import ModelChoice
from svsim.options import MAX_BATCH_SIZE, RunOptions, integer, several
from svsim.progress import OnProgress
from svsim.run import SV_TOKENS, RunResult, answer, open_source
from svsim.trace.parts import Source

GRID = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # requests at once
EVERY_LENGTH_TO = 8  # draft tokens; above, some
LONGER = (10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 255)
LEAST_REQUESTS = 256


@dataclass(frozen=True, slots=True)
class Server:
    """What serves, and how hard: the words of ``svsim.advise``. Empty or None: searched, or the default."""

    concurrency: tuple[int, ...] = ()
    methods: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()
    latency: str | LatencyModel | None = None
    engine: str | None = None
    prefill: str | None = None
    out_of_range: OutOfRange | None = None
    prices: str | Path | None = None
    gpu_memory_utilization: float | None = None
    elsewhere: Elsewhere = TOGETHER
    seed: int = 0
    jobs: int | None = None

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """What is replayed: the sizes asked for and, for the ladder, the grid below them; else the grid."""
        asked = {integer("concurrency", size, 1, MAX_BATCH_SIZE) for size in self.concurrency}
        return tuple(sorted(asked | {size for size in GRID if size < max(asked, default=GRID[-1] + 1)}))

    @property
    def num_requests(self) -> int:
        """Of a trace that is made for it: none of its batches is short of requests."""
        return max(LEAST_REQUESTS, *self.batch_sizes)


def searched_lengths(longest: int, recorded: int | None) -> list[int]:
    """Draft tokens per step worth a look."""
    lengths = {*range(1, EVERY_LENGTH_TO + 1), *LONGER, longest, *((recorded,) if recorded else ())}
    return sorted(k for k in lengths if k <= longest)


def searched_methods(
    source: Source, evidence: Evidence, models: ModelChoice, latency: str, largest: int = 1
) -> list[str]:
    """td, sd at every length, and sv where the trace has its signals and the companion has a price.

    largest: the largest batch size that is asked about.
    """
    drafter = models.drafter_of(source.metadata.models)
    if drafter is not None and drafter.name == "none":
        return ["td"]
    fixed = [f"sd:k={k}" for k in searched_lengths(evidence.longest, evidence.recorded_k)]
    is_priced = latency == "trace" or (latency in MODELLED and "companion" in source.metadata.models)
    has_signals = {"similarity", "companion_accept"} <= set(source.signals) and evidence.longest >= SV_TOKENS
    has_signals = has_signals and evidence.num_requests >= 2 * largest  # half of them teach the belief
    sv = [f"sv-lossless:k={SV_TOKENS}", f"sv:k={SV_TOKENS}"] if is_priced and has_signals else []
    return ["td", *fixed, *sv]


def replayed(
    evidence: Evidence, models: ModelChoice, server: Server, progress: OnProgress | None = None
) -> RunResult:
    """Rows of every method searched at every batch size, on each hardware.

    Batch sizes that nobody asked for are left out where the step times have no calibration for them.
    """
    source, largest = open_source(evidence.trace, models), max(server.concurrency, default=1)
    if evidence.num_requests < largest:
        raise InputError(
            f"`concurrency` {largest} exceeds the {evidence.num_requests} requests of the trace; ask about "
            "fewer at once, or give a trace with more"
        )
    has_times = source.step_times is not None and not server.hardware
    latency = server.latency or ("trace" if has_times else "database")
    word = latency if isinstance(latency, str) else "a model"
    methods = server.methods or searched_methods(source, evidence, models, word, largest)
    options = RunOptions(
        methods=list(dict.fromkeys(["td", *methods])),
        batch_sizes=server.batch_sizes if server.concurrency or evidence.is_made else (),
        hardware=server.hardware,
        latency=latency,
        engine=server.engine,
        models=models,
        elsewhere=server.elsewhere,
        prefill=server.prefill or ("include" if evidence.is_of_server else "exclude"),
        out_of_range=server.out_of_range,
        prices=server.prices,
        gpu_memory_utilization=server.gpu_memory_utilization,
        seed=server.seed,
        jobs=server.jobs,
    )
    while True:
        try:
            return answer("replay", evidence.trace, options, progress)
        except OutOfRangeError:
            sizes = several(options.batch_sizes)
            if server.concurrency or len(sizes) < 2:
                raise
            options = replace(options, batch_sizes=sizes[:-1])
