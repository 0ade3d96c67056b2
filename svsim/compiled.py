"""How svsim compiles its inner loops.

``compiled`` functions are cached on disk, release the GIL, and never allocate: without reference
counting (``_nrt=False``) passing a named tuple of arrays costs nothing, which makes a step ten times
cheaper. Slices are views; anything that would allocate fails to compile.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

_PACKAGE = Path(__file__).parent
_jit: Any = njit  # _nrt is not in its signature


def compiled(signature: Any = None) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: compile at the first call, or at once for a signature."""

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = _jit(nogil=True, error_model="numpy", _nrt=False)(function)
        dispatcher.enable_caching()
        # numba looks at a function's own file only, and forgets the functions that were compiled into it
        cache_file = dispatcher._cache._cache_file
        cache_file._source_stamp = (cache_file._source_stamp, _digest_of_sources())
        if signature is not None:
            dispatcher.compile(signature)
            dispatcher.disable_compile()
        return dispatcher

    return decorate


@cache
def _digest_of_sources() -> str:
    """One digest of all files with compiled functions."""
    digest = hashlib.blake2b(digest_size=8)
    for path in _sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources() -> list[Path]:
    """Files with compiled functions, and this one."""
    files = [path for room in ("decoding", "engines") for path in sorted((_PACKAGE / room).glob("*.py"))]
    return [Path(__file__), *(path for path in files if b"@compiled(" in path.read_bytes())]


def is_compiled() -> bool:
    """Whether the loops are in the disk cache already (else a first run compiles for some seconds)."""
    made = [p.stat().st_mtime for p in _PACKAGE.glob("engines/__pycache__/closed_loop.run_continuous*.nbi")]
    return bool(made) and max(made) > max(path.stat().st_mtime for path in _sources())
