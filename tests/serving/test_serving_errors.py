"""The published errors of open-loop serving: the script's own parts."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "calibration" / "serving_errors.py"
spec = importlib.util.spec_from_file_location("serving_errors", SCRIPT)
assert spec is not None and spec.loader is not None
serving_errors = importlib.util.module_from_spec(spec)
spec.loader.exec_module(serving_errors)


def test_the_trace_accepts_as_measured() -> None:
    trace = serving_errors.trace_of(2.332, 4)
    kept = trace.target.num_accepted
    assert kept.mean() + 1 == pytest.approx(2.332, abs=4 * kept.std() / np.sqrt(len(kept)))


def test_every_measured_run_is_in_the_table() -> None:
    runs = json.loads(serving_errors.PANELS.read_text())["runs"]
    section = (SCRIPT.parent / "README.md").read_text().split("## Open-loop serving")[1]
    lines = [line for line in section.splitlines() if line.startswith("| vLLM")]
    found = [tuple(cell.strip() for cell in line.split("|")[1:6]) for line in lines]
    asked = [
        (run["engine"], run["lengths"], f"{run['rate']:g}", str(run["k"]), f"{run['ttft_s']:.3g}")
        for run in runs
    ]
    assert found == asked
