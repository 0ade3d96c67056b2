"""How svsim compiles its inner loops.

``compiled`` functions are cached on disk, release the GIL, and never allocate: without reference
counting (``_nrt=False``) passing a named tuple of arrays costs nothing, which makes a step ten times
cheaper. Slices are views; anything that would allocate fails to compile.
"""

from functools import partial
from pathlib import Path

from numba import njit

compiled = partial(njit, cache=True, nogil=True, error_model="numpy", _nrt=False)


def is_compiled() -> bool:
    """Whether the loops are in the disk cache already (else a first run compiles for some seconds)."""
    return any(Path(__file__).parent.glob("engines/__pycache__/closed_loop.run_continuous*.nbi"))
