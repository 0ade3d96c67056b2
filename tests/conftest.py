"""For all tests: one thread per process, these and the ones they start.

Two threads that share a core with other tests wait for each other, and small matrices gain nothing.
"""

import os
from typing import Any

for _library in ("OMP", "OPENBLAS", "MKL"):  # read when NumPy and torch are imported
    os.environ[f"{_library}_NUM_THREADS"] = "1"


def pytest_configure(config: Any) -> None:
    """Compile the loops before workers start: once, and not two writers of one cache file."""
    if not hasattr(config, "workerinput"):
        from svsim.engines import analytic, replay  # noqa: F401
