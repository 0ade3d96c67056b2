"""Where the shared test data lies, or why a test that needs it is skipped."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("SVSIM_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def shared(*parts: str) -> Path:
    """The path of a shared file; skips the test where it is absent."""
    path = ROOT.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"shared test data {'/'.join(parts)} is absent (set SVSIM_SHARED_DATA to its folder)")
    return path
