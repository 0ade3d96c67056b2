"""Presets against configurations that somebody else ships: the files of aiconfigurator-core."""

import json
from importlib import resources
from typing import Any

import pytest

from svsim.errors import LatencyError
from svsim.latency.geometry import ModelGeometry, model_geometry

# Refused, and rightly so: what is not modelled (see docs/models.md).
NOT_MODELLED = ("index_topk means", "linear_attn_config means", "is no known architecture", "MIXED_PRECISION")
SHAPE = (
    "num_layers", "hidden_size", "num_heads", "intermediate_size", "vocabulary_size", "has_tied_embeddings",
    "num_experts", "num_experts_per_token", "shared_intermediate_size", "num_dense_layers",
    "dense_intermediate_size", "recurrent", "latent", "num_parameters", "num_full_layers",
)  # fmt: skip


def shipped_configs() -> dict[str, dict[str, Any]]:
    package = pytest.importorskip(
        "aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)"
    )
    ending = "_config.json"
    root = resources.files(package.__name__)
    files = [path for path in root.rglob(f"*{ending}") if not path.name.endswith("quant_config.json")]
    return {path.name.removesuffix(ending).replace("--", "/"): json.loads(path.read_text()) for path in files}


def test_presets_have_the_shape_of_their_own_files() -> None:
    """Every preset that the package has a file of; at least 30, so that the test cannot come to nothing."""
    compared = 0
    for name, config in shipped_configs().items():
        try:
            read, preset = ModelGeometry.from_config(config, name), model_geometry(name)
        except LatencyError:
            continue
        told = {key: (getattr(preset, key), getattr(read, key)) for key in SHAPE}
        assert {key: pair for key, pair in told.items() if pair[0] != pair[1]} == {}, name
        if read.latent is None:
            assert (preset.num_kv_heads, preset.head_size) == (read.num_kv_heads, read.head_size), name
        assert preset.kv_bytes(9000) / preset.kv_bytes(1) == read.kv_bytes(9000) / read.kv_bytes(1), name
        compared += 1
    assert compared >= 30


def test_what_the_package_has_is_read_or_refused_for_a_stated_reason() -> None:
    refusals = []
    for name, config in shipped_configs().items():
        try:
            ModelGeometry.from_config(config, name)
        except LatencyError as error:
            refusals.append(str(error))
    assert [text for text in refusals if not any(reason in text for reason in NOT_MODELLED)] == []
