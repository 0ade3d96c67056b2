"""Small synthetic traces, and hand-made (also broken) trace files, for the tests of this folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from svsim.trace.token_trace import ObservableColumns, TargetColumns, TokenTrace, TraceMetadata

TARGETS = ("accept_prob", "target_overlap")
METADATA = {
    "format_version": 1,
    "num_speculative_tokens": 3,
    "acceptance_kind": "synthetic",
    "chains": "coherent",
}


def make_trace(
    lengths: list[int],
    k: int = 4,
    signals: tuple[str, ...] = ("similarity", "companion_accept", "accept_prob"),
    *,
    seed: int = 0,
    prefix: str = "request",
    tasks: bool = True,
    step_times: dict[str, Any] | None = None,
) -> TokenTrace:
    """A trace of uniform random columns: values have no meaning, shapes and domains do."""
    rng = np.random.default_rng(seed)
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    num_positions = int(bounds[-1])
    columns = {name: rng.random((num_positions, k), np.float32) for name in signals}
    if "draft_entropy" in columns:
        columns["draft_entropy"] *= 8
    return TokenTrace(
        request_ids=tuple(f"{prefix}-{i}" for i in range(len(lengths))),
        first_position=bounds,
        num_prompt_tokens=rng.integers(0, 900, len(lengths)).astype(np.int32),
        observable=ObservableColumns({n: v for n, v in columns.items() if n not in TARGETS}),
        target=TargetColumns(
            rng.integers(0, k + 1, num_positions).astype(np.int16),
            columns.get("accept_prob"),
            columns.get("target_overlap"),
        ),
        metadata=TraceMetadata(k, "synthetic", "coherent", sampling={"greedy": False}, date="2026-01-01"),
        tasks=tuple(f"task-{i % 3}" for i in range(len(lengths))) if tasks else None,
        step_times=step_times,
    )


def make_step_times() -> dict[str, Any]:
    """Two passes and a host overhead; one of them without percentiles, as from a database."""
    return {
        "role": np.array(["target", "draft", "overhead"]),
        "hardware": np.array(["h100_sxm", "h100_sxm", "h100_sxm"]),
        "tensor_parallel": np.array([4, 1, 4]),
        "num_sequences": np.array([8, 8, 0]),
        "num_new_tokens": np.array([48, 8, 0]),
        "num_kv_tokens": np.array([4096, 4096, 0]),
        "seconds": np.array([0.021, 0.003, 0.0]),
        "p10_s": np.array([0.020, np.nan, np.nan]),
        "p90_s": np.array([0.024, np.nan, np.nan]),
        "num_repeats": np.array([50, 0, 0]),
        "source": np.array(["measured", "database", "measured"]),
    }


def assert_same_trace(got: TokenTrace, expected: TokenTrace, dtype: str = "float32") -> None:
    """Equal in everything; signals as ``expected`` rounded to ``dtype``."""
    assert got.request_ids == expected.request_ids
    assert got.tasks == expected.tasks
    assert got.metadata == expected.metadata
    for name in ("first_position", "num_prompt_tokens", "num_context_tokens"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
        assert getattr(got, name).dtype == getattr(expected, name).dtype
    np.testing.assert_array_equal(got.target.num_accepted, expected.target.num_accepted)
    assert got.target.num_accepted.dtype == np.int16
    assert set(got.observable.signals) == set(expected.observable.signals)
    pairs = [(got.observable.signals[n], v) for n, v in expected.observable.signals.items()]
    pairs += [(getattr(got.target, n), getattr(expected.target, n)) for n in TARGETS]
    for a, b in pairs:
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert a.dtype == np.float32
            np.testing.assert_array_equal(a, b.astype(dtype).astype(np.float32))


def example_columns() -> dict[str, Any]:
    """The columns of a valid file: requests "a" (prompt 10, 4 positions) and "b" (prompt 20, 2), K = 3."""
    kind = pa.list_(pa.float32(), 3)
    return {
        "request_id": pa.array(["a"] * 4 + ["b"] * 2),
        "position": pa.array([0, 1, 2, 3, 0, 1], pa.int32()),
        "num_context_tokens": pa.array([10, 11, 12, 13, 20, 21], pa.int32()),
        "num_accepted": pa.array([0, 3, 2, 1, 0, 3], pa.int16()),
        "task": pa.array(["x"] * 4 + ["y"] * 2).dictionary_encode(),
        "similarity": pa.array([[0.5, 0.25, 1.0]] * 6, kind),
        "draft_entropy": pa.array([[0.0, 2.0, 9.5]] * 6, kind),
        "accept_prob": pa.array([[1.0, 0.5, 0.0]] * 6, kind),
    }


def write_raw(
    path: Path, columns: dict[str, Any], metadata: object = METADATA, step_times: bytes | None = None
) -> Path:
    """A Parquet file with these columns and metadata, by pyarrow alone: svsim checks nothing here."""
    stored: dict[str, bytes] = {}
    if metadata is not None:
        stored["svsim"] = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    if step_times is not None:
        stored["svsim.step_times"] = step_times
    table = pa.table(columns)
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(stored)
    return path
