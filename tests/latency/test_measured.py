from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from support.synthetic_truth import Shapes, grid_of_shapes, joined, scattered_shapes, table, true_seconds

from svsim.errors import LatencyError, OutOfRangeError
from svsim.latency.measured import MeasuredLatency, hardware_in
from svsim.latency.shape import Role, StepShape

Columns = dict[str, NDArray[Any]]


def noisy(
    shapes: Shapes, rng: np.random.Generator, noise: float = 0.015, **truth: float
) -> NDArray[np.float64]:
    return true_seconds(*shapes, **truth) * np.exp(noise * rng.standard_normal(len(shapes[0])))


def rows_of(shapes: Shapes, rows: NDArray[np.int64]) -> Shapes:
    return shapes[0][rows], shapes[1][rows], shapes[2][rows]


def slope_error(model: MeasuredLatency, num_sequences: int, context: int) -> float:
    """Relative error of the slope per new token over verification lengths 0 .. 8."""
    tokens = np.arange(num_sequences, 9 * num_sequences + 1)
    shape = StepShape(Role.TARGET, num_sequences, tokens, num_sequences * context)
    truth = true_seconds(*shape.broadcast())
    return float(np.polyfit(tokens, model.predict_s(shape), 1)[0] / np.polyfit(tokens, truth, 1)[0] - 1)


# Half of the rows has about 400 of them; the fidelity targets are those of the project.
@pytest.mark.parametrize("kind", ["grid", "scattered"])
def test_held_out_shapes(kind: str) -> None:
    rng = np.random.default_rng(7)
    shapes = grid_of_shapes() if kind == "grid" else scattered_shapes(rng, 800)
    seconds = noisy(shapes, rng)
    order = rng.permutation(len(seconds))
    fit, held_out = order[: len(order) // 2], order[len(order) // 2 :]
    model = MeasuredLatency.from_step_times(
        table(rows_of(shapes, fit), seconds[fit]), out_of_range="extrapolate"
    )
    shape = StepShape(Role.TARGET, *rows_of(shapes, held_out))
    error = np.abs(model.predict_s(shape) / seconds[held_out] - 1)
    assert np.median(error) <= 0.03
    assert np.percentile(error, 95) <= 0.08
    for num_sequences in (16, 64):
        for context in (300, 3000):
            assert abs(slope_error(model, num_sequences, context)) <= 0.10
    residuals = model.residuals[Role.TARGET]
    assert residuals.num_rows == len(fit)
    assert 0 < residuals.median <= residuals.p95 <= 0.08


def test_stairs_are_kept() -> None:
    """Without noise the curve steps where the truth does, and nowhere between."""
    tokens = np.arange(64, 577).astype(np.float64)
    shapes = (np.full(513, 64.0), tokens, np.full(513, 64 * 1000.0))
    truth = true_seconds(*shapes)
    model = MeasuredLatency.from_step_times(table(shapes, truth))
    predicted = model.predict_s(StepShape(Role.TARGET, *shapes))
    np.testing.assert_allclose(predicted, truth, rtol=1e-6)
    np.testing.assert_array_equal(np.diff(predicted) > 1e-7, np.diff(truth) > 1e-7)


def test_outliers_do_not_move_the_fit() -> None:
    rng = np.random.default_rng(3)
    shapes = grid_of_shapes()
    seconds = noisy(shapes, rng, 0.005)
    hiccups = rng.choice(len(seconds), len(seconds) // 50, replace=False)
    seconds[hiccups] *= 3
    model = MeasuredLatency.from_step_times(table(shapes, seconds))
    error = np.abs(model.predict_s(StepShape(Role.TARGET, *shapes)) / true_seconds(*shapes) - 1)
    assert np.median(error) <= 0.01
    assert np.percentile(error, 90) <= 0.03


def test_attention_is_priced_per_sequence_in_verification_and_per_pair_in_prompts() -> None:
    shapes = grid_of_shapes()
    chunks = np.array([(1, n, c) for n in (512, 2048) for c in (1024, 8192)], np.float64).T
    shapes = tuple(np.append(a, b) for a, b in zip(shapes, chunks, strict=True))  # type: ignore[assignment]
    model = MeasuredLatency.from_step_times(table(shapes, true_seconds(*shapes)), out_of_range="extrapolate")
    more_queries = StepShape(Role.TARGET, 16, [16, 128], [[16 * 500], [16 * 8000]])
    by_context = np.diff(model.predict_s(more_queries), axis=0)[0]
    assert by_context[1] == pytest.approx(by_context[0], rel=0.02)  # not eight times as much
    chunk = StepShape(Role.TARGET, 1, 1024, 4096)
    assert model.predict_s(chunk) == pytest.approx(true_seconds(*chunk.broadcast()), rel=0.03)


def test_few_rows_do() -> None:
    shapes = (np.array([1.0, 8, 1]), np.array([1.0, 8, 8]), np.array([100.0, 800, 900]))
    seconds = np.array([1e-2, 1.2e-2, 1.1e-2])
    model = MeasuredLatency.from_step_times(table(shapes, seconds))
    np.testing.assert_allclose(model.predict_s(StepShape(Role.TARGET, *shapes)), seconds, rtol=0.1)


def test_one_row_is_a_constant() -> None:
    columns = table((np.ones(1), np.ones(1), np.full(1, 64.0)), np.full(1, 2e-3))
    model = MeasuredLatency.from_step_times(columns, out_of_range="extrapolate")
    np.testing.assert_allclose(model.predict_s(StepShape(Role.TARGET, 1, [1, 50], 64)), 2e-3, rtol=1e-3)


def small_table() -> Columns:
    shapes = grid_of_shapes()
    return table(shapes, true_seconds(*shapes))


def test_outside_the_calibrated_range() -> None:
    columns = small_table()
    beyond = StepShape(Role.TARGET, 4, 8, 4 * 20_000)
    edge = StepShape(Role.TARGET, 4, 8, 4 * 8192)
    strict, clipping, extending = (
        MeasuredLatency.from_step_times(columns, out_of_range=choice)
        for choice in ("raise", "clip", "extrapolate")
    )
    message = r"mean_context = 20000 is outside the calibrated range 0 to 8192 of synthetic_gpu"
    with pytest.raises(OutOfRangeError, match=message):
        strict.predict_s(beyond)
    assert clipping.predict_s(beyond) == clipping.predict_s(edge)
    per_token_s = 18e-9 * 4
    expected = extending.predict_s(edge) + per_token_s * (20_000 - 8192)
    assert extending.predict_s(beyond) == pytest.approx(expected, rel=0.02)
    assert strict.predict_s(edge) == clipping.predict_s(edge) == extending.predict_s(edge)
    assert strict.valid_range[Role.TARGET].num_new_tokens == (1, 8192)
    with pytest.raises(LatencyError, match="expected one of raise, clip, extrapolate"):
        MeasuredLatency.from_step_times(columns, out_of_range="guess")  # type: ignore[arg-type]


def test_extrapolation_rules() -> None:
    model = MeasuredLatency.from_step_times(small_table(), out_of_range="extrapolate")
    top, beyond = model.predict_s(StepShape(Role.TARGET, 1, [8192, 16384], 0))
    half = model.predict_s(StepShape(Role.TARGET, 1, 4096, 0))
    assert beyond >= top + (top - half)  # at least as steep as the upper half of the curve
    twice = model.predict_s(StepShape(Role.TARGET, [256, 512], 512, [[0], [8192 * 256]]))
    assert np.all(np.isfinite(twice)) and np.all(twice > 0)


def test_deployments_are_chosen_by_hardware_and_degree() -> None:
    shapes = grid_of_shapes()
    slow, fast = true_seconds(*shapes), 0.5 * true_seconds(*shapes)
    other = table(shapes, 3 * fast, tp=4)
    other["hardware"][:] = "another_gpu"
    columns = joined(
        table(shapes, fast, tp=4), table(shapes, slow, tp=2), other, table(shapes, 0.1 * fast, "draft", tp=1)
    )
    assert hardware_in(columns) == [("synthetic_gpu", 4), ("synthetic_gpu", 2), ("another_gpu", 4)]
    shape = StepShape(Role.TARGET, 1, 1, 128)
    first = MeasuredLatency.from_step_times(columns)
    assert (first.hardware, first.tensor_parallel, first.source) == ("synthetic_gpu", 4, "synthetic")
    two = MeasuredLatency.from_step_times(columns, "synthetic_gpu", 2)
    assert two.predict_s(shape) == pytest.approx(2 * first.predict_s(shape), rel=1e-6)
    # the draft runs on one GPU whatever the target does, but not on another kind of GPU
    assert first.roles == two.roles == {Role.TARGET, Role.DRAFT}
    assert MeasuredLatency.from_step_times(columns, "another_gpu").roles == {Role.TARGET}
    with pytest.raises(LatencyError, match="no step times of synthetic_gpu at tp=8; it has tp=4, 2"):
        MeasuredLatency.from_step_times(columns, "synthetic_gpu", 8)
    with pytest.raises(
        LatencyError, match="no step times of hardware sintetic_gpu; did you mean synthetic_gpu"
    ):
        MeasuredLatency.from_step_times(columns, "sintetic_gpu")


def test_overhead_rows_become_the_overhead() -> None:
    columns = small_table()
    overhead = {name: values[:1].copy() for name, values in columns.items()}
    overhead |= {"role": np.array(["overhead"], object), "seconds": np.array([1.5e-3])}
    overhead |= {"num_new_tokens": np.zeros(1, np.int32), "num_kv_tokens": np.zeros(1, np.int64)}
    assert MeasuredLatency.from_step_times(joined(columns, overhead)).overhead_per_step_s == 1.5e-3
    assert MeasuredLatency.from_step_times(columns).overhead_per_step_s == 0.0


def changed(name: str, value: Any) -> Columns:
    columns = {key: values.copy() for key, values in small_table().items()}
    columns[name][5] = value
    return columns


BAD_TABLES = {
    "NaN": (changed("seconds", np.nan), "column seconds, row 5: got nan, expected 1e-06 to 86400 seconds"),
    "negative": (changed("seconds", -1e-3), "column seconds, row 5: got -0.001"),
    "zero": (changed("seconds", 0.0), "column seconds, row 5: got 0.0"),
    "infinite": (changed("seconds", np.inf), "column seconds, row 5: got inf"),
    "no sequence": (
        changed("num_sequences", 0),
        "column num_sequences, row 5: got 0, expected 1 to 1,000,000,000",
    ),
    "negative KV": (changed("num_kv_tokens", -1), "column num_kv_tokens, row 5: got -1"),
    "role": (changed("role", "teacher"), "got teacher, expected one of target, draft, companion, overhead"),
    "text": (
        small_table() | {"seconds": np.full(len(small_table()["role"]), "1", object)},
        "expected seconds",
    ),
    "column": ({k: v for k, v in small_table().items() if k != "seconds"}, "column seconds is missing"),
    "length": (small_table() | {"seconds": np.ones(3)}, "expected one value per row"),
    "no target": (
        small_table() | {"role": np.full(len(small_table()["role"]), "draft")},
        "no row of role target",
    ),
    "empty": ({k: v[:0] for k, v in small_table().items()}, "expected one value per row, and 1 to"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables_get_one_line(name: str) -> None:
    columns, message = BAD_TABLES[name]
    with pytest.raises(LatencyError, match=message) as caught:
        MeasuredLatency.from_step_times(columns, where="table.parquet")
    assert str(caught.value).startswith("table.parquet: ")
    assert "\n" not in str(caught.value)


def test_from_file(tmp_path: Path) -> None:
    columns = small_table()
    path = tmp_path / "steps.parquet"
    pq.write_table(pa.table(columns), path)
    model = MeasuredLatency.from_file(path)
    shape = StepShape(Role.TARGET, 8, 64, 8000)
    assert model.predict_s(shape) == MeasuredLatency.from_step_times(columns).predict_s(shape)


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really PAR1", b'{"kind": "linear"}'])
def test_files_that_are_no_tables(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "steps.parquet"
    path.write_bytes(content)
    with pytest.raises(LatencyError, match=r"steps\.parquet: not a Parquet step-time table") as caught:
        MeasuredLatency.from_file(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["absent.parquet", "."])
def test_absent_files_and_folders(path: str, tmp_path: Path) -> None:
    with pytest.raises(LatencyError, match=r"no such file|cannot be read"):
        MeasuredLatency.from_file(tmp_path / path)


def test_the_same_rows_are_fitted_once_and_other_seconds_anew() -> None:
    shapes = scattered_shapes(np.random.default_rng(3), 60)
    seconds = noisy(shapes, np.random.default_rng(3))
    first = MeasuredLatency.from_step_times(table(shapes, seconds), out_of_range="clip")
    again = MeasuredLatency.from_step_times(table(shapes, seconds.copy()), out_of_range="raise")
    other = MeasuredLatency.from_step_times(table(shapes, np.append(seconds[:-1], 2.0 * seconds[-1])))
    assert again.surfaces[Role.TARGET] is first.surfaces[Role.TARGET] is not other.surfaces[Role.TARGET]
    assert (first.out_of_range, again.out_of_range) == ("clip", "raise")
    shape = StepShape(Role.TARGET, *(column[-1:] for column in shapes))
    assert other.predict_s(shape) > again.predict_s(shape)
