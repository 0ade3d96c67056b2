"""Conventions: whose way of running and counting is followed, svsim's own or a published benchmark's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from svsim.limits import MAX_BOOTSTRAP_GROUPS
from svsim.records import Estimator

Refill = Literal["continuous", "static"]
BatchOf = Literal["requests", "copies"]
Prefill = Literal["exclude", "include"]


@dataclass(frozen=True, slots=True)
class Convention:
    """A way of running and counting.

    is_fixed:               refill, batch_of and prefill are part of it (else they are defaults).
    refill, batch_of, prefill, profile_split: as in ``RunSettings``; the split is a default in any case.
    in_file_order:          requests come in the order of the file (else shuffled).
    num_prefilled:          output tokens that the prefill emits, so that decoding starts behind them.
    prefills_target_only:   the prefill of draft and companion is not counted.
    draft_of_one_sequence:  a drafter of one pass is priced at the tokens of a single sequence.
    estimator:              how goodput is formed of requests.
    """

    name: str
    is_fixed: bool
    refill: Refill
    batch_of: BatchOf
    prefill: Prefill
    profile_split: float
    in_file_order: bool
    num_prefilled: int
    prefills_target_only: bool
    draft_of_one_sequence: bool
    estimator: Estimator

    def num_groups(self, num_requests: int) -> int:
        """Bootstrap groups of so many requests: one each where every request's own ratio counts."""
        return num_requests if self.estimator == "mean-of-ratios" else min(num_requests, MAX_BOOTSTRAP_GROUPS)


NATIVE = Convention(
    name="native",
    is_fixed=False,
    refill="continuous",
    batch_of="requests",
    prefill="exclude",
    profile_split=0.5,
    in_file_order=False,
    num_prefilled=0,
    prefills_target_only=False,
    draft_of_one_sequence=False,
    estimator="ratio-of-sums",
)

# github.com/SpecDecode-Bench, simulator at commit 2fdccbd
SPECDECODE_BENCH = Convention(
    name="specdecode-bench",
    is_fixed=True,
    refill="static",
    batch_of="copies",
    prefill="include",
    profile_split=0.0,
    in_file_order=True,
    num_prefilled=1,
    prefills_target_only=True,
    draft_of_one_sequence=True,
    estimator="mean-of-ratios",
)

CONVENTIONS: Mapping[str, Convention] = {c.name: c for c in (NATIVE, SPECDECODE_BENCH)}
