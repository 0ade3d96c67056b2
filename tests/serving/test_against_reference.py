"""The compiled scheduler against the plain one, request by request, on random small cases."""

import pytest
from support.reference_scheduler import PlainScheduler
from support.serving_cases import OVERHEAD_S, K, equal_plain, random_case

SGLANG = {"order": "prefill-first", "admission": "ratio", "victim": "fewest"}
TRTLLM = {"admission": "finish"}


def runs(seeds: range, plain: dict[str, object], **changes: object) -> list[PlainScheduler]:
    return [equal_plain(*random_case(seed, **plain), **changes) for seed in seeds]


def count(schedulers: list[PlainScheduler], what: str) -> int:
    """Cases in which it happened."""
    return sum(any(getattr(step, what) for step in scheduler.steps) for scheduler in schedulers)


def mixes(scheduler: PlainScheduler) -> bool:
    return any(step.chunks and step.decodes for step in scheduler.steps)


def cuts(scheduler: PlainScheduler) -> bool:
    k = scheduler.settings.k
    return any(0 < drafts < k for step in scheduler.steps for _, drafts in step.decodes)


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_every_request_meets_the_same_moments(first: int) -> None:
    met = runs(range(first, first + 20), {})
    assert count(met, "preempted") > 3 and sum(map(mixes, met)) > 10


def test_a_short_budget_cuts_chains() -> None:
    met = runs(range(500, 510), {"k": K, "max_num_batched_tokens": 9, "max_num_seqs": 6})
    assert sum(map(cuts, met)) > 3


@pytest.mark.parametrize("first", range(100, 140, 20))
def test_steps_planned_ahead(first: int) -> None:
    met = runs(range(first, first + 20), {"ahead": True, "host_s": OVERHEAD_S})
    assert count(met, "preempted") > 3 and count(met, "in_vain") > 3 and sum(map(mixes, met)) > 10


def test_a_request_preempted_in_flight_drops_what_came_of_it() -> None:
    met = runs(range(200, 215), {"ahead": True, "host_s": OVERHEAD_S, "reserve_full_isl": False})
    assert count(met, "dropped") > 3


@pytest.mark.parametrize("ahead", [False, True])
def test_prompts_before_decodes_and_the_shortest_retracted(ahead: bool) -> None:
    host_s = OVERHEAD_S if ahead else 0.0
    met = runs(range(300, 320), {**SGLANG, "ahead": ahead, "host_s": host_s}, scheduler="sglang")
    assert count(met, "preempted") > 3 and not any(map(mixes, met))


@pytest.mark.parametrize("ahead", [False, True])
def test_only_what_can_finish_is_let_in(ahead: bool) -> None:
    host_s = OVERHEAD_S if ahead else 0.0
    met = runs(range(400, 420), {**TRTLLM, "ahead": ahead, "host_s": host_s}, scheduler="trtllm")
    assert count(met, "preempted") == 0 and sum(map(mixes, met)) > 5
