"""Laws of queues, met by the serving loop: one request at a time, every step of the same length.

Tolerances are four standard errors of independent runs.
"""

import numpy as np
import pytest
from support.serving_runs import ENDLESS, SmallServer, served, small_trace, steps_of

from svsim.serving.state import RUNNING_S, WAITING_S

LOAD, NUM_RUNS, NUM_REQUESTS, WARM_UP = 0.7, 20, 12_000, 2_000


@pytest.fixture(scope="module")
def queue() -> SmallServer:
    """A prompt of one token is one step, and so is every further token."""
    return SmallServer("td", small_trace(), steps_of(1.0), max_num_seqs=1, max_num_batched_tokens=64)


def waits(queue: SmallServer, mean_steps: float) -> tuple[float, float]:
    """Mean wait and its standard error; geometric numbers of steps."""
    means = []
    for run in range(NUM_RUNS):
        rng = np.random.default_rng(run)
        arrivals = np.cumsum(rng.exponential(mean_steps / LOAD, NUM_REQUESTS))
        steps = rng.geometric(1.0 / mean_steps, NUM_REQUESTS)
        done = served(queue.replica(), queue.requests(arrivals, 1, steps))
        means.append((done["scheduled_s"] - done["arrival_s"])[WARM_UP:].mean())
    return float(np.mean(means)), float(np.std(means, ddof=1) / np.sqrt(NUM_RUNS))


def test_equal_service_waits_as_m_d_1(queue: SmallServer) -> None:
    found, error = waits(queue, 1.0)
    assert error < 0.05 and found == pytest.approx(LOAD / (2 * (1 - LOAD)), abs=4 * error)


def test_geometric_service_waits_as_pollaczek_and_khinchine_say(queue: SmallServer) -> None:
    p = 1 / 2.5
    found, error = waits(queue, 1 / p)
    expected = LOAD * p * (2 - p) / p**2 / (2 * (1 - LOAD))
    assert error < 0.03 * expected and found == pytest.approx(expected, abs=4 * error)


def test_many_short_steps_wait_as_m_m_1(queue: SmallServer) -> None:
    """In the limit: with geometric service of mean m, the wait is 1 / (2 m) shorter."""
    mean = 15.0
    found, error = waits(queue, mean)
    below = 1 - 1 / (2 * mean)
    assert error < 0.03 * found
    assert found == pytest.approx(mean * LOAD / (1 - LOAD) * below, abs=4 * error)


def busy_requests(server: SmallServer, rate: float, num: int = 300, scale: float = 1.0):
    rng = np.random.default_rng(1)
    arrivals = np.cumsum(rng.exponential(1 / rate, num)) * scale
    return server.requests(arrivals, rng.integers(1, 300, num), rng.integers(1, 60, num))


@pytest.fixture(scope="module")
def drafting() -> SmallServer:
    return SmallServer("sd:k=4", small_trace(), max_num_seqs=8, max_num_batched_tokens=256)


@pytest.mark.parametrize("scheduling", ["sync", "async"])
def test_little(drafting: SmallServer, scheduling: str) -> None:
    """Seconds summed over requests are those summed over time: in the queue, and in the system."""
    replica = drafting.replica(num_blocks=90, scheduling=scheduling)
    done = served(replica, busy_requests(drafting, 12.0))
    timeline = replica.replica.account.timeline.sum(axis=0)
    in_system = (done["finish_s"] - done["arrival_s"]).sum()
    assert done["preemptions"].sum() > 0
    assert timeline[WAITING_S] + timeline[RUNNING_S] == pytest.approx(in_system, rel=1e-9)
    calm = drafting.replica(scheduling=scheduling)
    done = served(calm, busy_requests(drafting, 12.0))
    waited = (done["scheduled_s"] - done["arrival_s"]).sum()
    assert waited > 0.0
    assert calm.replica.account.timeline[:, WAITING_S].sum() == pytest.approx(waited, rel=1e-9)


def test_half_as_long_steps_at_twice_the_rate_change_nothing() -> None:
    found = []
    for scale in (1.0, 0.5):
        server = SmallServer("td", small_trace(), steps_of(0.02 * scale), max_num_seqs=4)
        done = served(server.replica(), busy_requests(server, 20.0, scale=scale))
        found.append(np.stack([done[name] / scale for name in ("scheduled_s", "first_token_s", "finish_s")]))
    np.testing.assert_array_equal(*found)


def test_rare_requests_take_as_long_as_a_single_one(drafting: SmallServer) -> None:
    together = busy_requests(drafting, 1e-4, 40)
    done = served(drafting.replica(), together)
    for one in (0, 7, 39):
        alone = served(drafting.replica(), together[one : one + 1].copy())
        for name in ("first_token_s", "finish_s"):
            took = done[name][one] - done["arrival_s"][one]
            assert took == pytest.approx(alone[name][0] - alone["arrival_s"][0], rel=1e-6)
    assert (done["scheduled_s"] == done["arrival_s"]).all()


def test_an_endless_cache_is_one_that_is_never_full(drafting: SmallServer) -> None:
    endless = served(drafting.replica(ENDLESS), busy_requests(drafting, 12.0))
    roomy = served(drafting.replica(8 * 25), busy_requests(drafting, 12.0))
    assert endless.tobytes() == roomy.tobytes()
    assert (served(drafting.replica(90), busy_requests(drafting, 12.0))["preemptions"] > 0).any()
