"""Part d of the programme of measurements: validation at full, CPU and rehearsal size.

Hardware in the loop: every family of models is compared with the prediction of a table calibrated
beforehand. Tables that parts a and c left in the results folder are used; others are measured now, with less
time. Live run: with the triplet of part b, where there is one and time is left.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from svsim.calibration.calibrate import calibrate
from svsim.calibration.settings import CalibrationSettings
from svsim.device.extras import Device, hardware_name
from svsim.files import write_atomically
from svsim.latency.measured import MeasuredLatency, read_step_times
from svsim.progress import ProgressLines
from svsim.trace.file import TraceReader
from svsim.trace.parts import FileSource
from svsim.validation.hardware_in_the_loop import METHODS, LoopReport, LoopSettings, hardware_in_the_loop
from svsim.validation.live_run import METHODS as LIVE_METHODS
from svsim.validation.live_run import LiveReport, LiveSettings, live_run

TRACES = Path(__file__).resolve().parents[2] / "traces"


@dataclass(frozen=True, slots=True)
class Family:
    """Models to compare; ``table`` is the name of the calibration that another part makes of them."""

    name: str
    table: str
    models: Mapping[str, str]
    methods: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class LiveSize:
    """Sizes of the live run (see ``LiveSettings``); it is begun within ``begin_within_s`` or left out."""

    methods: tuple[str, ...]
    batch_size: int
    max_requests: int
    num_output_tokens: int
    num_speculative_tokens: int
    num_repeats: int
    num_law_texts: int
    begin_within_s: float


@dataclass(frozen=True, slots=True)
class ValidationScale:
    """Sizes; ``configs`` holds geometries that are no presets, as ``config.json`` objects by name."""

    device: Device
    families: tuple[Family, ...]
    trace: Path
    batch_sizes: tuple[int, ...]
    num_steps: int
    num_repeats: int
    one_context: bool
    num_sequences: tuple[int, ...]
    contexts: tuple[int, ...]
    calibration_seconds_per_model: float
    calibration_repeats: int
    live: LiveSize
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


FULL = ValidationScale(
    device="cuda",
    families=(
        Family(
            "qwen2.5-32b",
            "qwen2.5-32b_0.5b_1.5b",
            {"target": "qwen2.5-32b", "draft": "qwen2.5-0.5b", "companion": "qwen2.5-1.5b"},
            METHODS,
            seconds=250.0,
        ),
        Family(
            "llama-3.1-8b",
            "llama-3.1-8b_1b_3b",
            {"target": "llama-3.1-8b", "draft": "llama-3.2-1b"},
            ("td", "sd:k=3", "sd:k=5", "sd:k=7"),
            seconds=80.0,
        ),
    ),
    trace=TRACES / "llama70b.parquet",
    batch_sizes=(1, 64, 8, 32, 4, 16, 2),
    num_steps=24,
    num_repeats=4,
    one_context=True,
    num_sequences=(1, 2, 4, 8, 16, 32, 64),
    contexts=(128, 1024, 4096),
    calibration_seconds_per_model=15.0,
    calibration_repeats=10,
    live=LiveSize(LIVE_METHODS, 16, 64, 64, 8, 3, 256, begin_within_s=360.0),
)


def _llama_config(
    hidden_size: int, num_layers: int, num_heads: int, intermediate_size: int
) -> dict[str, Any]:
    return {
        "hidden_size": hidden_size,
        "num_hidden_layers": num_layers,
        "num_attention_heads": num_heads,
        "num_key_value_heads": num_heads,
        "intermediate_size": intermediate_size,
        "vocab_size": 8192,
        "tie_word_embeddings": True,
    }


# one core of an ordinary machine, ten to fifteen minutes: 14, 2.5 and 5 million parameters
CPU = replace(
    FULL,
    device="cpu",
    families=(
        Family(
            "small_triplet",
            "small_triplet_step_times",
            {"target": "target-14m", "draft": "draft-2m", "companion": "companion-5m"},
            METHODS,
            seconds=1200.0,
        ),
    ),
    trace=TRACES / "cpu_triplet_mixed_t07.parquet",
    batch_sizes=(1, 2, 4, 8, 16, 32, 64),
    num_steps=8,
    one_context=False,
    contexts=(16, 64, 256),
    calibration_seconds_per_model=80.0,
    live=LiveSize(LIVE_METHODS, 8, 100, 64, 8, 4, 512, begin_within_s=1800.0),
    configs={
        "target-14m": _llama_config(384, 6, 6, 1024),
        "draft-2m": _llama_config(192, 2, 3, 512),
        "companion-5m": _llama_config(256, 4, 4, 704),
    },
)
_TINY = {**_llama_config(32, 2, 4, 48), "vocab_size": 97}
REHEARSAL = replace(
    CPU,
    families=tuple(replace(family, seconds=30.0) for family in FULL.families),
    batch_sizes=(1, 4),
    num_steps=3,
    num_repeats=3,
    one_context=True,
    num_sequences=(1, 2, 4),
    contexts=(16, 64),
    calibration_seconds_per_model=2.0,
    calibration_repeats=2,
    live=LiveSize(("td", "sd:k=2", "sv:k=3", "sv-lossless:k=3"), 2, 6, 6, 3, 2, 40, begin_within_s=600.0),
    configs=dict.fromkeys(
        ("qwen2.5-32b", "qwen2.5-0.5b", "qwen2.5-1.5b", "llama-3.1-8b", "llama-3.2-1b"), _TINY
    ),
)
SCALES: Mapping[str, ValidationScale] = {"full": FULL, "cpu": CPU, "rehearsal": REHEARSAL}


def run_part_d(
    scale: ValidationScale,
    out: Path,
    scratch: Path,
    triplet: Path,
    *,
    command: str,
    say: Callable[[str], None],
) -> None:
    """Compare every family and write ``validation_<name>.json`` and ``part_d.json`` into ``out``.

    ``scratch`` takes files that are not kept; ``triplet`` is the folder of part b's models. Raises the
    errors of ``svsim.errors``.
    """
    lines = ProgressLines(say)
    out.mkdir(parents=True, exist_ok=True)
    hardware = hardware_name(scale.device)
    for name, config in scale.configs.items():
        (scratch / name).mkdir(parents=True, exist_ok=True)
        (scratch / name / "config.json").write_text(json.dumps(config))
    summaries: dict[str, Any] = {}
    for family in scale.families:
        models = {
            role: str(scratch / name) if name in scale.configs else name
            for role, name in family.models.items()
        }
        table = out / f"{hardware}_{family.table}.parquet"
        if not table.exists():
            table = out / f"{hardware}_{family.name}_step_times.parquet"
            _calibrate(scale, models, table, command, lines)
        report = _compare(scale, family, models, table, command, lines)
        path = out / f"{hardware}_validation_{family.name}.json"
        _write(path, {**report.to_dict(), "trace": scale.trace.name, "latency_table": table.name})
        summaries[family.name] = {
            "logged": report.logged.summary(),
            "retimed": None if report.retimed is None else report.retimed.summary(),
            "online": report.online.summary(),
        }
        lines.tell(f"{path.name}: {_in_words(report)}")
    if not (triplet / "triplet.json").exists():
        lines.tell("no live run: part b has left no triplet")
    elif lines.elapsed_s > scale.live.begin_within_s:
        lines.tell("no live run: no time left")
    else:
        live = _live(scale, triplet, scratch, command, lambda line: lines.tell(f"  live: {line}"))
        _write(out / f"{hardware}_validation_live.json", live.to_dict())
        summaries["live"] = live.accuracy.summary()
    about = {"part": "d", "hardware": hardware, "summaries": summaries, "elapsed_s": lines.elapsed_s}
    (out / "part_d.json").write_text(json.dumps(about, indent=1, sort_keys=True))
    lines.tell("part d done")


def _calibrate(
    scale: ValidationScale,
    models: Mapping[str, str],
    path: Path,
    command: str,
    lines: ProgressLines,
) -> None:
    """A table for the comparison, unless an earlier run left it."""
    if path.exists():
        return
    settings = CalibrationSettings(
        path,
        **models,  # type: ignore[arg-type]
        num_sequences=scale.num_sequences,
        contexts=scale.contexts,
        num_repeats=scale.calibration_repeats,
        seconds_per_model=scale.calibration_seconds_per_model,
        device=scale.device,
        command=command,
    )
    calibrate(settings, lines)


def _compare(
    scale: ValidationScale,
    family: Family,
    models: Mapping[str, str],
    table: Path,
    command: str,
    lines: ProgressLines,
) -> LoopReport:
    settings = LoopSettings(
        **models,  # type: ignore[arg-type]
        methods=family.methods,
        batch_sizes=scale.batch_sizes,
        num_steps=scale.num_steps,
        num_repeats=scale.num_repeats,
        one_context=scale.one_context,
        seconds=family.seconds,
        device=scale.device,
        command=command,
    )
    latency = MeasuredLatency.from_file(table, out_of_range="extrapolate")
    source = FileSource(TraceReader(scale.trace))
    return hardware_in_the_loop(source, latency, settings, lines, read_step_times(table))


def _live(
    scale: ValidationScale, triplet: Path, scratch: Path, command: str, say: Callable[[str], None]
) -> LiveReport:
    size = scale.live
    settings = LiveSettings(
        triplet,
        scratch,
        methods=size.methods,
        batch_size=size.batch_size,
        max_requests=size.max_requests,
        num_output_tokens=size.num_output_tokens,
        num_speculative_tokens=size.num_speculative_tokens,
        num_repeats=size.num_repeats,
        num_law_texts=size.num_law_texts,
        device=scale.device,
        command=command,
    )
    return live_run(settings, say)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def _in_words(report: LoopReport) -> str:
    found = [("", report.logged)] + ([("re-timed ", report.retimed)] if report.retimed is not None else [])
    names = ("goodput_error_mean", "goodput_error_worst", "speedup_error_mean", "regret_worst")
    shown = [(f"{which}{name}", accuracy.summary()[name]) for which, accuracy in found for name in names]
    return ", ".join(f"{name} {value:.1%}" for name, value in shown if value is not None)
