"""How large the campaign is: in full on a GPU, on one core of an ordinary machine, and in a rehearsal."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from svsim.device.extras import Device
from svsim.trace_capture.settings import ColumnGroup, SamplingSettings
from svsim.training.triplet import TASKS
from svsim.validation.live_report import METHODS as LIVE_METHODS
from svsim.validation.loop_report import METHODS as LOOP_METHODS

SAMPLINGS = {"t07": SamplingSettings(temperature=0.7), "greedy": SamplingSettings(greedy=True)}
TRACES = Path(__file__).resolve().parents[2] / "traces"


@dataclass(frozen=True, slots=True)
class Timing:
    """One grid of step times (see ``CalibrationSettings``)."""

    num_sequences: tuple[int, ...]
    contexts: tuple[int, ...]
    seconds_per_model: float
    num_repeats: int


@dataclass(frozen=True, slots=True)
class Capture:
    """One trace of the triplet: a task, a key of ``SAMPLINGS``, and what to leave out of the file."""

    task: str
    sampling: str
    leave_out: tuple[ColumnGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class TripletScale:
    """Part b: training (``TripletSettings``), captures (``CaptureSettings``), the triplet's step times."""

    size: Literal["gpu", "cpu", "test"]
    minutes: float
    max_steps: int | None
    include_packages: bool
    captures: tuple[Capture, ...]
    num_requests: int
    num_output_tokens: int
    batch_size: int
    timing: Timing


@dataclass(frozen=True, slots=True)
class Family:
    """Models that part d compares; ``table`` is the name of the calibration another part makes of them."""

    name: str
    table: str
    models: Mapping[str, str]
    methods: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class LoopScale:
    """Part d, hardware in the loop (``LoopSettings``); ``timing`` is for tables no other part has left."""

    families: tuple[Family, ...]
    trace: Path
    batch_sizes: tuple[int, ...]
    num_steps: int
    num_repeats: int
    one_context: bool
    timing: Timing


@dataclass(frozen=True, slots=True)
class LiveScale:
    """Part d, the live run (``LiveSettings``); it is begun within ``begin_within_s`` or left out."""

    methods: tuple[str, ...]
    batch_size: int
    max_requests: int
    num_output_tokens: int
    num_speculative_tokens: int
    num_repeats: int
    num_law_texts: int
    begin_within_s: float


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of everything.

    num_layers of 70B timed for the whole model: ``subset_layers``; layers of 8B scaled up and compared with
    the whole 8B: ``checked_layers``. ``configs`` holds geometries by name, as ``config.json`` objects:
    made-up models, or a rehearsal's in place of presets.
    """

    device: Device
    num_speculative_tokens: int
    timing: Timing
    num_held_out: int
    subset_layers: int
    checked_layers: int
    overlap_batches: tuple[int, ...]
    triplet: TripletScale
    loop: LoopScale
    live: LiveScale
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


EVERY_CAPTURE = tuple(Capture(task, sampling) for sampling in SAMPLINGS for task in TASKS)
QWEN = {"target": "qwen2.5-32b", "draft": "qwen2.5-0.5b", "companion": "qwen2.5-1.5b"}
LLAMA = {"target": "llama-3.1-8b", "draft": "llama-3.2-1b"}

FULL = Scale(
    device="cuda",
    num_speculative_tokens=8,
    timing=Timing((1, 2, 4, 8, 16, 32, 64, 128), (128, 1024, 4096), seconds_per_model=55.0, num_repeats=10),
    num_held_out=32,
    subset_layers=20,
    checked_layers=8,
    overlap_batches=(1, 4, 16, 64),
    triplet=TripletScale(
        size="gpu",
        minutes=5.5,
        max_steps=None,
        include_packages=True,
        captures=EVERY_CAPTURE,
        num_requests=256,
        num_output_tokens=128,
        batch_size=128,
        timing=Timing((1, 2, 4, 8, 16, 32, 64, 128), (16, 64, 256), seconds_per_model=20.0, num_repeats=10),
    ),
    loop=LoopScale(
        families=(
            Family("qwen2.5-32b", "qwen2.5-32b_0.5b_1.5b", QWEN, LOOP_METHODS, seconds=250.0),
            Family(
                "llama-3.1-8b",
                "llama-3.1-8b_1b_3b",
                LLAMA,
                ("td", "sd:k=3", "sd:k=5", "sd:k=7"),
                seconds=80.0,
            ),
        ),
        trace=TRACES / "llama70b.parquet",
        batch_sizes=(1, 64, 8, 32, 4, 16, 2),
        num_steps=24,
        num_repeats=4,
        one_context=True,
        timing=Timing((1, 2, 4, 8, 16, 32, 64), (128, 1024, 4096), seconds_per_model=15.0, num_repeats=10),
    ),
    live=LiveScale(LIVE_METHODS, 16, 64, 64, 8, 3, 256, begin_within_s=360.0),
)


def _llama_config(
    hidden_size: int, num_layers: int, num_heads: int, intermediate_size: int, vocab_size: int
) -> dict[str, Any]:
    return {
        "hidden_size": hidden_size,
        "num_hidden_layers": num_layers,
        "num_attention_heads": num_heads,
        "num_key_value_heads": num_heads,
        "intermediate_size": intermediate_size,
        "vocab_size": vocab_size,
        "tie_word_embeddings": True,
    }


# one core of an ordinary machine: part b in ten minutes, part d in a quarter of an hour with models of
# 14, 2.5 and 5 million parameters
CPU = replace(
    FULL,
    device="cpu",
    triplet=replace(
        FULL.triplet,
        size="cpu",
        minutes=4.5,
        include_packages=False,
        captures=(
            Capture("mixed", "t07", ("diagnostics",)),
            Capture("mixed", "greedy", ("diagnostics", "histogram")),
            Capture("code", "t07", ("diagnostics", "histogram")),
            Capture("prose", "t07", ("diagnostics", "histogram")),
        ),
        num_requests=200,
        batch_size=50,
        timing=Timing((1, 2, 4, 8, 16, 32, 64), (16, 64, 256), seconds_per_model=90.0, num_repeats=15),
    ),
    loop=replace(
        FULL.loop,
        families=(
            Family(
                "small_triplet",
                "small_triplet_step_times",
                {"target": "target-14m", "draft": "draft-2m", "companion": "companion-5m"},
                LOOP_METHODS,
                seconds=1200.0,
            ),
        ),
        trace=TRACES / "cpu_triplet_mixed_t07.parquet",
        batch_sizes=(1, 2, 4, 8, 16, 32, 64),
        num_steps=8,
        one_context=False,
        timing=Timing((1, 2, 4, 8, 16, 32, 64), (16, 64, 256), seconds_per_model=80.0, num_repeats=10),
    ),
    live=LiveScale(LIVE_METHODS, 8, 100, 64, 8, 4, 512, begin_within_s=1800.0),
    configs={
        "target-14m": _llama_config(384, 6, 6, 1024, 8192),
        "draft-2m": _llama_config(192, 2, 3, 512, 8192),
        "companion-5m": _llama_config(256, 4, 4, 704, 8192),
    },
)

_TINY = _llama_config(32, 2, 4, 48, 97)
_TINY_MIXTURE = {**_TINY, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_REHEARSED = ("llama-3.1-70b", "llama-3.1-8b", "llama-3.2-3b", "llama-3.2-1b", "llama-2-13b", *QWEN.values())
REHEARSAL = replace(
    CPU,
    num_speculative_tokens=3,
    timing=Timing((1, 2), (8, 16), seconds_per_model=5.0, num_repeats=2),
    num_held_out=4,
    subset_layers=1,
    checked_layers=1,
    triplet=replace(
        CPU.triplet,
        size="test",
        max_steps=20,
        captures=EVERY_CAPTURE,
        num_requests=6,
        num_output_tokens=8,
        batch_size=4,
        timing=Timing((1, 2), (16, 64), seconds_per_model=5.0, num_repeats=2),
    ),
    loop=replace(
        CPU.loop,
        families=tuple(replace(family, seconds=30.0) for family in FULL.loop.families),
        batch_sizes=(1, 4),
        num_steps=3,
        num_repeats=3,
        one_context=True,
        timing=Timing((1, 2, 4), (16, 64), seconds_per_model=2.0, num_repeats=2),
    ),
    live=LiveScale(("td", "sd:k=2", "sv:k=3", "sv-lossless:k=3"), 2, 6, 6, 3, 2, 40, begin_within_s=600.0),
    configs={**dict.fromkeys(_REHEARSED, _TINY), "qwen3-30b-a3b": _TINY_MIXTURE},
)
SCALES: Mapping[str, Scale] = {"full": FULL, "cpu": CPU, "rehearsal": REHEARSAL}
