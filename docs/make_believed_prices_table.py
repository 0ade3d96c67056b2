"""What does a policy lose that plans with wrong prices? The clock charges more than its step times say.

    python docs/make_believed_prices_table.py

Per policy and batch size, percent against itself at the right prices; of ``joint`` also against the best
rival at the right prices. llama70b on four H100.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import svsim
from svsim.latency.measured import MeasuredLatency
from svsim.latency.shape import Role, StepShape
from svsim.latency.wrapped import WrappedLatency

ROOT = Path(__file__).parents[1]
TRACE = ROOT / "traces" / "llama70b.parquet"
PLANNING = ("joint", "smartspec:k=8", "sv:k=7", "sv-lossless:k=7", "dspark:k=5", "vllm-adaptive:k=3")
RIVALS = ("td", "sd:k=1-8", "svip:k=8", "dyspec:k=8", *PLANNING[1:])
BATCHES = (1, 8, 64)


@dataclass(frozen=True, slots=True)
class Dearer(WrappedLatency):
    """Draft passes that cost ``draft_s`` more, verification ``verify`` times as much."""

    draft_s: float = 0.0
    verify: float = 1.0

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds, float64 of the broadcast shape."""
        seconds = self.base.predict_s(shape)
        if shape.role is Role.DRAFT:
            return seconds + self.draft_s
        return seconds * self.verify if shape.role is Role.TARGET else seconds


CASES = {
    "draft +0.5 ms": {"draft_s": 0.5e-3},
    "draft +1 ms": {"draft_s": 1e-3},
    "draft +2 ms": {"draft_s": 2e-3},
    "verification +25 %": {"verify": 1.25},
}


def goodputs(
    methods: tuple[str, ...], charged: Dearer, believed: Dearer | None
) -> dict[tuple[str, int], float]:
    """Tokens per second by label and batch size."""
    table = svsim.replay(
        TRACE, methods=list(methods), batch_sizes=BATCHES, latency=charged, believed_prices=believed
    )
    return {(row.label, row.batch_size): row.goodput_tok_s or 0.0 for row in table.rows}


if __name__ == "__main__":
    path = ROOT / "calibration" / "llama70b_step_times.parquet"
    base = MeasuredLatency.from_file(path, "h100_sxm", 4, out_of_range="extrapolate")
    for name, change in CASES.items():
        charged = Dearer(base, **change)
        right = goodputs((*RIVALS, "joint"), charged, None)
        wrong = goodputs(PLANNING, charged, Dearer(base))
        for size in BATCHES:
            lost = {
                label: 100 * (value / right[label, size] - 1)
                for (label, b), value in wrong.items()
                if b == size
            }
            best = max(v for (label, b), v in right.items() if b == size and "joint" not in label)
            joint = next(v for (label, b), v in wrong.items() if b == size and "joint" in label)
            shown = " | ".join(f"{label} {loss:+.2f}" for label, loss in lost.items())
            print(
                f"{name} | {size} | {shown} | joint to best rival {100 * (joint / best - 1):+.2f}", flush=True
            )
