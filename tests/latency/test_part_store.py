"""Shipped kernel times: complete, small, honest about what is missing, and as their script writes them."""

import runpy
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from svsim.latency.database import database_step_times, kernel_parts
from svsim.latency.geometry import model_geometry, model_presets
from svsim.latency.part_store import (
    PARTS,
    _shipped_table,
    shipped_deployments,
    shipped_parts,
    standard_keys,
)
from svsim.latency.pass_parts import MissingKernelError
from svsim.latency.pass_work import ModelOnGpus
from svsim.latency.shape import Role
from svsim.latency.step_grid import standard_shapes

USUAL = ("llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b", "llama-3.2-1b", "llama-3.2-3b", "qwen2.5-72b",
         "qwen3-0.6b", "qwen3-32b", "qwen3-30b-a3b")  # fmt: skip
GPUS = ("a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "l40s")


def test_the_usual_models_are_there_in_a_small_file() -> None:
    with resources.as_file(resources.files("svsim.latency") / "tables" / "kernel_parts.parquet") as path:
        assert path.stat().st_size < 1_000_000
    shipped = shipped_deployments()
    for gpu in GPUS:
        assert all((name, "bf16", gpu, 1) in shipped for name in USUAL)
        assert all(("llama-3.1-70b", "bf16", gpu, tp) in shipped for tp in (1, 2, 4, 8))
        assert (("llama-3.1-70b", "fp8", gpu, 4) in shipped) is (gpu != "a100_sxm")
    assert ("qwen2.5-0.5b", "bf16", "h100_sxm", 4) not in shipped  # 14 heads
    assert ("deepseek-v3", "fp8_block", "h200_sxm", 8) in shipped


def test_parts_are_whole_and_positive() -> None:
    lengths = [len(keys) for keys in standard_keys()]
    for gpu in GPUS:
        parts = shipped_parts(gpu, ModelOnGpus(model_geometry("qwen3-8b"), 2))
        assert parts is not None and parts.kernels.startswith("vllm ")
        values = [getattr(parts, name) for name in PARTS]
        assert [len(v) for v in values] == lengths
        assert all(np.isfinite(v).all() and (v > 0).all() for v in values)


def test_nobodys_folders_are_shipped() -> None:
    for key, row in shipped_deployments().items():
        reason = _shipped_table().column("kernels")[row].as_py()
        assert "/" not in reason.replace("DeepSeek-V3's", ""), key


def test_models_of_one_shape_share_a_row() -> None:
    one, other = (ModelOnGpus(model_geometry(n), 4) for n in ("llama-3.1-70b", "llama-3.3-70b"))
    first, second = shipped_parts("h200_sxm", one), shipped_parts("h200_sxm", other)
    assert first is not None and second is not None
    np.testing.assert_array_equal(first.token_s, second.token_s)


def test_missing_kernels_are_shipped_as_missing() -> None:
    with pytest.raises(MissingKernelError, match="a100_sxm"):
        shipped_parts("a100_sxm", ModelOnGpus(model_geometry("llama-3.2-1b"), 1))
    with pytest.raises(MissingKernelError, match="latent attention was measured in DeepSeek-V3's shape"):
        shipped_parts("h100_sxm", ModelOnGpus(model_geometry("deepseek-v2"), 4))


def test_rows_are_of_one_precision() -> None:
    """A 70B model's products of few tokens read half the bytes in FP8; attention stays."""
    models = [replace(model_geometry("llama-3.1-70b"), weight_dtype=d) for d in ("bf16", "fp8", "int8")]
    bf16, fp8, int8 = (shipped_parts("h200_sxm", ModelOnGpus(model, 4)) for model in models)
    assert bf16 is not None and fp8 is not None and int8 is None
    assert 0.5 < fp8.token_s[3] / bf16.token_s[3] < 0.8
    np.testing.assert_array_equal(fp8.read_s, bf16.read_s)


def test_unshipped_deployments_are_unknown() -> None:
    assert shipped_parts("mi300x", ModelOnGpus(model_geometry("llama-3.1-8b"), 1)) is None
    assert shipped_parts("h100_sxm", ModelOnGpus(model_geometry("llama-3.1-8b"), 16)) is None


def test_shipped_prices_are_those_of_the_package() -> None:
    """Up to the 4 significant digits they are shipped with."""
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    model = model_geometry("llama-3.1-8b")
    shipped = database_step_times("h200_sxm", 2, model)["seconds"]
    asked = database_step_times("h200_sxm", 2, model, shapes=standard_shapes())["seconds"]
    np.testing.assert_allclose(shipped, asked, rtol=6e-4)


def test_the_script_builds_the_shipped_rows() -> None:
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    script = runpy.run_path(str(Path(__file__).parents[2] / "calibration" / "make_tables.py"))
    assert set(script["distinct_models"]()) == {name for name, *_ in shipped_deployments()}
    assert script["row_of"]("qwen3-4b", "fp8", "a100_sxm", 1) is None
    for name, dtype, gpu, degree in (
        ("qwen3-4b", "fp8", "b200_sxm", 4),
        ("qwen3-30b-a3b", "bf16", "l40s", 1),
        ("deepseek-v3", "fp8_block", "h200_sxm", 8),
        ("qwen3.5-35b-a3b", "bf16", "h200_sxm", 2),
    ):
        row = script["row_of"](name, dtype, gpu, degree)
        model = replace(model_presets()[name], weight_dtype=dtype)
        parts = kernel_parts(gpu, ModelOnGpus(model, degree))
        for part in PARTS:
            np.testing.assert_array_equal(row[part], getattr(parts, part).astype(np.float32))


@pytest.mark.parametrize("role", Role)
def test_parts_price_every_shape_of_the_grid(role: Role) -> None:
    parts = shipped_parts("h100_sxm", ModelOnGpus(model_geometry("llama-3.1-8b"), 1))
    assert parts is not None
    seconds = parts.seconds(role, standard_shapes())
    assert seconds.shape == standard_shapes().num_new_tokens.shape
    assert (seconds > 0).all()


@pytest.mark.parametrize("gpu", ["h100_sxm", "h200_sxm"])
def test_fp8_on_hopper_is_priced_by_whole_tiles(gpu: str) -> None:
    """A tile just begun is not dearer than a full one, so that FP8 never loses to 16 bits by it."""
    model = ModelOnGpus(model_geometry("llama-3.1-70b"), 2)
    fp8, bf16 = (
        shipped_parts(gpu, replace(model, geometry=replace(model.geometry, weight_dtype=dtype)))
        for dtype in ("fp8", "bf16")
    )
    assert fp8 is not None and bf16 is not None
    tokens = fp8.keys.tokens
    for low, high in ((129, 256), (257, 512), (513, 768), (769, 1024), (1025, 1280)):
        inside = fp8.token_s[(tokens >= low) & (tokens <= high)]
        assert (inside <= 1.001 * inside[-1]).all()
    assert (fp8.token_s <= 1.06 * bf16.token_s).all()
    assert (fp8.token_s[tokens <= 256] < 0.85 * bf16.token_s[tokens <= 256]).all()
