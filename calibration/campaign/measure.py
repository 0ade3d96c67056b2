"""Parts a to c: step times of large models, a triplet with its traces, speculation beside verification.

a  step times of Llama-3.1-70B (one shard of four, and whole by a subset of its layers), Llama-3.1-8B,
   3.2-3B and 3.2-1B; overlap of speculation with verification
b  a triplet trained, its step times, traces of three tasks at temperature 0.7 and greedy
c  step times of Qwen2.5-32B, 1.5B and 0.5B, of Llama-2-13B and of Qwen3-30B-A3B (a mixture); overlap
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from campaign.place import Place
from campaign.scale import QWEN, SAMPLINGS, Capture
from svsim.calibration.overlap import measure_overlap
from svsim.calibration.settings import CalibrationSettings
from svsim.calibration.step_time_file import combine_tables
from svsim.trace_capture.capture import capture
from svsim.trace_capture.settings import CaptureSettings
from svsim.training.triplet import TripletSettings, train_triplet

Report = dict[str, Any]
DATASET = "held-out sources and documentation of the Python standard library (PSF-2.0)"
DATASET_WITH_PACKAGES = f"{DATASET} and of installed packages (licences: triplet.json)"


def part_a(place: Place) -> None:
    """The Llama family."""
    small = {"draft": "llama-3.2-1b", "companion": "llama-3.2-3b"}
    scale = place.scale
    with place.part("a") as report:
        shard = _table(place, report, "llama-3.1-70b_shard", target="llama-3.1-70b", tensor_parallel=4)
        whole = _table(place, report, "llama-3.1-70b", target="llama-3.1-70b", num_layers=scale.subset_layers)
        target = _table(
            place, report, "llama-3.1-8b", target="llama-3.1-8b", checked_layers=scale.checked_layers
        )
        others = _table(place, report, "llama-3.2", **small)
        combine_tables(place.table("llama-3.1-70b_1b_3b"), [shard, whole, others])
        combine_tables(place.table("llama-3.1-8b_1b_3b"), [target, others])
        for table in (shard, whole, target, others):
            table.unlink()
        _overlap(place, report, "llama-3.1-8b_1b_3b", target="llama-3.1-8b", **small)


def part_b(place: Place) -> None:
    """The triplet: training goes on with one that an earlier run left."""
    scale, folder = place.scale.triplet, place.triplet
    with place.part("b") as report:
        if not (folder / "triplet.json").exists():
            report["triplet"] = train_triplet(
                TripletSettings(
                    folder,
                    size=scale.size,
                    minutes=scale.minutes,
                    max_steps=scale.max_steps,
                    num_prompts=scale.num_requests,
                    include_packages=scale.include_packages,
                    device=place.scale.device,
                ),
                place.lines,
            )
        table = place.table("triplet_step_times")
        roles = {role: str(folder / role) for role in ("target", "draft", "companion")}
        _measure(place, report, _grid(place, table, scale.timing, **roles))
        for one in scale.captures:
            _capture(place, report, table, one)


def part_c(place: Place) -> None:
    """The Qwen family, and other targets."""
    with place.part("c") as report:
        _table(place, report, "qwen2.5-32b_0.5b_1.5b", **QWEN)
        _table(place, report, "llama-2-13b", target="llama-2-13b")
        _overlap(place, report, "qwen2.5-32b_0.5b_1.5b", **QWEN, num_layers=place.scale.subset_layers)
        # last: a GPU that cannot run its experts in one kernel ends the part here
        _table(place, report, "qwen3-30b-a3b", target="qwen3-30b-a3b")


def _grid(place: Place, out: Path, timing: Any, **more: Any) -> CalibrationSettings:
    scale = place.scale
    return place.calibration(
        out,
        timing,
        num_speculative_tokens=scale.num_speculative_tokens,
        num_held_out=scale.num_held_out,
        **more,
    )


def _table(place: Place, report: Report, name: str, **more: Any) -> Path:
    return _measure(place, report, _grid(place, place.table(name), place.scale.timing, **more))


def _measure(place: Place, report: Report, settings: CalibrationSettings) -> Path:
    report.setdefault("tables", {})[settings.out.stem] = asdict(place.calibrate(settings))
    return settings.out


def _capture(place: Place, report: Report, table: Path, one: Capture) -> None:
    scale, folder, out = place.scale.triplet, place.triplet, place.table(f"triplet_{one.task}_{one.sampling}")
    found = capture(
        CaptureSettings(
            target=str(folder / "target"),
            draft=str(folder / "draft"),
            companion=str(folder / "companion"),
            prompts=folder / f"prompts_{one.task}.jsonl",
            out=out,
            sampling=SAMPLINGS[one.sampling],
            num_speculative_tokens=place.scale.num_speculative_tokens,
            num_output_tokens=scale.num_output_tokens,
            batch_size=scale.batch_size,
            max_requests=scale.num_requests,
            device=place.scale.device,
            ignore_eos=True,
            resume=True,
            step_times=table,
            leave_out=one.leave_out,
            dataset=f"{one.task}: {DATASET_WITH_PACKAGES if scale.include_packages else DATASET}",
            command=place.command,
        ),
        place.lines,
    )
    report.setdefault("traces", {})[out.stem] = asdict(found)
    place.lines.tell(
        f"{out.name}: {found.num_positions} positions in {found.elapsed_s:.0f} s, "
        f"mean acceptance length {found.mean_acceptance_length:.2f}"
    )


def _overlap(place: Place, report: Report, name: str, **more: Any) -> None:
    """Overlap needs two streams: nothing is measured on a CPU."""
    scale = place.scale
    if scale.device != "cuda":
        return
    settings = replace(
        _grid(place, place.out / "unused", scale.timing, **more), overlap_batches=scale.overlap_batches
    )
    report.setdefault("overlap", {})[name] = [asdict(row) for row in measure_overlap(settings)]
