"""The programme of measurements on one GPU, in parts that also run alone; rehearsed at tiny size on a CPU.

a  step times of Llama-3.1-70B (one shard of four, and whole by a subset of its layers), Llama-3.1-8B,
   3.2-3B and 3.2-1B; overlap of speculation with verification
b  a triplet trained, its step times, traces of three tasks at temperature 0.7 and greedy
c  step times of Qwen2.5-32B, 1.5B and 0.5B, and of Llama-2-13B; overlap

Every part writes its files into one folder and ends with ``part_<name>.json``: what was done, how long
it took, how well held-out shapes are predicted.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from svsim.collect.calibrate import calibrate
from svsim.collect.capture import capture
from svsim.collect.extras import hardware_name, require_extra
from svsim.collect.overlap import measure_overlap
from svsim.collect.settings import CalibrationSettings, CaptureSettings, Device, Progress, SamplingSettings
from svsim.collect.step_time_file import combine_tables
from svsim.collect.triplet import TASKS, TripletSettings, train_triplet

SAMPLINGS = {"t07": SamplingSettings(temperature=0.7), "greedy": SamplingSettings(greedy=True)}
DATASET = "held-out sources and documentation of the Python standard library (PSF-2.0)"
DATASET_WITH_PACKAGES = f"{DATASET} and of installed packages (licences: triplet.json)"


@dataclass(frozen=True, slots=True)
class Scale:
    """How large everything is. ``models`` replaces presets by other geometries (a rehearsal's)."""

    device: Device
    triplet_size: Literal["gpu", "cpu", "test"]
    triplet_minutes: float | None
    triplet_steps: int | None
    include_packages: bool
    num_requests: int
    num_output_tokens: int
    num_speculative_tokens: int
    capture_batch: int
    num_sequences: tuple[int, ...]
    contexts: tuple[int, ...]
    triplet_contexts: tuple[int, ...]
    seconds_per_model: float
    num_repeats: int
    num_held_out: int
    subset_layers: int
    checked_layers: int
    overlap_batches: tuple[int, ...]
    models: dict[str, str] = field(default_factory=dict)


FULL = Scale(
    device="cuda",
    triplet_size="gpu",
    triplet_minutes=5.5,
    triplet_steps=None,
    include_packages=True,
    num_requests=256,
    num_output_tokens=128,
    num_speculative_tokens=8,
    capture_batch=128,
    num_sequences=(1, 2, 4, 8, 16, 32, 64, 128),
    contexts=(128, 1024, 4096),
    triplet_contexts=(16, 64, 256),
    seconds_per_model=55.0,
    num_repeats=10,
    num_held_out=32,
    subset_layers=20,
    checked_layers=8,
    overlap_batches=(1, 4, 16, 64),
)
REHEARSAL = Scale(
    device="cpu",
    triplet_size="test",
    triplet_minutes=None,
    triplet_steps=20,
    include_packages=False,
    num_requests=6,
    num_output_tokens=8,
    num_speculative_tokens=3,
    capture_batch=4,
    num_sequences=(1, 2),
    contexts=(8, 16),
    triplet_contexts=(16, 64),
    seconds_per_model=5.0,
    num_repeats=2,
    num_held_out=4,
    subset_layers=1,
    checked_layers=1,
    overlap_batches=(),
)


def rehearsal(folder: Path) -> Scale:
    """The tiny scale; its models' geometries are written into ``folder``."""
    shapes = {"num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 48, "vocab_size": 97}
    presets = ("llama-3.1-70b", "llama-3.1-8b", "llama-3.2-3b", "llama-3.2-1b", "qwen2.5-32b", "qwen2.5-1.5b")
    models = {}
    for name in (*presets, "qwen2.5-0.5b", "llama-2-13b"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        config = {"hidden_size": 32, "num_hidden_layers": 2, **shapes}
        (folder / name / "config.json").write_text(json.dumps(config))
        models[name] = str(folder / name)
    return replace(REHEARSAL, models=models)


class Programme:
    """Runs parts; ``say`` gets one line at a time."""

    def __init__(self, scale: Scale, out: Path, say: Callable[[str], None]) -> None:
        require_extra("torch", "transformers", "tokenizers")
        self.scale, self.out, self.say = scale, out, say
        self.hardware = hardware_name(scale.device)
        self.started = self._said = time.perf_counter()
        self.report: dict[str, Any] = {}
        out.mkdir(parents=True, exist_ok=True)

    def run(self, part: Literal["a", "b", "c"]) -> None:
        """Run one part and write its report."""
        began = time.perf_counter()
        self.report = {"part": part, "hardware": self.hardware}
        {"a": self._llama, "b": self._triplet, "c": self._qwen}[part]()
        self.report["elapsed_s"] = time.perf_counter() - began
        path = self.out / f"part_{part}.json"
        path.write_text(json.dumps(self.report, indent=1, sort_keys=True))
        self._tell(f"part {part} done in {self.report['elapsed_s']:.0f} s: {path}")

    def _llama(self) -> None:
        small = {"draft": "llama-3.2-1b", "companion": "llama-3.2-3b"}
        shard = self._table("llama-3.1-70b_shard", target="llama-3.1-70b", tensor_parallel=4)
        whole = self._table("llama-3.1-70b", target="llama-3.1-70b", num_layers=self.scale.subset_layers)
        target = self._table("llama-3.1-8b", target="llama-3.1-8b", checked_layers=self.scale.checked_layers)
        others = self._table("llama-3.2", **small)
        self._combine("llama-3.1-70b_1b_3b", [shard, whole, others])
        self._combine("llama-3.1-8b_1b_3b", [target, others])
        for part in (shard, whole, target, others):
            part.unlink()
        self._overlap("llama-3.1-8b_1b_3b", target="llama-3.1-8b", **small)

    def _qwen(self) -> None:
        triple = {"target": "qwen2.5-32b", "draft": "qwen2.5-0.5b", "companion": "qwen2.5-1.5b"}
        self._table("qwen2.5-32b_0.5b_1.5b", **triple)
        self._table("llama-2-13b", target="llama-2-13b")
        self._overlap("qwen2.5-32b_0.5b_1.5b", **triple, num_layers=self.scale.subset_layers)

    def _triplet(self) -> None:
        scale, folder = self.scale, self.out / "triplet"
        if not (folder / "triplet.json").exists():
            minutes = {} if scale.triplet_minutes is None else {"minutes": scale.triplet_minutes}
            self.report["triplet"] = train_triplet(
                TripletSettings(
                    folder,
                    size=scale.triplet_size,
                    max_steps=scale.triplet_steps,
                    num_prompts=scale.num_requests,
                    include_packages=scale.include_packages,
                    device=scale.device,
                    **minutes,
                ),
                self._progress,
            )
        models = {role: str(folder / role) for role in ("target", "draft", "companion")}
        table = self.out / f"{self.hardware}_triplet_step_times.parquet"
        calibrate(
            replace(self._calibration(table, **models), contexts=scale.triplet_contexts), self._progress
        )
        self.report["traces"] = {
            f"{task}_{name}": asdict(self._trace(folder, table, task, name))
            for name in SAMPLINGS
            for task in TASKS
        }

    def _trace(self, folder: Path, table: Path, task: str, sampling: str) -> Any:
        scale = self.scale
        out = self.out / f"{self.hardware}_triplet_{task}_{sampling}.parquet"
        report = capture(
            CaptureSettings(
                *(str(folder / role) for role in ("target", "draft", "companion")),
                prompts=folder / f"prompts_{task}.jsonl",
                out=out,
                sampling=SAMPLINGS[sampling],
                num_speculative_tokens=scale.num_speculative_tokens,
                num_output_tokens=scale.num_output_tokens,
                batch_size=scale.capture_batch,
                max_requests=scale.num_requests,
                device=scale.device,
                ignore_eos=True,
                resume=True,
                step_times=table,
                dataset=f"{task}: {DATASET_WITH_PACKAGES if scale.include_packages else DATASET}",
                command="calibration/gpu_programme.py b",
            ),
            self._progress,
        )
        self._tell(f"{out.name}: mean acceptance length {report.mean_acceptance_length:.2f}")
        return report

    def _calibration(self, out: Path, **roles: Any) -> CalibrationSettings:
        scale = self.scale
        names = {role: scale.models.get(name, name) for role, name in roles.items() if isinstance(name, str)}
        return CalibrationSettings(
            out,
            **{**roles, **names},
            num_speculative_tokens=scale.num_speculative_tokens,
            num_sequences=scale.num_sequences,
            contexts=scale.contexts,
            num_repeats=scale.num_repeats,
            num_held_out=scale.num_held_out,
            seconds_per_model=scale.seconds_per_model,
            device=scale.device,
            command="calibration/gpu_programme.py",
        )

    def _table(self, name: str, **roles: Any) -> Path:
        out = self.out / f"{self.hardware}_{name}.parquet"
        report = calibrate(self._calibration(out, **roles), self._progress)
        self.report.setdefault("tables", {})[name] = asdict(report)
        for role, one in report.roles.items():
            judged = one.held_out
            if judged is not None:
                self._tell(
                    f"{out.name} {role}: {one.num_shapes} shapes in {one.elapsed_s:.0f} s, held-out error median "
                    f"{judged.median_error:.1%}, p95 {judged.p95_error:.1%}, slope {judged.slope_error}"
                )
        return out

    def _combine(self, name: str, parts: list[Path]) -> None:
        combine_tables(self.out / f"{self.hardware}_{name}.parquet", parts)

    def _overlap(self, name: str, **roles: Any) -> None:
        """Overlap needs two streams: nothing is measured on a CPU."""
        scale = self.scale
        if scale.device != "cuda":
            return
        rows = measure_overlap(
            self._calibration(self.out / "unused", **roles),
            scale.overlap_batches,
            scale.num_speculative_tokens,
            sorted(scale.contexts)[len(scale.contexts) // 2],
        )
        self.report.setdefault("overlap", {})[name] = [asdict(row) for row in rows]

    def _progress(self, progress: Progress) -> None:
        now = time.perf_counter()
        if now - self._said > 10 or progress.done == progress.total:
            self._said = now
            eta = "" if progress.eta_s is None else f", {progress.eta_s:.0f} s left"
            self._tell(f"  {progress.what}: {progress.done}/{progress.total}{eta}")

    def _tell(self, line: str) -> None:
        self.say(f"[{time.perf_counter() - self.started:6.0f} s] {line}")
