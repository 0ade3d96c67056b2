"""Does a rule that serves the batch neglect a request? Mean verification length, request by request.

Table 9 of Speculative Verification (arXiv 2509.24328) lists the five requests with the shortest and the five
with the longest mean.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from svsim.records import GroupSums, RunRecord
from svsim.speculation_math import Floats


@dataclass(frozen=True, slots=True)
class Fairness:
    """Verified draft tokens per step of each request; up to 4,096 requests stand for themselves, beyond that
    blocks of them do.

    lowest, highest: of the ``num_shown`` requests at either end, outermost first.
    never_verified: requests of which not one draft token was verified.
    """

    num_requests: int
    mean: float
    standard_deviation: float
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    never_verified: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def verification_lengths(sums: GroupSums) -> Floats:
    """Verified draft tokens per step of every request (group) that took a step, float64 [N]."""
    served = sums.sequence_steps > 0
    return np.asarray(sums.verified_tokens[served] / sums.sequence_steps[served])


def fairness_of(record: RunRecord, num_shown: int = 5) -> Fairness:
    """How evenly a replay's verification fell on its requests."""
    lengths = np.sort(verification_lengths(record.sums))
    return Fairness(
        num_requests=len(lengths),
        mean=float(lengths.mean()),
        standard_deviation=float(lengths.std()),
        lowest=tuple(lengths[:num_shown].tolist()),
        highest=tuple(lengths[::-1][:num_shown].tolist()),
        never_verified=int((lengths == 0).sum()),
    )
