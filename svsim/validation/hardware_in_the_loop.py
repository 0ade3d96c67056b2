"""The replay's step times against the device's, on the very same steps.

For every batch size the steps of all methods are logged by the replay's own step function, laid out as
real passes of random-weight models, and run in ABBA order (forwards, then backwards). Both sides share
requests, coins, admission, decisions and contexts; only the seconds differ, so the error of goodput is that
of the step times. Beside it stands the wall clock of the same loop with decisions made on the way.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from svsim.collect.calibrate import find_geometry
from svsim.collect.extras import hardware_name, require_extra, software_versions, torch_device, torch_dtype
from svsim.collect.settings import DataType, Device, Progress, require
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment
from svsim.engines.settings import PreparedRun, RunSettings, prepare
from svsim.engines.step_log import LoggedStep, StepWalk
from svsim.errors import InfeasibleError, InputError
from svsim.latency.model import LatencyModel
from svsim.latency.shape import Role
from svsim.metrics.accuracy import Accuracy, GoodputPair, MarginalPair, accuracy
from svsim.workload.parts import Source
from svsim.workload.trace_file import creation_date

if TYPE_CHECKING:
    from svsim.collect.device_timer import ClockLog, DeviceTimer
    from svsim.validation.device_loop import DeviceLoop
    from svsim.validation.device_passes import PassRunner

METHODS = ("td", "sd:k=3", "sd:k=5", "sd:k=7", "sv:k=7", "sv-lossless:k=7")
OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """One comparison: models (presets or ``config.json``), methods, batch sizes in order of value.

    num_steps:     steps of each method that are timed, after the replay's own warm-up.
    num_repeats:   of every method's steps, at least 3; medians over them count.
    one_context:   all steps of a method and batch size stand behind their mean context (a captured graph
                   is fixed to one), instead of each behind its own.
    seconds:       no batch size is begun after that long; what is left out is named.
    """

    target: str
    draft: str | None = None
    companion: str | None = None
    methods: tuple[str, ...] = METHODS
    batch_sizes: tuple[int, ...] = (1, 64, 8, 32, 4, 16, 2)
    num_steps: int = 24
    num_repeats: int = 4
    one_context: bool = True
    seconds: float = 280.0
    seed: int = 0
    device: Device = "cuda"
    dtype: DataType = "auto"
    command: str | None = None

    def __post_init__(self) -> None:
        require(self.num_repeats >= 3, f"num_repeats = {self.num_repeats}; expected at least 3")
        least = min((self.num_steps, *self.batch_sizes), default=0)
        require(least >= 1, f"{least} steps or sequences; expected at least 1")

    @property
    def models(self) -> dict[Role, str]:
        """Names of the models there are, by role."""
        named = {Role.TARGET: self.target, Role.DRAFT: self.draft, Role.COMPANION: self.companion}
        return {role: name for role, name in named.items() if name is not None}


@dataclass(frozen=True, slots=True)
class LoopRow:
    """One method at one batch size: seconds per step, predicted and measured, by part.

    host_s: the host's own time per step, measured on earlier steps without any pass.
    online_step_s: wall clock per step with decisions on the way; its prediction adds the host's time.
    """

    method: str
    batch_size: int
    num_steps: int
    num_repeats: int
    num_emitted_tokens: int
    mean_context: float
    mean_verification_length: float
    predicted_step_s: float
    measured_step_s: float
    measured_standard_error_s: float
    predicted_draft_s: float
    measured_draft_s: float
    predicted_companion_s: float
    measured_companion_s: float
    predicted_verify_s: float
    measured_verify_s: float
    host_s: float
    online_step_s: float
    online_standard_error_s: float

    def pair(self, predicted_s: float, measured_s: float, error_s: float) -> GoodputPair:
        """Goodputs of seconds per step."""
        tokens = self.num_emitted_tokens / self.num_steps
        goodput = tokens / measured_s
        return GoodputPair(
            self.method, self.batch_size, tokens / predicted_s, goodput, goodput * error_s / measured_s
        )


@dataclass(frozen=True, slots=True)
class LoopReport:
    """Rows and errors; ``host_overhead_s`` is the one number added to every online step's prediction."""

    rows: tuple[LoopRow, ...]
    logged: Accuracy
    online: Accuracy
    host_overhead_s: float
    left_out_batch_sizes: dict[int, str]
    about: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": "hardware in the loop",
            **self.about,
            "host_overhead_s": self.host_overhead_s,
            "left_out_batch_sizes": {str(b): why for b, why in self.left_out_batch_sizes.items()},
            "logged": self.logged.to_dict(),
            "online": self.online.to_dict(),
            "rows": [asdict(row) for row in self.rows],
        }


def hardware_in_the_loop(
    source: Source, latency: LatencyModel, settings: LoopSettings, on_progress: OnProgress | None = None
) -> LoopReport:
    """Run the loop on the device and compare. ``latency`` was calibrated beforehand on other shapes.

    Raises InputError for bad input, InfeasibleError if no batch size could be run.
    """
    require_extra("torch")
    import torch

    from svsim.collect.device_timer import ClockLog, DeviceTimer

    device = torch_device(settings.device)
    gc.collect()
    if settings.device == "cuda":
        torch.cuda.empty_cache()  # of whatever was measured before
    clocks, timer = ClockLog(device), DeviceTimer(device, flush_bytes=4)
    prepared = _prepared(source, latency, settings)
    with torch.no_grad():
        bench = _Bench(prepared, settings, timer, clocks)
        rows = list(bench.run(on_progress))
    if not rows:
        raise InfeasibleError(
            f"no batch size could be run in {settings.seconds:g} s and the memory at hand "
            f"({'; '.join(bench.left_out.values())}); give more time or smaller batches"
        )
    overhead_s = float(np.median([row.host_s for row in rows]))
    about = {
        "hardware": hardware_name(settings.device),
        "device": torch.cuda.get_device_name() if settings.device == "cuda" else "cpu",
        "num_threads": None if settings.device == "cuda" else torch.get_num_threads(),
        "models": {role.value: find_geometry(name).name for role, name in settings.models.items()},
        "dtype": str(torch_dtype(settings.dtype, settings.device)).removeprefix("torch."),
        "acceptance_kind": source.metadata.acceptance_kind,
        "dataset": source.metadata.dataset,
        "latency_source": latency.source,
        "num_steps": settings.num_steps,
        "num_repeats": settings.num_repeats,
        "one_context": settings.one_context,
        "seed": settings.seed,
        "clocks": clocks.summary(),
        "software": software_versions(),
        "command": settings.command,
        "date": creation_date(),
    }
    return LoopReport(
        tuple(rows),
        accuracy(
            [r.pair(r.predicted_step_s, r.measured_step_s, r.measured_standard_error_s) for r in rows],
            bench.marginals,
        ),
        accuracy(
            [
                r.pair(r.predicted_step_s + overhead_s, r.online_step_s, r.online_standard_error_s)
                for r in rows
            ]
        ),
        overhead_s,
        bench.left_out,
        about,
    )


def _prepared(source: Source, latency: LatencyModel, settings: LoopSettings) -> PreparedRun:
    limit = source.metadata.num_speculative_tokens
    methods = tuple(parse_method(text, limit, source.signals) for text in settings.methods)
    for method in methods:
        needed = [Role.DRAFT] * (method.num_speculative_tokens > 0) + [Role.COMPANION] * method.uses_companion
        missing = [role for role in needed if role not in settings.models]
        if missing or method.is_bound:
            reason = f"needs a {missing[0]} model" if missing else "is a bound that no device can run"
            raise InputError(f"{method.label} {reason}; leave it out, or name what it needs")
    run = RunSettings(methods, settings.batch_sizes, seed=settings.seed)
    return prepare(source, run, [Deployment(latency)])


class _Bench:
    """Models on the device and the measurements of one batch size after the other."""

    def __init__(
        self, prepared: PreparedRun, settings: LoopSettings, timer: "DeviceTimer", clocks: "ClockLog"
    ) -> None:
        self.prepared, self.settings, self.timer, self.clocks = prepared, settings, timer, clocks
        self.marginals: list[MarginalPair] = []
        self.left_out: dict[int, str] = {}
        self.logs = {
            (m, size): self._walk(m, size).log(settings.num_steps)
            for size in settings.batch_sizes
            for m in range(len(prepared.methods))
        }
        self.runners = self._runners()

    def _walk(self, method: int, batch_size: int) -> StepWalk:
        walk = StepWalk(self.prepared, method, batch_size)
        walk.warm_up()
        return walk

    def _runners(self) -> "dict[Role, PassRunner]":
        """The models, each with a cache for the largest step."""
        from svsim.collect.decoder import RandomDecoder
        from svsim.validation.device_passes import PassRunner

        settings, methods = self.settings, self.prepared.methods
        longest = 2 + max(method.num_speculative_tokens for method in methods)
        cache_tokens = max(
            len(step.work.context) * (int(step.work.context.mean()) + 2 * longest)
            for log in self.logs.values()
            for step in log
        )
        runners = {}
        for role, name in settings.models.items():
            geometry = find_geometry(name)
            decoder = RandomDecoder(
                geometry,
                geometry.num_layers,
                cache_tokens,
                device=self.timer.device,
                dtype=torch_dtype(settings.dtype, settings.device),
                seed=settings.seed,
            )
            runners[role] = PassRunner(role, decoder, self.timer)
        return runners

    def run(self, on_progress: OnProgress | None) -> Iterator[LoopRow]:
        """Rows of every batch size that time and memory allow."""
        from svsim.collect.batch_memory import is_out_of_memory

        started = time.perf_counter()
        sizes = self.settings.batch_sizes
        for done, size in enumerate(sizes):
            if done and time.perf_counter() - started > self.settings.seconds:
                self.left_out[size] = "no time left"
                continue
            try:
                rows = self._measure(size)
            except (RuntimeError, MemoryError) as failure:
                if not is_out_of_memory(failure):
                    raise
                self.left_out[size] = "out of memory"
                continue
            finally:
                self._forget()
            yield from rows
            if on_progress is not None:
                on_progress(Progress("batch sizes", done + 1, len(sizes), time.perf_counter() - started))

    def _forget(self) -> None:
        import torch

        for runner in self.runners.values():
            runner.forget()
        gc.collect()
        if self.timer.is_gpu:
            torch.cuda.empty_cache()

    def _measure(self, batch_size: int) -> list[LoopRow]:
        """All methods at one batch size, ABBA."""
        import torch

        from svsim.validation.device_loop import DeviceLoop

        settings, methods = self.settings, self.prepared.methods
        k = max(method.num_speculative_tokens for method in methods)
        new_pool: Any = torch.cuda.graph_pool_handle
        pool = new_pool() if self.timer.is_gpu else None
        for runner in self.runners.values():
            runner.reserve(batch_size * (k + 1), pool)
        logs = [self.logs[m, batch_size] for m in range(len(methods))]
        loops = [
            DeviceLoop(self.runners, method, round(_mean_context(log)) if settings.one_context else None)
            for method, log in zip(methods, logs, strict=True)
        ]
        laid_out = [loop.lay_out(log) for loop, log in zip(loops, logs, strict=True)]
        host_s = [self._host_s(loop, m, batch_size) for m, loop in enumerate(loops)]
        for loop, steps in zip(loops, laid_out, strict=True):
            loop.run_logged(steps)  # compiles kernels, brings the clocks up
        logged: list[list[NDArray[np.float64]]] = [[] for _ in methods]
        online: list[list[NDArray[np.float64]]] = [[] for _ in methods]
        for m in _abba(len(methods), settings.num_repeats):
            logged[m].append(loops[m].run_logged(laid_out[m]))
            self.clocks.sample()
        for m in _abba(len(methods), settings.num_repeats):
            walk = self._walk(m, batch_size)
            online[m].append(loops[m].run_online(walk, settings.num_steps)[0])
            self.clocks.sample()
        parts = [np.median(repeats, axis=0) for repeats in logged]
        self._note_slope(batch_size, logs, parts)
        return [
            _row(methods[m].label, batch_size, logs[m], np.stack(logged[m]), np.stack(online[m]), host_s[m])
            for m in range(len(methods))
        ]

    def _host_s(self, loop: "DeviceLoop", method: int, batch_size: int) -> float:
        """Seconds per step of deciding and laying out, on the walk's first steps, without any pass."""
        walk = StepWalk(self.prepared, method, batch_size)
        return float(np.median(loop.run_online(walk, self.settings.num_steps, dry=True)[0]))

    def _note_slope(
        self, batch_size: int, logs: Sequence[Sequence[LoggedStep]], parts: Sequence[NDArray[np.float64]]
    ) -> None:
        """Seconds per verified token over the steps of all methods, predicted and measured."""
        steps = [step for log in logs for step in log]
        tokens = np.array([step.outcome.lengths.sum() for step in steps], np.float64)
        if np.ptp(tokens) == 0:
            return
        predicted = np.array([step.outcome.verify_s for step in steps])
        measured = np.concatenate([part[:, -1] for part in parts])
        slopes = [float(np.polyfit(tokens, seconds, 1)[0]) for seconds in (predicted, measured)]
        self.marginals.append(MarginalPair(batch_size, *slopes))


def _abba(num_methods: int, num_repeats: int) -> Iterator[int]:
    """0 1 2, 2 1 0, 0 1 2 ...: what drifts in time meets all methods alike."""
    for repeat in range(num_repeats):
        yield from range(num_methods) if repeat % 2 == 0 else reversed(range(num_methods))


def _row(
    label: str,
    batch_size: int,
    log: Sequence[LoggedStep],
    logged: NDArray[np.float64],
    online: NDArray[np.float64],
    host_s: float,
) -> LoopRow:
    """logged [repeats, S, parts] and online [repeats, S]; the median over repeats is taken step by step."""
    outcomes = [step.outcome for step in log]
    draft_s, companion_s, verify_s = np.median(logged, axis=0).mean(axis=0).tolist()
    predicted = [
        float(np.mean(seconds))
        for seconds in zip(*((o.draft_s, o.companion_s, o.verify_s) for o in outcomes), strict=True)
    ]
    return LoopRow(
        label,
        batch_size,
        len(log),
        len(logged),
        int(sum(o.emitted.sum() for o in outcomes)),
        _mean_context(log),
        float(np.mean([o.lengths.mean() for o in outcomes])),
        sum(predicted),
        draft_s + companion_s + verify_s,
        _standard_error(logged.sum(axis=2).mean(axis=1)),
        predicted[0],
        draft_s,
        predicted[1],
        companion_s,
        predicted[2],
        verify_s,
        host_s,
        float(np.median(online, axis=0).mean()),
        _standard_error(online.mean(axis=1)),
    )


def _mean_context(log: Sequence[LoggedStep]) -> float:
    """KV tokens of a sequence, over all sequences and steps."""
    return float(np.mean([step.work.context.mean() for step in log]))


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))
