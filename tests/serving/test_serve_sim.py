"""The open loop from the outside: same bytes however it is cut, nothing lost, one line for what cannot be."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import svsim
from svsim.errors import InfeasibleError, InputError
from svsim.latency.linear import LinearLatency
from svsim.open_loop.options import ServeOptions
from svsim.open_loop.understand import understand
from svsim.options import RunOptions
from svsim.serving import state
from svsim.serving.arrivals import Arrivals
from svsim.serving.demand import Demand
from svsim.serving.lengths import LengthLaw
from svsim.serving.simulation import Failure, Fleet, Horizon, Replication, ReplicationRecord
from svsim.serving.state import RUNNING_S, WAITING_S
from svsim.workload.files import read_workload

DOCUMENT = {
    "kind": "linear",
    "target": {"fixed_s": 0.01, "per_new_token_s": 2e-5, "per_kv_token_s": 1e-8},
    "overhead_per_step_s": 0.001,
}
LATENCY = LinearLatency.from_json(DOCUMENT, "test")
SMALL = {"latency": LATENCY, "lengths": "fixed:60/12", "duration": 20.0, "replications": 2, "jobs": 1}


def fleet_of(**changes: object) -> Fleet:
    options = ServeOptions(
        RunOptions(latency=LATENCY),
        arrivals="poisson:rate=1",
        lengths="fixed:60/12",
        max_num_seqs=8,
        kv_blocks=40,
    )
    (cell,) = understand(None, options).cells
    return Fleet(cell.fleet.prices, cell.fleet.rules, **changes)  # type: ignore[arg-type]


def demand_of(text: str, duration_s: float = 20.0) -> Demand:
    return Demand(Arrivals.parse(text), LengthLaw.parse("uniform:60/12/0.5"), None, None, duration_s)


def same(one: ReplicationRecord, other: ReplicationRecord) -> None:
    assert one.requests.tobytes() == other.requests.tobytes()
    assert one.timeline[:-1].tobytes() == other.timeline[:-1].tobytes()
    assert one.step_gaps[:-1].tobytes() == other.step_gaps[:-1].tobytes()


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("poisson:rate=20", {}),
        ("poisson:rate=40", {"num_replicas": 3, "router": "least-loaded"}),
        ("closed:users=12,think=0.2", {"num_replicas": 2}),
        ("poisson:rate=30", {"num_replicas": 2, "failures": (Failure(0, 5.0, 3.0),)}),
    ],
)
def test_the_length_of_windows_changes_no_byte(text: str, changes: dict[str, object]) -> None:
    fleet, demand = fleet_of(**changes), demand_of(text)
    found = [
        Replication(demand, fleet, Horizon.of(20.0, 5.0, window_s), 0).run()
        for window_s in (20.0, 1.25, 0.07)
    ]
    assert len(found[0].requests) > 100 and found[0].num_unfinished == 0
    same(found[0], found[1])
    same(found[0], found[2])


@pytest.mark.parametrize("text", ["poisson:rate=30", "closed:users=12,think=0.1"])
def test_a_failure_loses_no_request_and_no_token(text: str) -> None:
    demand, horizon = demand_of(text), Horizon.of(20.0, 0.0)
    failures = (Failure(0, 4.0, 3.0), Failure(1, 6.0, 2.0), Failure(1, 15.0, 1.0))  # at times nobody is up
    calm = Replication(demand, fleet_of(num_replicas=2), horizon, 0).run()
    rough = Replication(demand, fleet_of(num_replicas=2, failures=failures), horizon, 0).run()
    assert rough.num_unfinished == 0
    np.testing.assert_array_equal(rough.requests["out"], rough.requests["output"])
    if text.startswith("poisson"):
        for name in ("row", "arrival_s", "prompt", "output"):
            np.testing.assert_array_equal(rough.requests[name], calm.requests[name], err_msg=name)
    assert rough.requests["preemptions"].sum() > calm.requests["preemptions"].sum()
    first_s = rough.requests["first_token_s"] - rough.requests["arrival_s"]
    assert first_s.max() > (calm.requests["first_token_s"] - calm.requests["arrival_s"]).max() + 0.5
    moments = rough.requests["scheduled_s"]  # nothing is scheduled while both are down
    assert not ((moments > 6.2) & (moments < 7.0)).any()


def test_time_in_the_system_is_the_area_under_the_requests_in_it() -> None:
    horizon = Horizon.of(20.0, 0.0)
    record = Replication(demand_of("poisson:rate=20"), fleet_of(), horizon, 0).run()
    done = record.requests
    area = record.timeline[:, [RUNNING_S, WAITING_S]].sum()
    inside = (done["finish_s"] - done["arrival_s"]).sum()
    # arrivals behind the end are in the area, waits within a step are not
    assert area == pytest.approx(inside, rel=0.06)


@pytest.mark.parametrize("scheduling", ["sync", "async"])
def test_the_parts_of_all_steps_are_the_busy_seconds(scheduling: str) -> None:
    fleet = fleet_of()
    fleet = dataclasses.replace(fleet, rules=fleet.rules._replace(is_async=scheduling == "async"))
    line = Replication(demand_of("poisson:rate=20"), fleet, Horizon.of(20.0, 0.0), 0).run().timeline
    parts = line[:, [state.HOST_S, state.DRAFT_S, state.COMPANION_S, state.VERIFY_S, state.PREFILL_S]]
    np.testing.assert_allclose(parts.sum(axis=1), line[:, state.BUSY_S], rtol=1e-9, atol=1e-9)
    assert (line[:-1, state.BUSY_S] > 0).any() and line[:, state.DRAFT_S].sum() == 0
    host_s, steps = line[:, state.HOST_S].sum(), line[:, state.STEPS].sum()
    expected = DOCUMENT["overhead_per_step_s"] * steps if scheduling == "sync" else 0.0
    assert host_s == pytest.approx(expected, rel=1e-9, abs=1e-9)  # ahead, the device hides it


def test_sessions_are_routed_by_load_too(tmp_path: Path) -> None:
    lines = [
        f'{{"timestamp": {40 * i}, "input_length": 40, "output_length": 12, "session_id": "{i}"}}\n'
        f'{{"delay": 100, "input_length": 90, "output_length": 4, "session_id": "{i}"}}'
        for i in range(30)
    ]
    path = tmp_path / "w.jsonl"
    path.write_text("\n".join(lines) + "\n")
    demand = Demand(None, LengthLaw(), read_workload(path, "aiperf"), None, 10.0)
    found = [
        Replication(demand, fleet_of(num_replicas=2, router=router), Horizon.of(10.0, 0.0, window_s), 0).run()
        for router, window_s in (("least-loaded", 2.0), ("least-loaded", 0.3), ("round-robin", 2.0))
    ]
    assert all(len(record.requests) == 60 and record.num_unfinished == 0 for record in found)
    same(found[0], found[1])
    assert found[0].requests.tobytes() != found[2].requests.tobytes()


def test_workers_change_no_byte() -> None:
    documents = [
        json.dumps(svsim.serve_sim(arrivals="poisson:rate=20", **{**SMALL, "jobs": jobs}).to_dict())
        for jobs in (1, 3)
    ]
    assert documents[0] == documents[1]


def test_least_loaded_waits_less_than_round_robin() -> None:
    lengths = LengthLaw.parse("lognormal:60/12/1")
    demand = dataclasses.replace(demand_of("poisson:rate=140", 40.0), lengths=lengths)
    waits = []
    for router in ("round-robin", "least-loaded"):
        fleet = fleet_of(num_replicas=3, router=router)
        fleet = dataclasses.replace(fleet, rules=fleet.rules._replace(num_blocks=1000))
        done = Replication(demand, fleet, Horizon.of(40.0, 0.0), 0).run().requests
        waits.append((done["scheduled_s"] - done["arrival_s"]).mean())
    assert waits[1] < 0.9 * waits[0]


def test_a_drawn_request_that_no_replica_can_hold_ends_the_run() -> None:
    demand = dataclasses.replace(demand_of("poisson:rate=50"), lengths=LengthLaw.parse("lognormal:60/12/2"))
    with pytest.raises(InfeasibleError, match="KV cache holds 640"):
        Replication(demand, fleet_of(), Horizon.of(20.0, 0.0), 0).run()


def test_users_wait_for_their_answers() -> None:
    record = Replication(demand_of("closed:users=5,think=0.3"), fleet_of(), Horizon.of(20.0, 0.0), 0).run()
    done = record.requests
    for user in range(5):
        mine = done[done["row"] % 5 == user]
        np.testing.assert_allclose(mine["arrival_s"][1:], mine["finish_s"][:-1] + 0.3)


def test_sessions_follow_their_turns(tmp_path: Path) -> None:
    lines = [
        '{"timestamp": 0, "input_length": 40, "output_length": 8, "session_id": "a"}',
        '{"delay": 500, "input_length": 90, "output_length": 4, "session_id": "a"}',
        '{"timestamp": 100, "input_length": 20, "output_length": 6, "session_id": "b"}',
    ]
    path = tmp_path / "w.jsonl"
    path.write_text("\n".join(lines) + "\n")
    demand = Demand(None, LengthLaw(), read_workload(path, "aiperf"), None, 10.0)
    done = Replication(demand, fleet_of(), Horizon.of(10.0, 0.0), 0).run().requests
    done = np.sort(done, order="row")
    assert list(done["row"]) == [0, 1, 2]
    assert done["arrival_s"][1] == pytest.approx(done["finish_s"][0] + 0.5)
    assert demand.requests(0).table["cached"][1] == 48  # type: ignore[index]


def test_overload_is_said_and_its_capacity_is_the_completed_rate() -> None:
    table = svsim.serve_sim(arrivals="poisson:rate=200", max_num_seqs=8, **SMALL)
    (row,) = table.rows
    assert row["saturated"] and row["request_throughput"] < 100
    assert any("saturated" in note for note in table.notes)
    calm = svsim.serve_sim(arrivals="poisson:rate=5", max_num_seqs=8, **SMALL).rows[0]
    assert not calm["saturated"]
    assert calm["request_throughput_ci_low"] < 5 < calm["request_throughput_ci_high"]


def test_objectives_are_counted_by_request_and_by_percentile() -> None:
    table = svsim.serve_sim(
        arrivals="poisson:rate=20", slo=["ttft:p99=10", "tpot:mean=0.0001", "good=0.5"], **SMALL
    )
    (row,) = table.rows
    assert [slo["met"] for slo in row["slo"]] == [True, False, False]
    assert row["slo_attainment"] == 0 and row["request_goodput"] == 0


def test_a_single_request_is_served_at_once(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens\n0,60,12\n")
    table = svsim.serve_sim(workload=path, warm_up=0.0, latency=LATENCY)
    (request,) = table.requests
    prefill_s = 0.011 + 60 * 2e-5
    assert request["ttft_s"] == pytest.approx(prefill_s, rel=0.01)
    assert request["num_steps"] == 12


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"arrivals": "poisson:rate=0"}, "rate=0 is no number above 0"),
        ({"arrivals": "poisson:rate=nan"}, "rate=nan is no number"),
        ({}, "nothing arrives"),
        ({"arrivals": "poisson:rate=1", "lengths": None}, "`lengths` is missing"),
        ({"arrivals": "poisson:rate=1", "slo": "tftf:p99=1"}, "`slo` tftf:p99=1 is not understood"),
        ({"arrivals": "poisson:rate=1", "slo": "ttft:p98=1"}, "expected METRIC:STATISTIC"),
        ({"arrivals": "poisson:rate=1", "duration": 0.0}, "no positive number"),
        ({"arrivals": "poisson:rate=1", "warm_up": 20.0}, "leaves nothing"),
        ({"arrivals": "poisson:rate=1", "warm_up": "soon"}, "neither auto nor seconds"),
        ({"arrivals": "poisson:rate=1", "replicas": 0}, "`replicas` 0 is out of range"),
        ({"arrivals": "poisson:rate=1", "router": "random"}, "`router` random is unknown"),
        ({"arrivals": "poisson:rate=1", "policy": "lifo"}, "`policy` lifo is unknown"),
        ({"arrivals": "poisson:rate=1", "failure": "replica=1,at=1,for=1"}, "there are replicas 0 to 0"),
        ({"arrivals": "poisson:rate=1", "methods": "sd:k=2"}, "only td runs without a trace"),
        ({"arrivals": "poisson:rate=1", "max_num_batched_tokens": 0}, "max_num_batched_tokens"),
        ({"arrivals": "constant:rate=2", "lengths": "fixed:10/9000"}, "shorter than a request takes"),
        ({"arrivals": "constant:rate=0.001", "warm_up": 5.0}, "no request arrives"),
        ({"arrivals": "poisson:rate=1", "time_scale": 2.0}, "no effect without `workload`"),
    ],
)
def test_what_cannot_be_asked_is_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        svsim.serve_sim(**{**SMALL, **options})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_request_larger_than_the_cache_is_refused_before_the_run() -> None:
    with pytest.raises(InfeasibleError, match="needs 5 KV blocks of 16, and a replica has 4"):
        svsim.serve_sim(arrivals="poisson:rate=1", kv_blocks=4, **SMALL)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty|header|column"),
        ("arrival_s,prompt_tokens,output_tokens\n", "no request"),
        ("arrival_s,prompt_tokens,output_tokens\n5,1,1\n1,1,1\n", "before the request in front"),
        ("arrival_s,prompt_tokens,output_tokens\n0,1000000000,1\n", "prompt_tokens"),
    ],
)
def test_absurd_workloads_are_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "w.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        svsim.serve_sim(workload=path, latency=LATENCY)
    assert "\n" not in str(caught.value)
