"""How large the programme's measurements are: in full, on one core, and in a rehearsal."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from svsim.device.extras import Device
from svsim.trace_capture.settings import ColumnGroup, SamplingSettings
from svsim.training.triplet import TASKS

SAMPLINGS = {"t07": SamplingSettings(temperature=0.7), "greedy": SamplingSettings(greedy=True)}


@dataclass(frozen=True, slots=True)
class Capture:
    """One trace of the triplet: a task, a key of ``SAMPLINGS``, and what to leave out of the file."""

    task: str
    sampling: str
    leave_out: tuple[ColumnGroup, ...] = ()


EVERY_CAPTURE = tuple(Capture(task, sampling) for sampling in SAMPLINGS for task in TASKS)


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of everything; ``models`` replaces presets by other geometries (a rehearsal's).

    num_layers of 70B timed for the whole model: ``subset_layers``; layers of 8B scaled up and compared
    with the whole 8B: ``checked_layers``. Part b times the triplet at ``triplet_contexts``.
    """

    device: Device
    triplet_size: Literal["gpu", "cpu", "test"]
    triplet_minutes: float
    triplet_steps: int | None
    include_packages: bool
    captures: tuple[Capture, ...]
    num_requests: int
    num_output_tokens: int
    num_speculative_tokens: int
    capture_batch: int
    num_sequences: tuple[int, ...]
    contexts: tuple[int, ...]
    seconds_per_model: float
    triplet_contexts: tuple[int, ...]
    seconds_per_triplet_model: float
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
    captures=EVERY_CAPTURE,
    num_requests=256,
    num_output_tokens=128,
    num_speculative_tokens=8,
    capture_batch=128,
    num_sequences=(1, 2, 4, 8, 16, 32, 64, 128),
    contexts=(128, 1024, 4096),
    seconds_per_model=55.0,
    triplet_contexts=(16, 64, 256),
    seconds_per_triplet_model=20.0,
    num_repeats=10,
    num_held_out=32,
    subset_layers=20,
    checked_layers=8,
    overlap_batches=(1, 4, 16, 64),
)
# what one core of an ordinary machine does in some ten minutes: part b only
CPU = replace(
    FULL,
    device="cpu",
    triplet_size="cpu",
    triplet_minutes=4.5,
    include_packages=False,
    captures=(
        Capture("mixed", "t07", ("diagnostics",)),
        Capture("mixed", "greedy", ("diagnostics", "histogram")),
        Capture("code", "t07", ("diagnostics", "histogram")),
        Capture("prose", "t07", ("diagnostics", "histogram")),
    ),
    num_requests=200,
    capture_batch=50,
    num_sequences=(1, 2, 4, 8, 16, 32, 64),
    seconds_per_triplet_model=90.0,
    num_repeats=15,
)
REHEARSAL = replace(
    CPU,
    triplet_size="test",
    triplet_steps=20,
    captures=EVERY_CAPTURE,
    num_requests=6,
    num_output_tokens=8,
    num_speculative_tokens=3,
    capture_batch=4,
    num_sequences=(1, 2),
    contexts=(8, 16),
    seconds_per_model=5.0,
    triplet_contexts=(16, 64),
    seconds_per_triplet_model=5.0,
    num_repeats=2,
    num_held_out=4,
    subset_layers=1,
    checked_layers=1,
)


def rehearsal(folder: Path) -> Scale:
    """The tiny scale; its models' geometries are written into ``folder``."""
    shapes = {"num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 48, "vocab_size": 97}
    llama = ("llama-3.1-70b", "llama-3.1-8b", "llama-3.2-3b", "llama-3.2-1b", "llama-2-13b")
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    models = {}
    for name in (*llama, "qwen2.5-32b", "qwen2.5-1.5b", "qwen2.5-0.5b", "qwen3-30b-a3b"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        mixture = experts if name == "qwen3-30b-a3b" else {}
        config = {"hidden_size": 32, "num_hidden_layers": 2, **shapes, **mixture}
        (folder / name / "config.json").write_text(json.dumps(config))
        models[name] = str(folder / name)
    return replace(REHEARSAL, models=models)
