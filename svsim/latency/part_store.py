"""Kernel times that need not be asked for again: tables shipped with svsim, and a cache on disk.

The shipped tables (``tables/kernel_parts.parquet``, written by ``calibration/make_tables.py``) hold
the usual models, so that the core install answers without the database's package, and every machine
answers alike. Other models are compiled once and kept in the user's cache folder.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from svsim.files import replacing
from svsim.latency.geometry import ModelGeometry, model_presets
from svsim.latency.pass_parts import MissingKernelError, PartKeys, PassParts
from svsim.latency.pass_work import MAX_LOGIT_ROWS_PER_SEQUENCE, ModelOnGpus, max_free_queries
from svsim.latency.step_grid import standard_shapes

PARTS = ("token_s", "row_s", "read_s", "prompt_s")
# Change it when the meaning of a cached part changes.
CACHE_VERSION = 3


@cache
def standard_keys(free_queries: int = MAX_LOGIT_ROWS_PER_SEQUENCE) -> PartKeys:
    """Parts of the standard step-time grid: what is shipped and cached."""
    return PartKeys.of(standard_shapes(), free_queries)


@cache
def shipped_deployments() -> Mapping[tuple[str, str, str, int], int]:
    """(model's short name, weight_dtype, hardware, tensor_parallel) -> row of the shipped table."""
    table = _shipped_table()
    keys = ("model", "weight_dtype", "hardware", "tensor_parallel")
    names = (table.column(name).to_pylist() for name in keys)
    return {key: row for row, key in enumerate(zip(*names, strict=True))}


def shipped_parts(hardware: str, model: ModelOnGpus) -> PassParts | None:
    """The shipped parts of a deployment; None if there are none.

    Models of one shape share a row, whatever their names. A row without numbers says that the database
    lacks a kernel: MissingKernelError.
    """
    shape = model.geometry
    row = shipped_deployments().get(
        (_preset_name(shape), shape.weight_dtype, hardware, model.tensor_parallel)
    )
    if row is None:
        return None
    table = _shipped_table().slice(row, 1)
    if not table.column(PARTS[0])[0].is_valid:
        raise MissingKernelError(f"{shape.name} on {hardware}: {table.column('kernels')[0]}")
    values = {name: np.asarray(table.column(name)[0].as_py(), np.float64) for name in PARTS}
    kernels, free_queries = str(table.column("kernels")[0].as_py()), max_free_queries(model)
    return PassParts(standard_keys(free_queries), **values, kernels=kernels, free_queries=free_queries)


def cached_parts(hardware: str, model: ModelOnGpus, software: str) -> PassParts | None:
    """Parts kept by ``keep_parts`` with the same software; None if there are none that can be read."""
    try:
        with np.load(_cache_file(hardware, model, software), allow_pickle=False) as stored:
            values = {name: np.asarray(stored[name], np.float64) for name in PARTS}
            kernels = str(stored["kernels"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    free_queries = max_free_queries(model)
    keys = standard_keys(free_queries)
    is_whole = [values[name].shape for name in PARTS] == [(len(known),) for known in keys]
    return PassParts(keys, **values, kernels=kernels, free_queries=free_queries) if is_whole else None


def keep_parts(parts: PassParts, hardware: str, model: ModelOnGpus, software: str) -> None:
    """Write to the cache folder, by way of a temporary file; a folder that cannot be written is left."""
    path = _cache_file(hardware, model, software)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.savez(file, kernels=np.array(parts.kernels), **{name: getattr(parts, name) for name in PARTS})


def _cache_file(hardware: str, model: ModelOnGpus, software: str) -> Path:
    about = {
        "geometry": asdict(replace(model.geometry, name="")),
        "hardware": hardware,
        "tensor_parallel": model.tensor_parallel,
        "software": software,
        "version": CACHE_VERSION,
    }
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "svsim" / "kernel_parts" / f"{name}.npz"


def _preset_name(geometry: ModelGeometry) -> str:
    """Short name of the first preset of the same shape, whatever its weights' precision, or nothing."""
    nameless = replace(geometry, name="", weight_dtype="bf16")
    for short_name, preset in model_presets().items():
        if replace(preset, name="", weight_dtype="bf16") == nameless:
            return short_name
    return ""


@cache
def _shipped_table() -> Any:
    import pyarrow.parquet as pq

    with resources.as_file(resources.files("svsim.latency") / "tables" / "kernel_parts.parquet") as path:
        return pq.read_table(path)
