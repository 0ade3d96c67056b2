"""How svsim compiles its inner loops.

A function with a signature is an entry: Python calls it, and it is loaded (or compiled) at its first call, so
that a run pays for what it uses. Without one, it is compiled into those that call it.

``compiled`` functions are cached on disk (beside the source, else in the user's cache folder), release the
GIL, and never allocate: without reference counting (``_nrt=False``) passing a named tuple of arrays costs
nothing, which makes a step ten times cheaper. Slices are views; anything that would allocate fails to
compile.
"""

import glob
import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import CacheImpl, IndexDataCacheFile
from numba.core.compiler_lock import global_compiler_lock

_PACKAGE = Path(__file__).parent
_jit: Any = njit  # _nrt is not in its signature
_CacheFile: Any = IndexDataCacheFile


def compiled(signature: Any = None, *, is_hot: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: an ``Entry`` for a signature, else a function for other compiled ones to call.

    is_hot: copied into its callers, as a call hands over every array of a named tuple by value.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        return _dispatcher(function, is_hot) if signature is None else Entry(function, signature)

    return decorate


class Entry:
    """A compiled function of one signature, loaded at its first call. ``loaded`` goes to compiled callers."""

    def __init__(self, function: Callable[..., Any], signature: Any) -> None:
        self._function, self._signature = function, signature
        self.__name__, self.__doc__ = function.__name__, function.__doc__

    def __call__(self, *arguments: Any) -> Any:
        return self.loaded(*arguments)

    @cached_property
    def loaded(self) -> Any:
        """numba's function; where threads will call it, ``load`` it before they start."""
        dispatcher = _dispatcher(self._function)
        if not _load_kept(dispatcher, self._signature):
            dispatcher.compile(self._signature)
        dispatcher.disable_compile()
        return dispatcher


def load(*entries: Entry) -> None:
    """Load entries before threads call them: no thread may look up types while another compiles."""
    for entry in entries:
        entry.loaded  # noqa: B018


def _load_kept(dispatcher: Any, signature: Any) -> bool:
    """Take the function from the disk cache as numba does, without what only compiling needs.

    numba would first set up its typing and lowering of all of NumPy, and import scipy.linalg for it: longer
    than all else a second run loads. False: nothing is kept, or this numba keeps it in another way.
    """
    with suppress(Exception):
        kept, context = dispatcher._cache, dispatcher.targetctx
        with global_compiler_lock:
            found = kept._load_overload(signature, context)
            if found is not None:
                context.insert_user_function(found.entry_point, found.fndesc, [found.library])
                dispatcher.add_overload(found)
        return found is not None
    return False


def _dispatcher(function: Callable[..., Any], is_hot: bool = False) -> Any:
    """numba's function with its place in the disk cache."""
    dispatcher = _jit(nogil=True, error_model="numpy", _nrt=False, forceinline=is_hot)(function)
    if _cache_folder(Path(function.__code__.co_filename)):
        dispatcher.enable_caching()
        _keep_by_digest(dispatcher._cache)
    return dispatcher


def _keep_by_digest(kept: Any) -> None:
    """Files of a function carry the digest of all that may be compiled into it.

    numba looks at the function's own file only; and an index of old sources may not even be readable.
    """
    base = kept._impl.filename_base
    named = f"{base}.{_digest_of_sources()}"
    for old in Path(kept.cache_path).glob(f"{glob.escape(base)}.*.nb?"):
        if not old.name.startswith(named):
            with suppress(OSError):
                old.unlink()
    kept._cache_file = _CacheFile(kept.cache_path, named, kept._impl.locator.get_source_stamp())


def _cache_folder(source: Path) -> Path | None:
    """Where numba keeps what it compiled of a file; None where it may write nowhere: nothing is kept then."""
    locators: Any = CacheImpl._locator_classes
    for locator in locators:
        found = locator.from_function(_cache_folder, str(source))
        if found is not None:
            return Path(found.get_cache_path())
    return None


@cache
def _digest_of_sources() -> str:
    """One digest of all files with compiled functions."""
    digest = hashlib.blake2b(digest_size=8)
    for path in _sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources() -> list[Path]:
    """Files with compiled functions, and what they share with all rooms."""
    files = [
        path
        for room in ("decoding", "engines", "analytic_model", "serving")
        for path in sorted((_PACKAGE / room).glob("*.py"))
    ]
    loops = [path for path in files if b"@compiled(" in path.read_bytes()]
    return [Path(__file__), _PACKAGE / "limits.py", *loops]


def is_compiled() -> bool:
    """Whether the loops are in the disk cache already (else a first run compiles for some seconds)."""
    folder = _cache_folder(_PACKAGE / "engines" / "closed_loop.py")
    return folder is not None and any(folder.glob(f"closed_loop.run_continuous*.{_digest_of_sources()}.nbi"))
