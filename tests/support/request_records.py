"""A replay's record whose requests verified and stepped as told."""

import numpy as np

from svsim.records import GroupSums, RunRecord


def record(
    verified: list[float],
    steps: list[float],
    drafted: list[float] | None = None,
    accepted: list[float] | None = None,
) -> RunRecord:
    """One request per entry; what is not told is zero."""
    zero = np.zeros(len(steps))
    sums = GroupSums(
        emitted_tokens=zero,
        sequence_steps=np.array(steps),
        steps=zero,
        accepted_tokens=zero if accepted is None else np.array(accepted),
        verified_tokens=np.array(verified),
        drafted_tokens=zero if drafted is None else np.array(drafted),
        overhead_s=zero,
        draft_s=zero,
        companion_s=zero,
        verify_s=zero,
        prefill_s=zero,
    )
    return RunRecord(
        method="sv",
        params={"k": 5},
        num_speculative_tokens=5,
        batch_size=1,
        hardware="gpu",
        tensor_parallel=None,
        latency_source="test",
        num_requests=len(steps),
        sums=sums,
        estimator="ratio-of-sums",
        replay_kind="exact",
        lossless=False,
    )
