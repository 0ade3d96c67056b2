"""What holds in every run is checked, and a breach is found."""

import numpy as np
import pytest
from support.serving_runs import SmallServer, small_trace

from svsim.errors import InvariantError
from svsim.serving.replica import ReplicaEngine
from svsim.serving.state import FREE_BLOCKS, NUM_FREE_ROWS, Requests


@pytest.fixture(scope="module")
def server() -> SmallServer:
    return SmallServer("sd:k=4", small_trace(), max_num_seqs=8, max_num_batched_tokens=128)


def busy(server: SmallServer, scheduling: str = "sync") -> tuple[ReplicaEngine, Requests]:
    """A replica in the middle of a run."""
    rng = np.random.default_rng(0)
    replica = server.replica(num_blocks=70, scheduling=scheduling)
    coming = server.requests(
        np.sort(rng.uniform(0, 4, 80)), rng.integers(1, 300, 80), rng.integers(1, 60, 80)
    )
    replica.advance(coming, 3.0)
    return replica, coming


@pytest.mark.parametrize("scheduling", ["sync", "async"])
def test_they_hold_at_every_moment(server: SmallServer, scheduling: str) -> None:
    replica, coming = busy(server, scheduling)
    finished = [replica.take_done()]
    for now_s in np.arange(3.05, 12.0, 0.05):
        before_s = replica.now_s
        replica.advance(coming, now_s)
        assert replica.now_s >= before_s
        finished.append(replica.take_done())
    done = np.concatenate(finished)
    assert sorted(done["row"]) == list(range(80)) and done["preemptions"].sum() > 0
    assert replica.replica.counters[FREE_BLOCKS] == 70


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("scheduled_s", -5.0, "arrival_s after scheduled_s"),
        ("first_token_s", 1e9, "first_token_s after finish_s"),
        ("finish_s", np.nan, "after finish_s"),
        ("out", 0, "emitted are not those"),
        ("verified", 10**6, "verified than drafted"),
        ("accepted", 10**6, "accepted than verified"),
        ("decode_steps", 0, "drafted in a step"),
        ("decode_steps", 10**6, r"accepted \+ 1"),
    ],
)
def test_a_finished_request_that_breaks_one(
    server: SmallServer, column: str, value: float, what: str
) -> None:
    replica, _ = busy(server)
    longest = int(np.argmax(replica.replica.done["drafted"]))
    replica.replica.done[column][longest] = value
    with pytest.raises(InvariantError, match=what):
        replica.take_done()


@pytest.mark.parametrize(
    ("counter", "what"), [(FREE_BLOCKS, "KV blocks"), (NUM_FREE_ROWS, "neither running")]
)
def test_a_replica_that_breaks_one(server: SmallServer, counter: int, what: str) -> None:
    replica, _ = busy(server)
    replica.replica.counters[counter] += 1
    with pytest.raises(InvariantError, match=what):
        replica.take_done()
