"""What a comparison with hardware in the loop is asked to do, and what it says."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.device.extras import DataType, Device
from svsim.engines.step_log import LoggedStep
from svsim.errors import require
from svsim.latency.shape import Role
from svsim.metrics.accuracy import Accuracy, GoodputPair

METHODS = ("td", "sd:k=3", "sd:k=5", "sd:k=7", "sv:k=7", "sv-lossless:k=7")
BATCH_SIZES = (1, 64, 8, 32, 4, 16, 2)  # in order of value


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """One comparison: models (presets or ``config.json``), methods, batch sizes in order of value.

    num_steps:     steps of each method that are timed, after the replay's own warm-up.
    num_repeats:   of every method's steps, at least 3; medians over them count.
    one_context:   all steps of a method and batch size stand behind their mean context (a captured graph
                   is fixed to one), instead of each behind its own.
    seconds:       no batch size is begun after that long; what is left out is named.
    """

    target: str
    draft: str | None = None
    companion: str | None = None
    methods: tuple[str, ...] = METHODS
    batch_sizes: tuple[int, ...] = BATCH_SIZES
    num_steps: int = 24
    num_repeats: int = 4
    one_context: bool = True
    seconds: float = 280.0
    seed: int = 0
    device: Device = "cuda"
    dtype: DataType = "auto"
    command: str | None = None

    def __post_init__(self) -> None:
        require(self.num_repeats >= 3, f"num_repeats = {self.num_repeats}; expected at least 3")
        require(
            bool(self.methods) and bool(self.batch_sizes), "nothing to run; name a method and a batch size"
        )
        least = min((self.num_steps, *self.batch_sizes), default=0)
        require(least >= 1, f"{least} steps or sequences; expected at least 1")

    @property
    def models(self) -> dict[Role, str]:
        """Names of the models there are, by role."""
        named = {Role.TARGET: self.target, Role.DRAFT: self.draft, Role.COMPANION: self.companion}
        return {role: name for role, name in named.items() if name is not None}


@dataclass(frozen=True, slots=True)
class LoopRow:
    """One method at one batch size: seconds per step, predicted and measured, by part.

    host_s: the host's own time per step, measured on earlier steps without any pass.
    online_step_s: wall clock per step with decisions on the way; its prediction adds the host's time.
    """

    method: str
    batch_size: int
    num_steps: int
    num_repeats: int
    num_emitted_tokens: int
    mean_context: float
    mean_verification_length: float
    predicted_step_s: float
    measured_step_s: float
    measured_standard_error_s: float
    predicted_draft_s: float
    measured_draft_s: float
    predicted_companion_s: float
    measured_companion_s: float
    predicted_verify_s: float
    measured_verify_s: float
    host_s: float
    online_step_s: float
    online_standard_error_s: float

    def pair(self, predicted_s: float, measured_s: float, error_s: float) -> GoodputPair:
        """Goodputs of seconds per step."""
        tokens = self.num_emitted_tokens / self.num_steps
        goodput = tokens / measured_s
        return GoodputPair(
            self.method, self.batch_size, tokens / predicted_s, goodput, goodput * error_s / measured_s
        )


@dataclass(frozen=True, slots=True)
class Retest:
    """One row of the table and its seconds beside the loop."""

    role: Role
    num_sequences: int
    num_new_tokens: int
    num_kv_tokens: int
    table_s: float
    again_s: float


@dataclass(frozen=True, slots=True)
class LoopReport:
    """Rows and errors.

    logged:  the device's time against the prediction. retimed: the same with the prediction scaled, by role
             and batch size, to the table's shapes timed again (None without them): the machine's drift
             taken out. online: the wall clock.
    host_overhead_s: the one number added to every online step's prediction.
    """

    rows: tuple[LoopRow, ...]
    logged: Accuracy
    online: Accuracy
    retimed: Accuracy | None
    retests: tuple[Retest, ...]
    host_overhead_s: float
    left_out_batch_sizes: dict[int, str]
    about: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": "hardware in the loop",
            **self.about,
            "host_overhead_s": self.host_overhead_s,
            "left_out_batch_sizes": {str(b): why for b, why in self.left_out_batch_sizes.items()},
            "logged": self.logged.to_dict(),
            "online": self.online.to_dict(),
            "retimed": None if self.retimed is None else self.retimed.to_dict(),
            "retest": {**retest_summary(self.retests), "shapes": [asdict(r) for r in self.retests]},
            "rows": [asdict(row) for row in self.rows],
        }


def scale_by_role(rows: Sequence[Retest]) -> dict[Role, float]:
    """Geometric mean of seconds again / seconds of the table, by role."""
    return {
        role: float(np.exp(np.mean([np.log(r.again_s / r.table_s) for r in rows if r.role is role])))
        for role in dict.fromkeys(row.role for row in rows)
    }


def retest_summary(rows: Sequence[Retest]) -> dict[str, float | int | None]:
    """How far the shapes moved: median, 95th percentile, and what is common to all; None without rows."""
    ratios = np.array([row.again_s / row.table_s for row in rows])
    if not len(ratios):
        return {"num_shapes": 0, "median_change": None, "p95_change": None, "common_scale_change": None}
    change = np.abs(ratios - 1)
    return {
        "num_shapes": len(rows),
        "median_change": float(np.median(change)),
        "p95_change": float(np.quantile(change, 0.95)),
        "common_scale_change": float(np.exp(np.log(ratios).mean()) - 1),
    }


def loop_row(
    label: str,
    batch_size: int,
    log: Sequence[LoggedStep],
    logged: NDArray[np.float64],
    online: NDArray[np.float64],
    host_s: float,
) -> LoopRow:
    """logged [repeats, S, parts] and online [repeats, S]; the median over repeats is taken step by step."""
    outcomes = [step.outcome for step in log]
    draft_s, companion_s, verify_s = np.median(logged, axis=0).mean(axis=0).tolist()
    predicted = [
        float(np.mean(seconds))
        for seconds in zip(*((o.draft_s, o.companion_s, o.verify_s) for o in outcomes), strict=True)
    ]
    return LoopRow(
        label,
        batch_size,
        len(log),
        len(logged),
        int(sum(o.emitted.sum() for o in outcomes)),
        mean_context(log),
        float(np.mean([o.lengths.mean() for o in outcomes])),
        sum(predicted),
        draft_s + companion_s + verify_s,
        standard_error_of(logged.sum(axis=2).mean(axis=1)),
        predicted[0],
        draft_s,
        predicted[1],
        companion_s,
        predicted[2],
        verify_s,
        host_s,
        float(np.median(online, axis=0).mean()),
        standard_error_of(online.mean(axis=1)),
    )


def mean_context(log: Sequence[LoggedStep]) -> float:
    """KV tokens of a sequence, over all sequences and steps."""
    return float(np.mean([step.work.context.mean() for step in log]))


def standard_error_of(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))
