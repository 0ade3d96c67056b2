"""The kernel database adapter. Needs the extra ``hardware``; skipped without it."""

import builtins
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from svsim.errors import LatencyError
from svsim.latency.database import KernelDatabase, database_latency, database_step_times
from svsim.latency.geometry import model_geometry
from svsim.latency.measured import MeasuredLatency
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.latency.step_grid import PassShapes, standard_shapes

UNSHIPPED = replace(model_geometry("llama-3.2-3b"), num_layers=7)
DEEPSEEK = model_geometry("deepseek-v3")
Floats = NDArray[np.float64]
LLAMA_70B, LLAMA_1B, LLAMA_3B = (model_geometry(n) for n in ("llama-3.1-70b", "llama-3.2-1b", "llama-3.2-3b"))


def test_the_missing_package_is_named_and_not_missed_by_shipped_models(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real_import: Callable[..., Any] = builtins.__import__

    def no_database(name: str, *args: Any) -> Any:
        if name.startswith("aiconfigurator_core"):
            raise ImportError(name)
        return real_import(name, *args)

    monkeypatch.setattr(builtins, "__import__", no_database)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    KernelDatabase.load.cache_clear()
    with pytest.raises(LatencyError, match=r"pip install 'svsim\[hardware\]'"):
        database_step_times("h100_sxm", 4, UNSHIPPED)
    shipped = database_latency("h100_sxm", 4, LLAMA_70B, LLAMA_1B)
    assert shipped.source == "database"


@pytest.fixture(scope="module")
def h100() -> dict[str, Any]:
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    return database_step_times("h100_sxm", 4, LLAMA_70B, LLAMA_1B, LLAMA_3B)


def rows_of(columns: dict[str, Any], role: Role) -> tuple[StepShape, Any]:
    rows = columns["role"] == role
    counts = (columns[name][rows] for name in ("num_sequences", "num_new_tokens", "num_kv_tokens"))
    return StepShape(role, *counts), columns["seconds"][rows]


def test_every_pass_takes_at_least_its_weights_reading_time(h100: dict[str, Any]) -> None:
    for role, geometry, num_gpus in ((Role.TARGET, LLAMA_70B, 4), (Role.DRAFT, LLAMA_1B, 1)):
        _, seconds = rows_of(h100, role)
        embedding = geometry.vocabulary_size * geometry.hidden_size * (not geometry.has_tied_embeddings)
        bound_s = 2 * (geometry.num_parameters - embedding) / num_gpus / 3.35e12
        assert bound_s < seconds.min() < 2 * bound_s


@pytest.mark.parametrize("role", Role)
def test_the_fit_meets_the_table_and_held_out_rows(h100: dict[str, Any], role: Role) -> None:
    """Decoding and verification (up to 9 tokens a sequence), held-out half: the fidelity targets."""
    shape, seconds = rows_of(h100, role)
    shapes = np.stack(shape.broadcast())
    order = np.random.default_rng(0).permutation(len(seconds))
    fit, held_out = np.sort(order[::2]), order[1::2]
    rows = np.flatnonzero(h100["role"] == role)[fit]
    columns = {name: values[rows] for name, values in h100.items()} | {
        "role": np.full(len(rows), "target", object)
    }
    model = MeasuredLatency.from_step_times(columns, out_of_range="extrapolate")
    held_out = held_out[shapes[1][held_out] <= 9 * shapes[0][held_out]]
    predicted = model.predict_s(StepShape(Role.TARGET, *shapes[:, held_out]))
    error = np.abs(predicted / seconds[held_out] - 1)
    assert np.median(error) <= 0.03
    assert np.percentile(error, 95) <= 0.08


@pytest.mark.parametrize("role", Role)
def test_the_roofline_is_near_the_database(h100: dict[str, Any], role: Role) -> None:
    shape, seconds = rows_of(h100, role)
    ratio = RooflineLatency.of("h100_sxm", 4, LLAMA_70B, LLAMA_1B, LLAMA_3B).predict_s(shape) / seconds
    is_step = np.asarray(shape.num_new_tokens) <= 9 * np.asarray(shape.num_sequences)
    # fitted to five GPUs together, the roofline is high on Hopper (calibration/README.md)
    assert 0.9 < np.median(ratio[is_step]) < 1.12
    assert ratio[is_step].min() > 0.7
    assert ratio[is_step].max() < 1.3


def test_verification_reads_each_sequences_kv_once() -> None:
    """512 tokens of 64 sequences cost far less than 512 sequences of the same context."""
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    shapes = PassShapes(np.full(2, 64.0), np.array([64.0, 512.0]), np.full(2, 64 * 4096.0))
    few, many = database_step_times("h100_sxm", 4, LLAMA_70B, shapes=shapes)["seconds"][:2]
    alone = PassShapes(np.array([512.0]), np.array([512.0]), np.array([512 * 4096.0]))
    (as_decoding, _) = database_step_times("h100_sxm", 4, LLAMA_70B, shapes=alone)["seconds"]
    assert few < many < 0.7 * as_decoding


def test_unmeasured_kernels_fall_back_to_the_roofline_and_say_so() -> None:
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    shapes = PassShapes(np.array([1.0, 64.0]), np.array([1.0, 64.0]), np.array([500.0, 64 * 500.0]))
    columns = database_step_times("a100_sxm", 4, LLAMA_70B, LLAMA_1B, LLAMA_3B, shapes=shapes)
    sources = dict(zip(columns["role"], columns["source"], strict=True))
    assert sources == {
        "target": "database",
        "draft": "roofline",
        "companion": "database",
        "overhead": "assumed",
    }
    roofline = RooflineLatency.of("a100_sxm", 4, LLAMA_70B, LLAMA_1B)
    draft = columns["seconds"][columns["role"] == "draft"]
    np.testing.assert_array_equal(draft, roofline.predict_s(StepShape(Role.DRAFT, *shapes)))


def test_a_mixture_reads_the_experts_its_tokens_choose() -> None:
    """Per token far more expensive at 8 tokens than dense, and near the roofline's expected experts."""
    mixture = model_geometry("mixtral-8x7b")
    shapes = PassShapes(
        np.array([1.0, 8.0, 64.0]), np.array([1.0, 8.0, 64.0]), np.array([1.0, 8.0, 64.0]) * 500
    )
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    columns = database_step_times("h100_sxm", 4, mixture, shapes=shapes)
    assert set(columns["source"][:3]) == {"database"}
    one, eight, many = columns["seconds"][:3]
    assert eight > 2 * one and many < 1.5 * eight
    roofline = RooflineLatency.of("h100_sxm", 4, mixture).predict_s(StepShape(Role.TARGET, *shapes))
    assert np.abs(np.log(roofline / columns["seconds"][:3])).max() < 0.15


def test_fp8_weights_and_kv_are_cheaper_to_read() -> None:
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    shapes = PassShapes(np.array([8.0, 64.0]), np.array([8.0, 64.0]), np.array([8.0, 64.0]) * 8192)
    fp8_weights, fp8_kv = replace(LLAMA_70B, weight_dtype="fp8"), replace(LLAMA_70B, kv_dtype="fp8")
    base, light, short = (
        database_step_times("h100_sxm", 4, g, shapes=shapes)["seconds"][:2]
        for g in (LLAMA_70B, fp8_weights, fp8_kv)
    )
    assert 0.5 < light[0] / base[0] < 0.85  # mostly weights
    assert 0.6 < short[1] / base[1] < 0.9  # half of it KV
    with pytest.raises(LatencyError, match="fp8 weights, but a100_sxm has no fp8 matrix units"):
        database_step_times("a100_sxm", 4, fp8_weights)


def test_unmeasured_precision_is_priced_by_the_roofline() -> None:
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    columns = database_step_times("a100_sxm", 4, replace(LLAMA_70B, weight_dtype="int8"))
    assert set(columns["source"]) == {"roofline", "assumed"}


def deepseek_s(tp: int, shapes: PassShapes, **changes: object) -> Floats:
    """Seconds on H200; the last row of a table is the host's overhead."""
    columns = database_step_times("h200_sxm", tp, replace(DEEPSEEK, **changes), shapes=shapes)
    assert set(columns["source"][:-1]) == {"database"}
    return np.asarray(columns["seconds"][:-1])


def test_latent_attention_is_measured_blocks_and_products() -> None:
    """64 sequences of DeepSeek-V3 on 8 x H200: what a token of context costs, one query and eight, and 16."""
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    sequences = np.full(6, 64.0)
    queries, context = np.array([1.0, 1, 8, 8, 16, 16]), np.array([1024.0, 8192, 1024, 8192, 1024, 8192])
    seconds = deepseek_s(8, PassShapes(sequences, sequences * queries, sequences * context))
    by_context = np.diff(seconds.reshape(3, 2))[:, 0]
    read_s = 61 * 64 * 7168 * 576 * 2 / 4.8e12  # the cache at the data sheet's bandwidth
    assert read_s < by_context[0] < 2 * read_s
    assert by_context[0] < by_context[1] < 2 * by_context[0]  # 8 queries of 16 heads are 128 heads
    assert by_context[2] == pytest.approx(2 * by_context[1])  # twice what was measured
    assert (np.diff(seconds[::2]) > 0).all()


def test_latent_attention_is_whole_on_every_gpu() -> None:
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    shapes = PassShapes(np.full(2, 64.0), np.full(2, 64.0), 64 * np.array([1024.0, 8192.0]))
    four, eight = (float(np.diff(deepseek_s(tp, shapes))[0]) for tp in (4, 8))
    assert four == pytest.approx(eight, rel=0.1)


def test_block_scaled_products_are_not_priced_with_their_launch() -> None:
    """One token of DeepSeek-V3 on 8 x H200 takes less than its bf16 twin, not twice as much."""
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    shapes = PassShapes(np.full(1, 8.0), np.full(1, 8.0), np.full(1, 8000.0))
    assert 0.4 < deepseek_s(8, shapes)[0] / deepseek_s(8, shapes, weight_dtype="bf16")[0] < 1.0


def test_unknown_models_are_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = database_step_times("l40s", 1, UNSHIPPED)
    (cached,) = tmp_path.rglob("*.npz")
    monkeypatch.setattr(KernelDatabase, "load", lambda _: pytest.fail("asked again"))
    again = database_step_times("l40s", 1, UNSHIPPED)
    np.testing.assert_array_equal(first["seconds"], again["seconds"])
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    whole = cached.read_bytes()
    for spoilt in (b"not an archive", whole[: len(whole) // 2], b""):
        cached.write_bytes(spoilt)
        np.testing.assert_array_equal(first["seconds"], database_step_times("l40s", 1, UNSHIPPED)["seconds"])


def test_as_a_latency_model() -> None:
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    model = database_latency("l40s", 1, model_geometry("llama-3.1-8b"), LLAMA_1B)
    assert (model.hardware, model.source, model.tensor_parallel) == ("l40s", "database", 1)
    assert model.overhead_per_step_s == 1.2e-3
    assert model.roles == {Role.TARGET, Role.DRAFT}


def test_other_names_of_a_gpu_price_the_same() -> None:
    one, other = (database_latency(name, 4, LLAMA_70B) for name in ("h100", "h100_sxm"))
    assert one.hardware == "h100_sxm"
    shape = StepShape(Role.TARGET, 8, 40, 8000)
    assert one.predict_s(shape) == other.predict_s(shape)


def test_unknown_hardware_lists_the_closest() -> None:
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    with pytest.raises(LatencyError, match="no data sheet of hardware h100_sx; did you mean h100_sxm"):
        database_step_times("h100_sx", 4, LLAMA_70B)
    with pytest.raises(LatencyError, match="no vllm kernels of mi300x"):
        database_step_times("mi300x", 4, LLAMA_70B)


def test_the_standard_grid_shows_both_sides_of_every_stair() -> None:
    shapes = standard_shapes()
    tokens = set(shapes.num_new_tokens.astype(int).tolist())
    edges = {1, 2, 4, *range(8, 257, 8), *range(272, 513, 16)}
    assert {n for edge in edges for n in (edge, edge + 1)} <= tokens
    assert len(np.unique(np.stack(shapes), axis=1).T) == len(shapes.num_new_tokens)
    assert shapes.num_new_tokens.max() == 8192
