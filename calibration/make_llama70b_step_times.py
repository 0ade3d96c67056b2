"""Write llama70b_step_times.parquet: Llama-3.1-70B with its draft and companion on three GPUs.

    python calibration/make_llama70b_step_times.py            (needs the extra: svsim[hardware])

Prices come from the kernel database of aiconfigurator-core and, where it lacks a kernel, from the
roofline; the column ``source`` says which. Nothing here was measured as a whole pass: see README.md.
Running it again writes the same bytes (for the same versions of the packages).
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from svsim.latency.database import KernelDatabase, database_step_times
from svsim.latency.geometry import model_geometry
from svsim.latency.step_grid import standard_shapes

MODELS = {"target": "llama-3.1-70b", "draft": "llama-3.2-1b", "companion": "llama-3.2-3b"}
TENSOR_PARALLEL = 4
HARDWARE = ("h100_sxm", "h200_sxm", "a100_sxm")
DEFAULT_OUT = Path(__file__).parent / "llama70b_step_times.parquet"


def build_table() -> pa.Table:
    """All rows, hardware by hardware, with the provenance as metadata."""
    geometries = {role: model_geometry(name) for role, name in MODELS.items()}
    parts = [
        database_step_times(hardware, TENSOR_PARALLEL, **geometries, shapes=standard_shapes())
        for hardware in HARDWARE
    ]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    columns["seconds"] = columns["seconds"].astype(np.float32).astype(np.float64)  # 7 digits compress well
    provenance = {
        "models": {role: geometry.name for role, geometry in geometries.items()},
        "tensor_parallel": TENSOR_PARALLEL,
        "kernels": {hardware: f"vLLM {KernelDatabase.load(hardware).version}" for hardware in HARDWARE},
        "software": {"aiconfigurator-core": version("aiconfigurator-core")},
        "command": "python calibration/make_llama70b_step_times.py",
    }
    table = pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})
    return table.replace_schema_metadata({"svsim": json.dumps(provenance, sort_keys=True)})


def main() -> None:
    """Write the table to a temporary file and rename it."""
    parser = argparse.ArgumentParser(description="write the step times of the llama70b example")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    out: Path = parser.parse_args().out
    table = build_table()
    unfinished = out.with_suffix(".tmp")
    pq.write_table(table, unfinished, compression="zstd", compression_level=19)
    unfinished.replace(out)
    print(f"{out}: {table.num_rows} rows, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
