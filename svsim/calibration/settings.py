"""What a calibration is asked to do: plain values, checked on construction."""

from dataclasses import dataclass
from pathlib import Path

from svsim.device.extras import DataType, Device
from svsim.errors import require


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """One calibration: the models whose passes are timed, the grid, and where the table goes.

    target, draft, companion: a preset's name or a Hugging Face ``config.json`` (or its folder); at least
                        one. Weights are random: only shapes matter for time.
    num_speculative_tokens: K; passes of 1 to K + 1 tokens per sequence are timed.
    num_sequences, contexts: the grid; contexts in KV tokens per sequence.
    num_layers:         time this many layers of the target and scale up; None: all of them if they
                        fit into memory, else as many as fit.
    checked_layers:     also time this many of the target's layers and report how far scaling them up
                        misses the whole model.
    tensor_parallel:    time one shard of the target on one GPU (the all-reduce is not included).
    num_held_out:       random shapes off the grid to judge the table's interpolation by.
    seconds_per_model:  budget; shapes are timed in order of value, the rest is left out and counted.
    overlap_batches:    batch sizes at which draft and companion are also timed beside verification, on two
                        streams of a GPU (``overlap.py``), at the middle context; needs all three models.
    """

    out: Path
    target: str | None = None
    draft: str | None = None
    companion: str | None = None
    num_speculative_tokens: int = 8
    num_sequences: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    contexts: tuple[int, ...] = (128, 1024, 4096)
    num_layers: int | None = None
    checked_layers: int | None = None
    tensor_parallel: int = 1
    num_repeats: int = 10
    num_held_out: int = 0
    seconds_per_model: float = 55.0
    overlap_batches: tuple[int, ...] = ()
    seed: int = 0
    device: Device = "cuda"
    dtype: DataType = "auto"
    command: str | None = None

    def __post_init__(self) -> None:
        require(any(self.models.values()), "no model to calibrate; name a target, a draft or a companion")
        for name in ("num_speculative_tokens", "tensor_parallel", "num_repeats"):
            require(getattr(self, name) >= 1, f"{name} = {getattr(self, name)}; expected at least 1")
        for name in ("num_layers", "checked_layers"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} = {value}; expected at least 1")
        for name in ("num_sequences", "contexts"):
            values = getattr(self, name)
            require(bool(values) and min(values) >= 1, f"{name} = {values}; expected numbers of at least 1")
        require(self.num_held_out >= 0, f"num_held_out = {self.num_held_out}; expected 0 or more")
        require(self.seconds_per_model > 0, f"seconds_per_model = {self.seconds_per_model}; expected > 0")
        self._check_overlap()

    def _check_overlap(self) -> None:
        batches = self.overlap_batches
        require(min(batches, default=1) >= 1, f"overlap_batches = {batches}; expected numbers of at least 1")
        require(
            not batches or all(self.models.values()),
            "overlap needs a target, a draft and a companion; name all three",
        )
        require(
            not batches or self.device == "cuda",
            "overlap is measured on two streams of a GPU; choose the device cuda, or leave overlap out",
        )

    @property
    def models(self) -> dict[str, str | None]:
        """Model name by role, None where the role is left out."""
        return {"target": self.target, "draft": self.draft, "companion": self.companion}
