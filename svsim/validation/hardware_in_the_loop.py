"""The replay's step times against the device's, on the very same steps.

For every batch size the steps of all methods are logged by the replay's own step function, laid out as
real passes of random-weight models, and run in ABBA order (forwards, then backwards). Both sides share
requests, coins, admission, decisions and contexts; only the seconds differ, so the error of goodput is that
of the step times. Beside it stands the wall clock of the same loop with decisions made on the way.
"""

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from svsim.calibration.timed_pass import FLUSH_BYTES
from svsim.device.extras import hardware_name, require_extra, software_versions, torch_device, torch_dtype
from svsim.engines.binding import Deployment
from svsim.engines.settings import PreparedRun, RunSettings, prepare
from svsim.engines.step_log import LoggedStep, StepWalk
from svsim.errors import InfeasibleError
from svsim.latency.geometry import find_model
from svsim.latency.model import LatencyModel
from svsim.latency.shape import Role
from svsim.metrics.accuracy import Accuracy, MarginalPair, accuracy
from svsim.progress import OnProgress, Progress
from svsim.trace.file import creation_date
from svsim.trace.parts import Source
from svsim.validation.loop_report import (
    METHODS,
    LoopReport,
    LoopRow,
    LoopSettings,
    Retest,
    loop_row,
    mean_context,
    scale_by_role,
)
from svsim.validation.runnable import runnable_methods

if TYPE_CHECKING:
    from svsim.calibration.device_timer import ClockLog, DeviceTimer
    from svsim.validation.device_loop import DeviceLoop
    from svsim.validation.device_passes import PassRunner
    from svsim.validation.retest import Retester

__all__ = ["METHODS", "LoopReport", "LoopRow", "LoopSettings", "hardware_in_the_loop"]


def hardware_in_the_loop(
    source: Source,
    latency: LatencyModel,
    settings: LoopSettings,
    on_progress: OnProgress | None = None,
    table: Mapping[str, NDArray[Any]] | None = None,
) -> LoopReport:
    """Run the loop on the device and compare. ``latency`` was calibrated beforehand on other shapes.

    table: the rows ``latency`` was fitted to; some of them are timed again beside the loop.
    Raises InputError for bad input, InfeasibleError if no batch size could be run.
    """
    require_extra("torch")
    import torch

    from svsim.calibration.device_timer import ClockLog, DeviceTimer

    device = torch_device(settings.device)
    gc.collect()
    if settings.device == "cuda":
        torch.cuda.empty_cache()  # of whatever was measured before
    clocks, timer = ClockLog(device), DeviceTimer(device, flush_bytes=4)
    prepared = _prepared(source, latency, settings)
    with torch.no_grad():
        bench = _Bench(prepared, settings, timer, clocks, table)
        rows = list(bench.run(on_progress))
    if not rows:
        raise InfeasibleError(
            f"no batch size could be run in {settings.seconds:g} s and the memory at hand "
            f"({'; '.join(bench.left_out.values())}); give more time or smaller batches"
        )
    overhead_s = float(np.median([row.host_s for row in rows]))
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
        _retimed(rows, bench.marginals, bench.retests),
        tuple(bench.retests),
        overhead_s,
        bench.left_out,
        _about(source, latency, settings, clocks),
    )


def _about(
    source: Source, latency: LatencyModel, settings: LoopSettings, clocks: "ClockLog"
) -> dict[str, Any]:
    """Where the measurement comes from, as plain JSON values."""
    import torch

    return {
        "hardware": hardware_name(settings.device),
        "device": torch.cuda.get_device_name() if settings.device == "cuda" else "cpu",
        "num_threads": None if settings.device == "cuda" else torch.get_num_threads(),
        "models": {role.value: find_model(name).name for role, name in settings.models.items()},
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


def _retimed(
    rows: Sequence[LoopRow], marginals: Sequence[MarginalPair], retests: Sequence[Retest]
) -> Accuracy | None:
    """Errors with every part's prediction scaled to the table's shapes timed again beside it."""
    sizes = {row.batch_size for row in rows}
    scales = {size: scale_by_role([r for r in retests if r.num_sequences == size]) for size in sizes}
    parts = ((Role.TARGET, "verify"), (Role.DRAFT, "draft"), (Role.COMPANION, "companion"))
    pairs = []
    for row in rows:
        predicted = {role: getattr(row, f"predicted_{part}_s") for role, part in parts}
        if any(seconds and role not in scales[row.batch_size] for role, seconds in predicted.items()):
            return None
        total_s = sum(s * scales[row.batch_size].get(role, 1.0) for role, s in predicted.items())
        pairs.append(row.pair(total_s, row.measured_step_s, row.measured_standard_error_s))
    scaled = [replace(m, predicted_s=m.predicted_s * scales[m.batch_size][Role.TARGET]) for m in marginals]
    return accuracy(pairs, scaled)


def _prepared(source: Source, latency: LatencyModel, settings: LoopSettings) -> PreparedRun:
    methods = runnable_methods(settings.methods, source, settings.models)
    run = RunSettings(methods, settings.batch_sizes, seed=settings.seed)
    return prepare(source, run, [Deployment(latency)])


class _Bench:
    """Models on the device and the measurements of one batch size after the other."""

    def __init__(
        self,
        prepared: PreparedRun,
        settings: LoopSettings,
        timer: "DeviceTimer",
        clocks: "ClockLog",
        table: Mapping[str, NDArray[Any]] | None,
    ) -> None:
        self.prepared, self.settings, self.timer, self.clocks = prepared, settings, timer, clocks
        self.marginals: list[MarginalPair] = []
        self.retests: list[Retest] = []
        self.left_out: dict[int, str] = {}
        self.logs = {
            (m, size): self._walk(m, size).log(settings.num_steps)
            for size in settings.batch_sizes
            for m in range(len(prepared.methods))
        }
        self.max_cache_tokens = self._max_cache_tokens()
        self.runners = self._runners()
        self.retester = None if table is None else self._retester(table)

    def _walk(self, method: int, batch_size: int) -> StepWalk:
        walk = StepWalk(self.prepared, method, batch_size)
        walk.warm_up()
        return walk

    def _max_cache_tokens(self) -> int:
        """KV tokens of the largest step."""
        longest = 2 + max(method.num_speculative_tokens for method in self.prepared.methods)
        return max(
            len(step.work.context) * (int(step.work.context.mean()) + 2 * longest)
            for log in self.logs.values()
            for step in log
        )

    def _runners(self) -> "dict[Role, PassRunner]":
        """The models, each with a cache for the largest step."""
        from svsim.calibration.decoder import RandomDecoder
        from svsim.validation.device_passes import PassRunner

        settings, runners = self.settings, {}
        for role, name in settings.models.items():
            geometry = find_model(name)
            decoder = RandomDecoder(
                geometry,
                geometry.num_layers,
                self.max_cache_tokens,
                device=self.timer.device,
                dtype=torch_dtype(settings.dtype, settings.device),
                seed=settings.seed,
            )
            runners[role] = PassRunner(role, decoder, self.timer)
        return runners

    def _retester(self, table: Mapping[str, NDArray[Any]]) -> "Retester":
        from svsim.calibration.device_timer import DeviceTimer
        from svsim.validation.retest import Retester

        decoders = {role: runner.decoder for role, runner in self.runners.items()}
        timer = DeviceTimer(self.timer.device, FLUSH_BYTES[self.settings.device])
        return Retester(table, decoders, timer, 2 * self.settings.num_repeats, self.max_cache_tokens)

    def run(self, on_progress: OnProgress | None) -> Iterator[LoopRow]:
        """Rows of every batch size that time and memory allow."""
        from svsim.device.out_of_memory import is_out_of_memory

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
            DeviceLoop(self.runners, method, round(mean_context(log)) if settings.one_context else None)
            for method, log in zip(methods, logs, strict=True)
        ]
        laid_out = [loop.lay_out(log) for loop, log in zip(loops, logs, strict=True)]
        host_s = [self._host_s(loop, m, batch_size) for m, loop in enumerate(loops)]
        context = float(np.mean([mean_context(log) for log in logs]))
        chosen = [] if self.retester is None else self.retester.choose(batch_size, context)
        before = self._again(chosen)
        for loop, steps in zip(loops, laid_out, strict=True):
            loop.run_logged(steps)  # compiles kernels, brings the clocks up
        logged: list[list[NDArray[np.float64]]] = [[] for _ in methods]
        online: list[list[NDArray[np.float64]]] = [[] for _ in methods]
        for m in _abba(len(methods), settings.num_repeats):
            logged[m].append(loops[m].run_logged(laid_out[m]))
            self.clocks.sample()
        self.retests += [
            replace(row, again_s=float(np.median(np.concatenate(halves))))
            for row, *halves in zip(chosen, before, self._again(chosen), strict=True)
        ]
        for m in _abba(len(methods), settings.num_repeats):
            walk = self._walk(m, batch_size)
            online[m].append(loops[m].run_online(walk, settings.num_steps)[0])
            self.clocks.sample()
        parts = [np.median(repeats, axis=0) for repeats in logged]
        self._note_slope(batch_size, logs, parts)
        return [
            loop_row(
                methods[m].label, batch_size, logs[m], np.stack(logged[m]), np.stack(online[m]), host_s[m]
            )
            for m in range(len(methods))
        ]

    def _again(self, chosen: Sequence[Retest]) -> list[NDArray[np.float64]]:
        """Half of the repeats of every chosen row."""
        return [self.retester.seconds(row) for row in chosen] if self.retester is not None else []

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
