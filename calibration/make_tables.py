"""Write svsim/latency/tables/kernel_parts.parquet: kernel times of all preset models on five GPUs.

    python calibration/make_tables.py            (about a minute on one core; needs svsim[hardware])

One row per (model, precision of its weights, GPU, tensor_parallel): the parts of
``svsim/latency/pass_parts.py`` on the keys of the standard grid, priced from the kernel database of
aiconfigurator-core, in seconds with 4 significant digits. A row without numbers: the database lacks a
kernel (``kernels`` says which). The file is package data, so that the core install answers ``--latency
database`` for these models. Running it again writes the same bytes (for the same versions of the
packages).
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from svsim.errors import LatencyError
from svsim.latency.database import measured_parts
from svsim.latency.geometry import model_geometry, model_presets
from svsim.latency.hardware import data_sheet
from svsim.latency.part_store import PARTS
from svsim.latency.pass_parts import MissingKernelError
from svsim.latency.pass_work import ModelOnGpus, check_precision
from svsim.latency.precision import Dtype
from svsim.latency.shape import Role
from svsim.latency.step_grid import standard_shapes

HARDWARE = ("a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "l40s")
TENSOR_PARALLEL = (1, 2, 4, 8)
# Besides each model's own precision, for models that are targets rather than drafts.
QUANTIZED: Mapping[str, tuple[Dtype, ...]] = {
    "h100_sxm": ("fp8",),
    "h200_sxm": ("fp8",),
    "b200_sxm": ("fp8", "nvfp4"),
    "l40s": ("fp8",),
}
LEAST_TARGET_PARAMETERS = 3e9
# The models whose prices are shipped: those of traces, papers and calibration.
SHIPPED = re.compile(
    r"(llama-(3|2-(7|13)b|160m|68m)|qwen(2\.5|3-(?!235|coder)|3\.5-35b)|mixtral-8x7b|deepseek-v|kimi-k2$|"
    r"codellama-34b|tinyllama|amd-llama)"
)
SIGNIFICANT_DIGITS = 4
DEFAULT_OUT = Path(__file__).parent.parent / "svsim" / "latency" / "tables" / "kernel_parts.parquet"


def row_of(name: str, dtype: Dtype, hardware: str, degree: int) -> dict[str, Any] | None:
    """One row; None if the model cannot be split that way."""
    try:
        model = ModelOnGpus(replace(model_geometry(name), weight_dtype=dtype), degree)
        check_precision(data_sheet(hardware), {Role.TARGET: model})
    except LatencyError:
        return None
    row: dict[str, Any] = {
        "model": name,
        "weight_dtype": dtype,
        "hardware": hardware,
        "tensor_parallel": degree,
    }
    try:
        parts = measured_parts(hardware, model, standard_shapes())
    except MissingKernelError as error:
        return row | dict.fromkeys(PARTS) | {"kernels": str(error)}
    return row | {part: rounded(getattr(parts, part)) for part in PARTS} | {"kernels": parts.kernels}


def precisions(name: str, hardware: str) -> list[Dtype]:
    """The model's own precision, then those it may be served in."""
    shape = model_geometry(name)
    further = QUANTIZED.get(hardware, ()) if shape.num_parameters >= LEAST_TARGET_PARAMETERS else ()
    return [shape.weight_dtype, *(dtype for dtype in further if shape.weight_dtype == "bf16")]


def distinct_models() -> list[str]:
    """Short names of the presets of the shipped families, one per shape; others are priced when asked for."""
    presets = {name: shape for name, shape in model_presets().items() if SHIPPED.match(name)}
    shapes = {replace(geometry, name=""): name for name, geometry in reversed(presets.items())}
    return [name for name in presets if name in shapes.values()]


def rounded(seconds: np.ndarray) -> np.ndarray:
    """Float32 with few significant digits, which compress well."""
    return np.array([float(f"{s:.{SIGNIFICANT_DIGITS}g}") for s in seconds], np.float32)


def build_table() -> pa.Table:
    """All rows: GPU by GPU, model by model, degree by degree."""
    rows = []
    for hardware in HARDWARE:
        for name in distinct_models():
            made = [
                row_of(name, dtype, hardware, degree)
                for dtype in precisions(name, hardware)
                for degree in TENSOR_PARALLEL
            ]
            rows += [row for row in made if row is not None]
            print(f"{hardware} {name}: {len(rows)} rows", file=sys.stderr)
    seconds = pa.list_(pa.float32())
    schema = pa.schema(
        [(name, pa.string()) for name in ("model", "weight_dtype", "hardware")]
        + [("tensor_parallel", pa.int32())]
        + [(part, seconds) for part in PARTS]
        + [("kernels", pa.string())]
    )
    provenance = {
        "software": {"aiconfigurator-core": version("aiconfigurator-core")},
        "command": "python calibration/make_tables.py",
        "significant_digits": SIGNIFICANT_DIGITS,
    }
    table = pa.Table.from_pylist(rows, schema)
    return table.replace_schema_metadata({"svsim": json.dumps(provenance, sort_keys=True)})


def main() -> None:
    """Write the table to a temporary file and rename it."""
    parser = argparse.ArgumentParser(description="write the shipped kernel times")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    out: Path = parser.parse_args().out
    table = build_table()
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_suffix(".tmp")
    pq.write_table(table, unfinished, compression="zstd", compression_level=19, use_dictionary=False)
    unfinished.replace(out)
    print(f"{out}: {table.num_rows} rows, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
