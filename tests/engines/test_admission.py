"""The queue by its definitions: warm-up, cycles, measured places, stagger, which slot is next."""

from itertools import islice

import numpy as np
import pytest
from support.small_traces import independent_trace

from svsim.engines import admission
from svsim.engines.admission import (
    Admission,
    free_slot,
    is_done,
    is_measured,
    is_used_up,
    next_stretch,
    num_skipped,
    queue_of_passes,
    take_next,
)
from svsim.engines.convention import CONVENTIONS, NATIVE, SPECDECODE_BENCH
from svsim.engines.step import NUM_FINISHED, new_batch
from svsim.limits import MAX_BOOTSTRAP_GROUPS
from svsim.trace.parts import EvaluationPart

NUM_REQUESTS = 5


@pytest.fixture
def part():
    return EvaluationPart.of(independent_trace(NUM_REQUESTS, 2, output_tokens=(10, 11)))


def places(admission_, num_slots, copies, num_places):
    """The first places of the queue, taken one by one."""
    queue, taken, measured = admission_.queue(num_slots, copies), [], []
    stretches = admission_.stretches()
    while len(taken) < num_places:
        if is_used_up(queue):
            queue = next_stretch(queue, admission_.order(next(stretches), num_slots, copies))
        measured.append(bool(is_measured(queue)))
        taken.append(int(take_next(queue)))
    return taken, measured


@pytest.mark.parametrize("num_slots, copies", [(1, 1), (3, 1), (4, 1), (3, 3)])
def test_a_warm_up_of_two_a_slot_then_whole_cycles(monkeypatch, part, num_slots, copies):
    monkeypatch.setattr(admission, "MIN_POSITIONS", 2 * part.num_positions)
    of_part = Admission(part, seed=1)
    assert of_part.num_cycles == 2
    warm_up, in_cycle = 2 * num_slots, NUM_REQUESTS * copies
    taken, measured = places(of_part, num_slots, copies, warm_up + 3 * in_cycle)
    assert measured == [False] * warm_up + [True] * (2 * in_cycle) + [False] * in_cycle
    begin = np.repeat(np.arange(NUM_REQUESTS), copies).tolist()
    cycles = [taken[warm_up + c * in_cycle :][:in_cycle] for c in range(3)]
    assert [sorted(cycle) for cycle in cycles] == [begin] * 3
    assert len({tuple(cycle) for cycle in cycles}) == 3, "a permutation of its own each"
    if copies > 1:
        assert all(len(set(taken[i : i + copies])) == 1 for i in range(0, len(taken), copies))
    else:
        assert set(taken[:NUM_REQUESTS]) == set(range(NUM_REQUESTS)) or warm_up < NUM_REQUESTS
        assert taken[:warm_up][NUM_REQUESTS:] == taken[: max(warm_up - NUM_REQUESTS, 0)], "over and over"


def test_stretches_of_any_size_give_one_queue(monkeypatch, part):
    monkeypatch.setattr(admission, "MIN_POSITIONS", 6 * part.num_positions)
    together, _ = places(Admission(part, seed=1), 2, 1, 60)
    monkeypatch.setattr(admission, "REQUESTS_PER_STRETCH", 1)
    assert [len(s.cycles) for s in islice(Admission(part, seed=1).stretches(), 2)] == [1, 1]
    assert places(Admission(part, seed=1), 2, 1, 60)[0] == together


def test_the_order_of_the_file(part):
    taken, _ = places(Admission(part, seed=1, in_file_order=True), 2, 1, 4 + 10)
    assert taken[4:] == [0, 1, 2, 3, 4] * 2
    batches = Admission(part, seed=1, in_file_order=True).batches
    stretch = next(Admission(part, seed=1).stretches())
    full, left = batches(stretch, 2)
    assert (full.tolist(), left.tolist()) == ([[0, 1], [2, 3]], [4])
    full, left = batches(stretch, 3, num_left=2)
    assert (full.tolist(), left.tolist()) == ([[0, 1, 2], [3, 4, 5]], [6]), "those left over come first"
    assert batches(stretch, 2, copies=2)[0].tolist() == [[r, r] for r in range(NUM_REQUESTS)]


def test_only_first_sequences_skip(part):
    """Uniformly far into their request, each slot by itself."""
    of_part = Admission(part, seed=1)
    queue = of_part.queue(3)
    queue = next_stretch(queue, of_part.order(next(of_part.stretches()), 3))
    skipped = []
    for _ in range(5):
        skipped.append(num_skipped(queue, 1000))
        take_next(queue)
    assert skipped[3:] == [0, 0] and len(set(skipped[:3])) == 3 and 0 <= min(skipped) <= max(skipped) < 1000
    many = of_part.queue(4000).skips
    assert many.mean() == pytest.approx(0.5, abs=4 * (1 / 12 / 4000) ** 0.5)


def test_empty_slots_first_then_the_last_that_ended(part):
    of_part, batch = Admission(part, seed=1), new_batch(3, 1)
    queue = next_stretch(of_part.queue(3), of_part.order(next(of_part.stretches()), 3))
    for slot in range(3):
        assert free_slot(queue, batch) == slot
        take_next(queue)
    assert free_slot(queue, batch) == -1
    batch.finished[:2], batch.counters[NUM_FINISHED] = (0, 2), 2
    assert free_slot(queue, batch) == 2


def test_done_when_every_measured_sequence_ended(part):
    queue = Admission(part, seed=1).queue(2)
    for _ in range(int(queue.measured[1] - queue.measured[0])):
        assert not is_done(queue)
        queue.progress[admission.NUM_DONE] += 1
    assert is_done(queue)


@pytest.mark.parametrize("of_copies", [False, True])
def test_passes_end_with_a_measured_one(monkeypatch, of_copies):
    num_rows, num_slots = np.full(NUM_REQUESTS, 10), 3
    monkeypatch.setattr(admission, "MIN_POSITIONS", 3 * 50)
    queue = queue_of_passes(num_rows, num_slots, np.random.default_rng(0), of_copies)
    copies = num_slots if of_copies else 1
    assert queue.measured[0] == 2 * NUM_REQUESTS * copies
    assert len(queue.order) == 3 * NUM_REQUESTS * copies + (0 if of_copies else 2 * num_slots)
    last = queue.order[queue.measured[0] :][: NUM_REQUESTS * copies]
    assert sorted(last) == np.repeat(np.arange(NUM_REQUESTS), copies).tolist()
    assert not queue.skips.any()


def test_groups_of_conventions():
    assert list(CONVENTIONS) == ["native", "specdecode-bench"]
    many = MAX_BOOTSTRAP_GROUPS + 1
    assert NATIVE.num_groups(many) == MAX_BOOTSTRAP_GROUPS and NATIVE.num_groups(3) == 3
    assert SPECDECODE_BENCH.num_groups(many) == many, "every request's own ratio counts"
