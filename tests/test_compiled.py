"""The disk cache of compiled loops: used again, but never after a change of any file compiled into them."""

import importlib.util
from pathlib import Path

import pytest

from svsim import compiled as module

SOURCE = """
from svsim.compiled import compiled

@compiled()
def twice(x):
    return 2 * x
"""


@pytest.fixture
def cache_hits(tmp_path, monkeypatch):
    """Load the same file afresh, call its function, and say how often the cache on disk answered."""
    path = tmp_path / "loop.py"
    path.write_text(SOURCE)

    def load(digest):
        monkeypatch.setattr(module, "_digest_of_sources", lambda: digest)
        spec = importlib.util.spec_from_file_location("loop", path)
        loop = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loop)
        assert loop.twice(21) == 42
        return sum(loop.twice.stats.cache_hits.values())

    return load


def test_a_changed_source_is_compiled_again(cache_hits):
    assert cache_hits("as it was") == 0
    assert cache_hits("as it was") == 1
    assert cache_hits("changed elsewhere") == 0
    assert cache_hits("changed elsewhere") == 1


def test_every_file_with_a_compiled_function_counts():
    package = Path(module.__file__).parent
    with_loops = {p for p in package.rglob("*.py") if b"@compiled(" in p.read_bytes()}
    assert with_loops <= set(module._sources())
    assert package / "engines" / "step.py" in with_loops
