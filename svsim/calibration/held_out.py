"""Judging a step-time table by shapes it does not hold.

Errors are relative to the measured seconds. The slope is that of seconds against new tokens at a fixed
batch and context: a common scale error cancels in speedups, an error of the slope does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from svsim.calibration.pass_layout import PassLayout
from svsim.latency.measured import MeasuredLatency
from svsim.latency.shape import Role, StepShape
from svsim.random_streams import RandomStreams


@dataclass(frozen=True, slots=True)
class HeldOutReport:
    """|predicted / measured - 1| over the held-out shapes, and the error of the slope per token.

    slope_error is None where the role's passes do not vary in tokens at a fixed batch. ``rows`` holds
    the shapes with measured and predicted seconds.
    """

    num_shapes: int
    median_error: float
    p95_error: float
    slope_error: float | None
    rows: list[dict[str, float]]


def held_out_layouts(grid: Sequence[PassLayout], num: int, seed: int) -> list[PassLayout]:
    """Random decoding shapes inside the grid's range, none of them in it; half of them at one batch.

    The first half shares the largest batch and a context between two knots and differs in tokens; the
    second half differs in everything.
    """
    decoding = [layout for layout in grid if not layout.is_prompt]
    most = max(layout.longest for layout in decoding)
    depths = sorted({layout.context for layout in decoding})
    batches = sorted({layout.num_sequences for layout in decoding})
    rng = RandomStreams(seed).generator("held-out shapes")
    known = set(grid)
    layouts: list[PassLayout] = []
    between = int(np.sqrt(depths[0] * depths[-1]) * 1.1)
    for _ in range(100 * num):
        is_slope = len(layouts) < (num + 1) // 2
        batch = batches[-1] if is_slope else int(rng.integers(batches[0], batches[-1] + 1))
        depth = between if is_slope else int(np.exp(rng.uniform(*np.log([depths[0], depths[-1]]))))
        layout = PassLayout.spread(batch, int(rng.integers(batch, batch * most + 1)), depth)
        if layout not in known and depths[0] <= depth <= depths[-1]:
            known.add(layout)
            layouts.append(layout)
        if len(layouts) == num:
            break
    return layouts


def judge(table: Sequence[Mapping[str, Any]], held_out: Sequence[Mapping[str, Any]]) -> HeldOutReport:
    """Predict the held-out rows from the table's rows (one role, one device) and compare."""
    columns = {name: np.array([row[name] for row in table]) for name in table[0]}
    role = Role(str(table[0]["role"]))
    # any role can stand for the target here: the fit of the surface does not ask
    columns["role"] = np.full(len(table), Role.TARGET.value, object)
    model = MeasuredLatency.from_step_times(columns, out_of_range="extrapolate")
    sequences, tokens, kv, measured = (
        np.array([row[name] for row in held_out], np.float64)
        for name in ("num_sequences", "num_new_tokens", "num_kv_tokens", "seconds")
    )
    predicted = model.predict_s(StepShape(Role.TARGET, sequences, tokens, kv))
    errors = np.abs(predicted / measured - 1)
    num_slope = (len(held_out) + 1) // 2
    slope = None
    if role is not Role.DRAFT and num_slope >= 3 and np.ptp(tokens[:num_slope]) > 0:
        slopes = [np.polyfit(tokens[:num_slope], s[:num_slope], 1)[0] for s in (predicted, measured)]
        slope = float(slopes[0] / slopes[1] - 1)
    middle, high = np.quantile(errors, [0.5, 0.95])
    return HeldOutReport(len(held_out), float(middle), float(high), slope, _pairs(held_out, predicted))


def _pairs(held_out: Sequence[Mapping[str, Any]], predicted: Any) -> list[dict[str, float]]:
    names = ("num_sequences", "num_new_tokens", "num_kv_tokens", "seconds")
    return [
        {**{name: float(row[name]) for name in names}, "predicted_s": float(seconds)}
        for row, seconds in zip(held_out, predicted, strict=True)
    ]
