"""For all tests: one thread per process, these and the ones they start.

Two threads that share a core with other tests wait for each other, and small matrices gain nothing.
"""

import os
from importlib.util import find_spec
from typing import Any

pytest_plugins = ("support.triplets",)
NEEDS_TORCH = ("trace_capture", "calibration", "training", "campaign")
# `device/test_extras.py` says in the report why these are missing
if find_spec("torch") is None or find_spec("transformers") is None:
    collect_ignore = list(NEEDS_TORCH)

for _library in ("OMP", "OPENBLAS", "MKL"):  # read when NumPy and torch are imported
    os.environ[f"{_library}_NUM_THREADS"] = "1"


def pytest_configure(config: Any) -> None:
    """Compile the loops before workers start: once, and not two writers of one cache file."""
    if not hasattr(config, "workerinput"):
        from svsim.analytic_model import model  # noqa: F401
        from svsim.engines import replay  # noqa: F401
