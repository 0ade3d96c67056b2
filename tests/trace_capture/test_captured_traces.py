"""The committed CPU captures are what their provenance says."""

from pathlib import Path

import numpy as np
import pytest

from svsim.latency.measured import MeasuredLatency
from svsim.latency.shape import Role
from svsim.trace.file import load_trace

ROOT = Path(__file__).resolve().parents[2]
TRACES = ("code_t07", "prose_t07", "mixed_t07", "mixed_greedy")


@pytest.mark.parametrize("name", TRACES)
def test_captured_trace(name: str) -> None:
    path = ROOT / "traces" / f"cpu_triplet_{name}.parquet"
    assert path.stat().st_size < 4 << 20
    trace = load_trace(path)
    meta = trace.metadata
    assert (meta.acceptance_kind, meta.chains, meta.hardware) == ("captured", "coherent", "cpu")
    assert meta.is_greedy == name.endswith("greedy")
    assert "PSF" in (meta.dataset or "") and meta.command and meta.date
    assert (trace.num_requests, trace.num_positions, trace.num_speculative_tokens) == (200, 25600, 8)
    k, counts = 8, trace.target.num_accepted.reshape(200, 128)
    now, following = counts[:, :-1], counts[:, 1:]
    inside = (now > 0) & (now < k)
    np.testing.assert_array_equal(following[inside], now[inside] - 1)
    for signal in ("similarity", "companion_accept"):
        column = trace.observable.signals[signal].reshape(200, 128, k)
        np.testing.assert_array_equal(column[:, 1:, :-1][now > 0], column[:, :-1, 1:][now > 0])
    # coins against probabilities: the share of accepted first tokens within 4 standard errors of mean a
    accept = trace.target.accept_prob
    assert accept is not None
    first = accept[:, 0].astype(np.float64)
    error = np.sqrt((first * (1 - first)).sum()) / len(first)
    assert abs((trace.target.num_accepted > 0).mean() - first.mean()) <= 4 * error + 1e-4


def test_step_times_price_the_replays_of_the_traces() -> None:
    model = MeasuredLatency.from_file(ROOT / "calibration" / "cpu_tiny_step_times.parquet")
    assert model.hardware == "cpu" and model.source == "measured"
    assert model.roles == frozenset(Role)
    inside = load_trace(ROOT / "traces" / "cpu_triplet_code_t07.parquet")
    assert inside.step_times is not None and len(inside.step_times["seconds"]) > 300
    ranges = model.valid_range[Role.TARGET]
    assert ranges.mean_context[1] >= inside.num_context_tokens.max()
