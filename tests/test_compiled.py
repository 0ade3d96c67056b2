"""The disk cache of compiled loops: used again, but never after a change of any file compiled into them."""

import importlib.util
from pathlib import Path

import pytest
from numba.core import caching, config

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
    monkeypatch.setattr(config, "CACHE_DIR", "")
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


def test_an_index_of_old_sources_is_not_even_read(cache_hits, tmp_path):
    """It may hold types that are no more; numba would read it before it looks at its age."""
    cache_hits("as it was")
    (index,) = tmp_path.glob("__pycache__/*.nbi")
    index.write_bytes(index.read_bytes()[:-20])
    assert cache_hits("changed elsewhere") == 0
    assert len(list(tmp_path.glob("__pycache__/*.nbi"))) == 1, "files of old sources are removed"


def test_every_file_with_a_compiled_function_counts():
    package = Path(module.__file__).parent
    with_loops = {p for p in package.rglob("*.py") if b"@compiled(" in p.read_bytes()}
    assert with_loops <= set(module._sources())
    assert package / "engines" / "step.py" in with_loops


def test_where_nothing_can_be_written_every_process_compiles(cache_hits, monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert cache_hits("as it was") == cache_hits("as it was") == 0
    assert not module.is_compiled()


def test_the_cache_is_looked_for_where_numba_keeps_it(tmp_path, monkeypatch):
    """Of a package that cannot be written, or with NUMBA_CACHE_DIR, it is not beside the source."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    assert not module.is_compiled()
    folder = module._cache_folder(Path(module.__file__).parent / "engines" / "closed_loop.py")
    assert folder.is_relative_to(tmp_path)
    (folder / f"closed_loop.run_continuous-101.py311.{module._digest_of_sources()}.nbi").touch()
    assert module.is_compiled()
