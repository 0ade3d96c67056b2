"""``calibrate``: seconds of forward passes of up to three models on the device at hand.

The time of a pass is forward (all layers) + logits + sampling of its role, each also kept apart. Where
only some layers are timed, forward is scaled up in proportion to the layers.
"""

import gc
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from svsim.calibration.held_out import HeldOutReport, held_out_layouts, judge
from svsim.calibration.overlap import OverlapRow, measure_overlap
from svsim.calibration.pass_memory import MemoryPlan, cache_tokens, free_bytes, plan_memory
from svsim.calibration.settings import CalibrationSettings
from svsim.calibration.timed_pass import FLUSH_BYTES, pass_stages
from svsim.calibration.timing_rounds import repeats_by_round, time_in_rounds
from svsim.device.extras import hardware_name, require_extra, software_versions, torch_device, torch_dtype
from svsim.errors import InfeasibleError, InputError
from svsim.latency.geometry import ModelGeometry, find_model
from svsim.latency.shape import Role
from svsim.progress import OnProgress, Progress
from svsim.trace.file import creation_date

if TYPE_CHECKING:
    from svsim.calibration.decoder import RandomDecoder
    from svsim.calibration.device_timer import ClockLog, DeviceTimer
    from svsim.calibration.pass_layout import PassLayout

PERCENTILES = (10, 50, 90)


@dataclass(frozen=True, slots=True)
class ExpertsTouched:
    """Distinct experts per layer that passes of so many computed tokens read, and E (1 - (1 - k/E)^t)."""

    num_tokens: int
    measured: float
    expected: float


@dataclass(frozen=True, slots=True)
class RoleReport:
    """What was timed for one role.

    layer_scaling_error: relative, a subset of the layers scaled up against the whole model, per shape.
    experts_touched:     of a mixture, per number of tokens of the grid; None for a dense model.
    """

    model: str
    num_layers: int
    num_layers_timed: int
    num_shapes: int
    num_skipped_for_time: int
    num_skipped_for_memory: int
    elapsed_s: float
    layer_scaling_error: dict[str, float] | None
    experts_touched: tuple[ExpertsTouched, ...] | None
    held_out: HeldOutReport | None


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """Where the table is and what it holds."""

    path: str
    hardware: str
    num_rows: int
    roles: dict[str, RoleReport]
    overlap: tuple[OverlapRow, ...]
    clocks: dict[str, dict[str, float]] | None


def calibrate(settings: CalibrationSettings, progress: OnProgress | None = None) -> CalibrationReport:
    """Time the passes and write the table ``settings.out``.

    Raises InputError or LatencyError for bad input and InfeasibleError if not even one layer fits.
    """
    require_extra("torch")
    import torch

    from svsim.calibration.device_timer import ClockLog, DeviceTimer
    from svsim.calibration.fused_ops import fused_ops
    from svsim.calibration.step_time_file import write_step_times

    device = torch_device(settings.device)
    if not settings.out.parent.is_dir():
        raise InputError(f"{settings.out}: its folder does not exist; create it or choose another path")
    geometries = {Role(r): find_model(m) for r, m in settings.models.items() if m is not None}
    hardware = hardware_name(settings.device)
    overlap = measure_overlap(settings) if settings.overlap_batches else ()
    timer, clocks = DeviceTimer(device, FLUSH_BYTES[settings.device]), ClockLog(device)
    rows: list[dict[str, Any]] = []
    reports: dict[str, RoleReport] = {}
    # compiled before the first model's clock starts
    is_compiled = fused_ops(device, torch_dtype(settings.dtype, settings.device)).is_compiled
    with torch.no_grad():
        benches = [_RoleBench(settings, *item, timer, clocks) for item in geometries.items()]
        for bench in benches:
            reports[bench.role.value] = bench.run(progress)
            rows += bench.rows
    notes = {
        "hardware": hardware,
        "device": torch.cuda.get_device_name() if settings.device == "cuda" else "cpu",
        "num_threads": None if settings.device == "cuda" else torch.get_num_threads(),
        "dtype": str(torch_dtype(settings.dtype, settings.device)).removeprefix("torch."),
        "roles": {name: asdict(report) for name, report in reports.items()},
        "overlap": [asdict(row) for row in overlap],
        "clocks": clocks.summary(),
        "software": software_versions(),
        "graphs": settings.device == "cuda",
        "elementwise_compiled": is_compiled,
        "all_reduce": "not included" if settings.tensor_parallel > 1 else "none",
        "command": settings.command,
        "date": creation_date(),
    }
    write_step_times(settings.out, rows, notes)
    return CalibrationReport(str(settings.out), hardware, len(rows), reports, overlap, clocks.summary())


class _RoleBench:
    """The timing of one role's model."""

    def __init__(
        self,
        settings: CalibrationSettings,
        role: Role,
        geometry: ModelGeometry,
        timer: "DeviceTimer",
        clocks: "ClockLog",
    ) -> None:
        from svsim.calibration.decoder import shard
        from svsim.calibration.pass_grid import calibration_layouts

        self.settings, self.role, self.whole = settings, role, geometry
        self.hardware = hardware_name(settings.device)
        self.timer, self.clocks = timer, clocks
        # draft and companion are small: they run whole on one GPU
        self.tensor_parallel = settings.tensor_parallel if role is Role.TARGET else 1
        self.geometry = shard(geometry, self.tensor_parallel)
        self.layouts = calibration_layouts(
            role, settings.num_sequences, settings.contexts, settings.num_speculative_tokens
        )
        self.rows: list[dict[str, Any]] = []

    def run(self, on_progress: OnProgress | None) -> RoleReport:
        """Time the layouts until they or the time are used up."""
        started = time.perf_counter()
        plan = self._plan()
        num_large, self.layouts = len(self.layouts) - len(plan.layouts), plan.layouts
        error = None
        if self.role is Role.TARGET and self.settings.checked_layers is not None:
            error = self._layer_scaling_error(self.settings.checked_layers)
        decoder = self._decoder(plan.num_layers)
        held_out = held_out_layouts(self.layouts, self.settings.num_held_out, self.settings.seed)

        def note(done: int, total: int) -> None:
            self.clocks.sample()
            if on_progress is not None:
                name = f"{self.role} {self.whole.name}"
                on_progress(Progress(name, done, total, time.perf_counter() - started))

        timed = time_in_rounds(
            self.layouts,
            held_out,
            lambda layout, num_repeats: self.time_stages(decoder, layout, num_repeats),
            repeats_by_round(self.settings.num_repeats, in_rounds=self.settings.device == "cpu"),
            self.settings.seconds_per_model - (time.perf_counter() - started),
            note,
        )
        rows = {layout: self._row(decoder, layout, stages) for layout, stages in timed.stages.items()}
        judged = [rows.pop(layout) for layout in held_out if layout in rows]
        self.layouts, self.rows = list(rows), list(rows.values())
        if not self.rows:
            raise InfeasibleError(
                f"{self.whole.name}: no pass could be timed in {self.settings.seconds_per_model:g} s and the "
                "memory at hand; give more time, fewer layers or shorter contexts"
            )
        return RoleReport(
            self.whole.name,
            self.whole.num_layers,
            plan.num_layers,
            len(self.rows),
            timed.num_late,
            num_large + timed.num_large,
            time.perf_counter() - started,
            error,
            self._experts_touched(decoder) if self.geometry.num_experts else None,
            judge(self.rows, judged) if judged else None,
        )

    def _experts_touched(self, decoder: "RandomDecoder") -> tuple[ExpertsTouched, ...]:
        """How many experts decoding passes of the grid read, by number of computed tokens."""
        decoding = {x.padded_tokens: x for x in self.layouts if not x.is_prompt}
        return tuple(
            ExpertsTouched(
                num,
                decoder.num_experts_touched(decoder.prepare(decoding[num])),
                float(self.geometry.expected_active_experts(num)),
            )
            for num in sorted(decoding)
        )

    def _plan(self) -> MemoryPlan:
        """Layers to hold and passes to time: what fits into memory."""
        import torch

        num_layers = self.whole.num_layers
        if self.settings.num_layers is not None and self.role is Role.TARGET:
            num_layers = min(self.settings.num_layers, num_layers)
        gc.collect()
        if self.timer.is_gpu:
            torch.cuda.empty_cache()
        free = free_bytes(self.timer.device)
        if free is None:
            return MemoryPlan(num_layers, self.layouts)
        dtype = torch_dtype(self.settings.dtype, self.settings.device)
        return plan_memory(self.geometry, num_layers, self.layouts, free, dtype.itemsize)

    def _decoder(self, num_layers: int) -> "RandomDecoder":
        from svsim.calibration.decoder import RandomDecoder

        settings = self.settings
        return RandomDecoder(
            self.geometry,
            num_layers,
            max(map(cache_tokens, self.layouts)),
            device=self.timer.device,
            dtype=torch_dtype(settings.dtype, settings.device),
            seed=settings.seed,
        )

    def _row(
        self, decoder: "RandomDecoder", layout: "PassLayout", stages: NDArray[np.float64]
    ) -> dict[str, Any]:
        """A row of the table from the seconds [repeats, 3] of one layout."""
        stages = stages * [self.whole.num_layers / len(decoder.layers), 1.0, 1.0]
        low, middle, high = np.percentile(stages.sum(1), PERCENTILES)
        forward_s, logits_s, sampling_s = np.median(stages, 0)
        source = "measured" if self.tensor_parallel == 1 else "measured shard, no all-reduce"
        if len(decoder.layers) != self.whole.num_layers:
            source += ", layers scaled"
        return {
            "role": self.role.value,
            "tensor_parallel": self.tensor_parallel,
            "num_sequences": layout.num_sequences,
            "num_new_tokens": layout.total_tokens,
            "num_kv_tokens": layout.num_kv_tokens,
            "seconds": float(middle),
            "p10_s": float(low),
            "p90_s": float(high),
            "num_repeats": len(stages),
            "hardware": self.hardware,
            "source": source,
            "model": self.whole.name,
            "longest_query": layout.longest,
            "num_padded_tokens": layout.padded_tokens,
            "forward_s": float(forward_s),
            "logits_s": float(logits_s),
            "sampling_s": float(sampling_s),
        }

    def time_stages(
        self, decoder: "RandomDecoder", layout: "PassLayout", num_repeats: int
    ) -> NDArray[np.float64]:
        """Seconds of forward, logits and sampling in every repeat: float64 [repeats, 3]."""
        # a graph's libraries set themselves up in the first warm-up
        num_warm_ups = 2 if self.timer.is_gpu else 1
        return self.timer.time(pass_stages(decoder, layout, self.role), num_repeats, num_warm_ups).seconds

    def _layer_scaling_error(self, num_layers: int) -> dict[str, float]:
        """Relative error of the forward time when ``num_layers`` are scaled up to the whole model."""
        from svsim.calibration.pass_layout import PassLayout

        depth = sorted(self.settings.contexts)[len(self.settings.contexts) // 2]
        most, longest = max(self.settings.num_sequences), self.settings.num_speculative_tokens + 1
        layouts = [PassLayout.spread(b, b * q, depth) for b in sorted({1, most}) for q in (1, longest)]
        seconds = []
        for num in (num_layers, self.whole.num_layers):
            decoder = self._decoder(num)
            times = [
                np.median(self.time_stages(decoder, layout, self.settings.num_repeats)[:, 0])
                for layout in layouts
            ]
            seconds.append(np.array(times) * self.whole.num_layers / num)
            del decoder
        errors = seconds[0] / seconds[1] - 1
        return {f"{x.num_sequences}x{x.longest}": float(e) for x, e in zip(layouts, errors, strict=True)}
