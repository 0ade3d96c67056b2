"""SpecDecode-Bench recordings as traces."""

from pathlib import Path

from svsim.importing.formats import import_acceptance
from svsim.importing.record import ImportOptions
from svsim.trace.token_trace import TokenTrace


def specdecode_bench_trace(path: Path, drafter: str | None = None, k: int | None = None) -> TokenTrace:
    """The trace of one drafter of a file in that form."""
    return import_acceptance("specdecode-bench", [path], ImportOptions(drafter=drafter, k=k)).trace
