"""The programme of measurements on one GPU, in parts that also run alone; rehearsed at tiny size on a CPU.

a  step times of Llama-3.1-70B (one shard of four, and whole by a subset of its layers), Llama-3.1-8B,
   3.2-3B and 3.2-1B; overlap of speculation with verification
b  a triplet trained, its step times, traces of three tasks at temperature 0.7 and greedy
c  step times of Qwen2.5-32B, 1.5B and 0.5B, of Llama-2-13B and of Qwen3-30B-A3B (a mixture); overlap

Every part writes its files into one folder and ends with ``part_<name>.json``: what was done, how long
it took, how well held-out shapes are predicted.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from svsim.calibration.calibrate import CalibrationReport, calibrate
from svsim.calibration.overlap import measure_overlap
from svsim.calibration.settings import CalibrationSettings
from svsim.calibration.step_time_file import combine_tables
from svsim.collect.programme_scale import SAMPLINGS, Capture, Scale
from svsim.device.extras import hardware_name, require_extra
from svsim.progress import ProgressLines
from svsim.trace_capture.capture import capture
from svsim.trace_capture.settings import CaptureSettings
from svsim.training.triplet import TripletSettings, train_triplet

DATASET = "held-out sources and documentation of the Python standard library (PSF-2.0)"
DATASET_WITH_PACKAGES = f"{DATASET} and of installed packages (licences: triplet.json)"


class Programme:
    """Runs parts.

    out: folder of the results. triplet: folder of the trained models (large files). command goes into
    the files' provenance; ``say`` gets one line at a time.
    """

    def __init__(
        self, scale: Scale, out: Path, triplet: Path, *, command: str, say: Callable[[str], None]
    ) -> None:
        require_extra("torch", "transformers", "tokenizers")
        self.scale, self.out, self.triplet = scale, out, triplet
        self.command, self.lines = command, ProgressLines(say)
        self.hardware = hardware_name(scale.device)
        self.report: dict[str, Any] = {}
        out.mkdir(parents=True, exist_ok=True)

    def run(self, part: Literal["a", "b", "c"]) -> None:
        """Run one part and write its report."""
        began = time.perf_counter()
        self.report = {"part": part, "hardware": self.hardware, "tables": {}}
        {"a": self._llama, "b": self._triplet, "c": self._qwen}[part]()
        self.report["elapsed_s"] = time.perf_counter() - began
        path = self.out / f"part_{part}.json"
        path.write_text(json.dumps(self.report, indent=1, sort_keys=True))
        self.lines.tell(f"part {part} done in {self.report['elapsed_s']:.0f} s: {path}")

    def _llama(self) -> None:
        small = {"draft": "llama-3.2-1b", "companion": "llama-3.2-3b"}
        shard = self._table("llama-3.1-70b_shard", target="llama-3.1-70b", tensor_parallel=4)
        whole = self._table("llama-3.1-70b", target="llama-3.1-70b", num_layers=self.scale.subset_layers)
        target = self._table("llama-3.1-8b", target="llama-3.1-8b", checked_layers=self.scale.checked_layers)
        others = self._table("llama-3.2", **small)
        combine_tables(self._file("llama-3.1-70b_1b_3b"), [shard, whole, others])
        combine_tables(self._file("llama-3.1-8b_1b_3b"), [target, others])
        for table in (shard, whole, target, others):
            table.unlink()
        self._overlap("llama-3.1-8b_1b_3b", target="llama-3.1-8b", **small)

    def _qwen(self) -> None:
        triple = {"target": "qwen2.5-32b", "draft": "qwen2.5-0.5b", "companion": "qwen2.5-1.5b"}
        self._table("qwen2.5-32b_0.5b_1.5b", **triple)
        self._table("llama-2-13b", target="llama-2-13b")
        self._overlap("qwen2.5-32b_0.5b_1.5b", **triple, num_layers=self.scale.subset_layers)
        # last: a GPU that cannot run its experts in one kernel ends the part here
        self._table("qwen3-30b-a3b", target="qwen3-30b-a3b")

    def _triplet(self) -> None:
        scale, folder = self.scale, self.triplet
        if not (folder / "triplet.json").exists():
            self.report["triplet"] = train_triplet(
                TripletSettings(
                    folder,
                    size=scale.triplet_size,
                    minutes=scale.triplet_minutes,
                    max_steps=scale.triplet_steps,
                    num_prompts=scale.num_requests,
                    include_packages=scale.include_packages,
                    device=scale.device,
                ),
                self.lines,
            )
        roles = {role: str(folder / role) for role in ("target", "draft", "companion")}
        table = self._file("triplet_step_times")
        grid = replace(
            self._grid(table, **roles),
            contexts=scale.triplet_contexts,
            seconds_per_model=scale.seconds_per_triplet_model,
        )
        self._judge(table, calibrate(grid, self.lines))
        for one in scale.captures:
            self._capture(folder, table, one)

    def _capture(self, folder: Path, table: Path, one: Capture) -> None:
        scale, out = self.scale, self._file(f"triplet_{one.task}_{one.sampling}")
        report = capture(
            CaptureSettings(
                target=str(folder / "target"),
                draft=str(folder / "draft"),
                companion=str(folder / "companion"),
                prompts=folder / f"prompts_{one.task}.jsonl",
                out=out,
                sampling=SAMPLINGS[one.sampling],
                num_speculative_tokens=scale.num_speculative_tokens,
                num_output_tokens=scale.num_output_tokens,
                batch_size=scale.capture_batch,
                max_requests=scale.num_requests,
                device=scale.device,
                ignore_eos=True,
                resume=True,
                step_times=table,
                leave_out=one.leave_out,
                dataset=f"{one.task}: {DATASET_WITH_PACKAGES if scale.include_packages else DATASET}",
                command=self.command,
            ),
            self.lines,
        )
        self.report.setdefault("traces", {})[out.stem] = asdict(report)
        self.lines.tell(
            f"{out.name}: {report.num_positions} positions in {report.elapsed_s:.0f} s, "
            f"mean acceptance length {report.mean_acceptance_length:.2f}"
        )

    def _table(self, name: str, **roles: Any) -> Path:
        out = self._file(name)
        self._judge(out, calibrate(self._grid(out, **roles), self.lines))
        return out

    def _grid(self, out: Path, **roles: Any) -> CalibrationSettings:
        """The calibration of some models; ``roles`` may hold further settings."""
        scale = self.scale
        named = {
            key: scale.models.get(value, value) for key, value in roles.items() if isinstance(value, str)
        }
        return CalibrationSettings(
            out,
            **{**roles, **named},
            num_speculative_tokens=scale.num_speculative_tokens,
            num_sequences=scale.num_sequences,
            contexts=scale.contexts,
            num_repeats=scale.num_repeats,
            num_held_out=scale.num_held_out,
            seconds_per_model=scale.seconds_per_model,
            device=scale.device,
            command=self.command,
        )

    def _judge(self, out: Path, report: CalibrationReport) -> None:
        """Keep the report, say how well the table predicts what it does not hold."""
        self.report["tables"][out.stem] = asdict(report)
        for role, one in report.roles.items():
            if one.held_out is None:
                continue
            slope = one.held_out.slope_error
            self.lines.tell(
                f"{out.name} {role}: {one.num_shapes} shapes in {one.elapsed_s:.0f} s; held-out error median "
                f"{one.held_out.median_error:.1%}, p95 {one.held_out.p95_error:.1%}"
                + ("" if slope is None else f", slope {slope:+.1%}")
            )

    def _overlap(self, name: str, **roles: Any) -> None:
        """Overlap needs two streams: nothing is measured on a CPU."""
        scale = self.scale
        if scale.device != "cuda":
            return
        settings = replace(self._grid(self.out / "unused", **roles), overlap_batches=scale.overlap_batches)
        rows = measure_overlap(settings)
        self.report.setdefault("overlap", {})[name] = [asdict(row) for row in rows]

    def _file(self, name: str) -> Path:
        return self.out / f"{self.hardware}_{name}.parquet"
