"""Out of memory: find the batch that would have fitted, and say so."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from svsim.errors import InfeasibleError

Result = TypeVar("Result")
# run(num_requests, on_round) -> result; on_round(position) is called after every position
Run = Callable[[int, Callable[[int], None]], Result]
PROBED_POSITIONS = 2


class _Enough(Exception):
    """A probe has seen what it wanted."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the host ran out of memory."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def run_or_name_fitting_batch(run: Run[Result], num_requests: int, on_round: Callable[[int], None]) -> Result:
    """``run`` all requests; out of memory, InfeasibleError names the largest halving that fits.

    Whether a smaller batch fits is tried, not computed: its caches are laid out in full length and a
    few positions are generated.
    """
    try:
        return run(num_requests, on_round)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    fitting = num_requests // 2
    while fitting >= 1 and not _fits(run, fitting):
        fitting //= 2
    if fitting == 0:
        raise InfeasibleError(
            f"out of memory with a batch of {num_requests} requests, and not even one fits; "
            "use smaller models, a shorter output, or a device with more memory"
        )
    raise InfeasibleError(
        f"out of memory with a batch of {num_requests} requests; "
        f"a batch of {fitting} fits: set `batch_size={fitting}`"
    )


def _fits(run: Run[Result], num_requests: int) -> bool:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

    def stop(position: int) -> None:
        if position >= PROBED_POSITIONS:
            raise _Enough

    try:
        run(num_requests, stop)
    except _Enough:
        return True
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
