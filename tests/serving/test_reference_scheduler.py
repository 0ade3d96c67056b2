"""The plain scheduler against what can be counted by hand."""

import pytest
from support.reference_scheduler import PlainRequest, PlainScheduler, PlainSettings, PlainStep


def tokens_of(step: PlainStep) -> int:
    return sum(1 + drafts for _, drafts in step.decodes) + sum(new for _, new, _ in step.chunks)


def run(settings: PlainSettings, requests: list[PlainRequest], accepted: int = 0) -> PlainScheduler:
    scheduler = PlainScheduler(settings, lambda step: 1.0, lambda request, drafts: min(accepted, drafts))
    scheduler.run(requests)
    assert all(tokens_of(step) <= settings.max_num_batched_tokens for step in scheduler.steps)
    assert scheduler.free == settings.num_blocks
    return scheduler


def test_one_request_is_prefilled_in_chunks_then_decoded() -> None:
    request = PlainRequest(0, 2.0, prompt=100, output=4)
    scheduler = run(PlainSettings(max_num_batched_tokens=64), [request])
    assert [[(new, kv) for _, new, kv in step.chunks] for step in scheduler.steps] == [
        [(64, 0)],
        [(36, 64)],
        [],
        [],
        [],
    ]
    assert (request.scheduled_s, request.first_token_s, request.finish_s) == (2.0, 4.0, 7.0)


def test_accepted_drafts_shorten_the_run_and_the_end_is_cut() -> None:
    request = PlainRequest(0, 0.0, prompt=10, output=8)
    run(PlainSettings(k=3, lookahead=3), [request], accepted=2)
    # 1 token of the prefill, then 3 a step: 1, 4, 7, 8 (two are surplus)
    assert (request.steps, request.out, request.finish_s) == (4, 8, 4.0)


def test_a_preempted_request_computes_its_output_again() -> None:
    old, young = PlainRequest(0, 0.0, 16, 40), PlainRequest(1, 0.0, 16, 40)
    scheduler = run(PlainSettings(num_blocks=4), [old, young])
    assert old.preemptions == 0 and young.preemptions == 1 and old.finish_s < young.finish_s
    # both hold two blocks at 32 tokens; the third of the old one is taken from the young one, which waits
    # until the old one has ended and computes its 16 + 17 tokens again
    again = [new for step in scheduler.steps for request, new, _ in step.chunks if request is young]
    assert again == [16, 33] and (old.finish_s, young.finish_s) == (40.0, 63.0)


@pytest.mark.parametrize("budget", [3, 7])
def test_a_short_budget_cuts_the_tail_of_the_chain(budget: int) -> None:
    requests = [PlainRequest(i, 0.0, 1, 20) for i in range(2)]
    scheduler = run(PlainSettings(k=4, max_num_batched_tokens=budget), requests, accepted=4)
    drafts = {drafts for step in scheduler.steps for _, drafts in step.decodes}
    assert max(drafts) == min(4, budget - 1) and min(drafts) < 4
