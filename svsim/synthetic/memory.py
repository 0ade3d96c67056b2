"""What a synthetic trace needs while it is made, told before the work."""

import os

from svsim.errors import InputError
from svsim.synthetic.settings import SyntheticSettings

# Six float32 columns [T, K] of the trace; as much again while it is measured and written.
BYTES_PER_DRAFT_TOKEN = 2 * 6 * 4
BYTES_PER_POSITION = 64
BYTES_PER_REQUEST = 600  # texts, lengths and the plan
SHARE_OF_MEMORY = 0.8


def needed_bytes(settings: SyntheticSettings) -> float:
    """Memory of ``synthesize`` and what follows, roughly."""
    share = sum(task.share for task in settings.tasks)
    mean_tokens = sum(task.share * task.output_tokens.mean for task in settings.tasks) / share
    per_position = BYTES_PER_DRAFT_TOKEN * settings.num_speculative_tokens + BYTES_PER_POSITION
    return settings.num_requests * (mean_tokens * per_position + BYTES_PER_REQUEST)


def check_memory(settings: SyntheticSettings) -> None:
    """InputError, saying what it would need, for a trace that this machine cannot hold."""
    _check(settings.num_requests, needed_bytes(settings), "synthetic trace")


def check_requests(num_requests: int, mean_output_tokens: float) -> None:
    """The same for so many requests of reported acceptance, which have no signals."""
    per_request = mean_output_tokens * BYTES_PER_POSITION + BYTES_PER_REQUEST
    _check(num_requests, num_requests * per_request, "trace of reported acceptance")


def _check(num_requests: int, needed_bytes: float, what: str) -> None:
    room = SHARE_OF_MEMORY * memory_bytes()
    if needed_bytes > room:
        most = int(num_requests * room / needed_bytes)
        raise InputError(
            f"{what}: {num_requests:,} requests need about {needed_bytes / 2**30:,.1f} GiB of memory, "
            f"expected at most {room / 2**30:,.1f} GiB here; ask for `num_requests` up to {most:,}, or for "
            "shorter outputs"
        )


def memory_bytes() -> int:
    """Of this machine, or what its container may use."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = file.read().strip()
    except OSError:
        return physical
    return min(physical, int(limit)) if limit.isdigit() else physical
