"""Where a campaign works: its folders, models by name, and the tables and reports it leaves."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaign.scale import Scale, Timing
from svsim.calibration.calibrate import CalibrationReport, calibrate
from svsim.calibration.settings import CalibrationSettings
from svsim.device.extras import hardware_name, require_extra
from svsim.files import write_atomically
from svsim.progress import ProgressLines


@dataclass(slots=True)
class Place:
    """One campaign's folders and log.

    out: the results. triplet: part b's models (large files). scratch: files that are not kept. command goes
    into the files' provenance; ``say`` gets one line at a time.
    """

    scale: Scale
    out: Path
    triplet: Path
    scratch: Path
    command: str
    say: Callable[[str], None]
    lines: ProgressLines = field(init=False)
    hardware: str = field(init=False)

    def __post_init__(self) -> None:
        require_extra("torch", "transformers", "tokenizers")
        self.lines = ProgressLines(self.say)
        self.hardware = hardware_name(self.scale.device)
        self.out.mkdir(parents=True, exist_ok=True)
        for name, config in self.scale.configs.items():
            folder = self.scratch / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_text(json.dumps(config))

    def table(self, name: str) -> Path:
        """The file of a table, a trace or a comparison of this machine."""
        return self.out / f"{self.hardware}_{name}.parquet"

    def models(self, roles: Mapping[str, str]) -> dict[str, str]:
        """Presets by name, made-up geometries by the folder of their config.json."""
        configs = self.scale.configs
        return {role: str(self.scratch / name) if name in configs else name for role, name in roles.items()}

    def calibration(self, out: Path, timing: Timing, **more: Any) -> CalibrationSettings:
        """Settings of a table at ``timing``; ``more`` holds the models and other settings."""
        models = self.models({key: more.pop(key) for key in ("target", "draft", "companion") if key in more})
        return CalibrationSettings(
            out,
            **models,  # type: ignore[arg-type]
            num_sequences=timing.num_sequences,
            contexts=timing.contexts,
            seconds_per_model=timing.seconds_per_model,
            num_repeats=timing.num_repeats,
            device=self.scale.device,
            command=self.command,
            **more,
        )

    def calibrate(self, settings: CalibrationSettings) -> CalibrationReport:
        """Measure a table and say how well it predicts what it does not hold."""
        report = calibrate(settings, progress=self.lines)
        for role, one in report.roles.items():
            if one.held_out is None:
                continue
            slope = one.held_out.slope_error
            self.lines.tell(
                f"{settings.out.name} {role}: {one.num_shapes} shapes in {one.elapsed_s:.0f} s; held-out "
                f"error median {one.held_out.median_error:.1%}, p95 {one.held_out.p95_error:.1%}"
                + ("" if slope is None else f", slope {slope:+.1%}")
            )
        return report

    @contextmanager
    def part(self, name: str) -> Iterator[dict[str, Any]]:
        """The report of one part, written as ``part_<name>.json`` when the part is done."""
        began = time.perf_counter()
        report: dict[str, Any] = {"part": name, "hardware": self.hardware}
        yield report
        report["elapsed_s"] = time.perf_counter() - began
        path = self.out / f"part_{name}.json"
        write_json(path, report)
        self.lines.tell(f"part {name} done in {report['elapsed_s']:.0f} s: {path}")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Whole or not at all; what is not finite becomes null."""
    finite = json.loads(json.dumps(document), parse_constant=lambda _: None)
    write_atomically(path, (json.dumps(finite, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
