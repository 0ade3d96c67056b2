"""Every preset under an open loop, with chunks of prompts, preemption and budgets that cut drafts."""

import json

import numpy as np
import pytest
from support.command_line import svsim_json
from support.serving_runs import SmallServer, served, small_trace
from support.small_traces import TREES, WITHOUT_SHAPES, independent_trace

from svsim.decoding.presets import PRESETS
from svsim.serving.state import NUM_CHUNK_STEPS, NUM_CUT, NUM_PREEMPTIONS, Requests
from svsim.trace.file import save_trace

FIXED = ("td", "eagle", "vllm-ladder", "diffuspec", "ead", *TREES)


def spelled(name: str) -> str:
    """A preset of seven draft tokens, where that is to be said."""
    if name == "pearl":
        return "pearl:gamma=5"
    own = WITHOUT_SHAPES.get(name, "")
    said = [] if name in FIXED or own.startswith("k=") else ["k=7"]
    return f"{name}:{','.join(filter(None, [*said, own]))}"


# one exit for the whole batch: the closed loop's alone
TEXTS = [spelled(name) for name in PRESETS if name != "del"]
NUM_REQUESTS = 60


@pytest.fixture(scope="module")
def trace():
    return small_trace()


def asked(server: SmallServer) -> Requests:
    rng = np.random.default_rng(2)
    arrivals = np.sort(rng.uniform(0, 3, NUM_REQUESTS))
    return server.requests(arrivals, rng.integers(1, 300, NUM_REQUESTS), rng.integers(1, 90, NUM_REQUESTS))


def in_windows(server: SmallServer, window_s: float, **options: object) -> Requests:
    replica, coming, finished = server.replica(34, **options), asked(server), []
    while sum(map(len, finished)) < NUM_REQUESTS:
        replica.advance(coming, replica.now_s + window_s)
        finished.append(replica.take_done())
    return np.sort(np.concatenate(finished), order="row")


@pytest.mark.parametrize("text", [*TEXTS, "sv:k=7,overlap=half"])
def test_a_preset_is_served(trace, text: str) -> None:
    """The invariants are checked as requests are taken; windows change nothing."""
    server = SmallServer(text, trace, max_num_seqs=12, max_num_batched_tokens=44)
    replica = server.replica(34)
    done = served(replica, asked(server))
    counters = replica.replica.counters
    assert len(done) == NUM_REQUESTS and (done["out"] == done["output"]).all()
    assert counters[NUM_CHUNK_STEPS] > 20
    # blocks of 30 tokens fill the budget: too few run at once to fall short of memory
    assert counters[NUM_PREEMPTIONS] > 0 or text.startswith("diffuspec")
    if text not in ("td:", "ead:"):  # which draft nothing
        assert 0 < done["accepted"].sum() <= done["verified"].sum()
    assert in_windows(server, 0.37).tobytes() == done.tobytes()


@pytest.mark.parametrize("text", ["sd:k=7", "sv:k=7", "eagle:k=7", "oracle:k=7", "pearl:gamma=7"])
def test_a_budget_cuts_drafts(trace, text: str) -> None:
    """Never more than the budget is verified; the uncut run ends earlier."""
    server = SmallServer(text, trace, max_num_seqs=12, max_num_batched_tokens=512)
    ends = []
    for budget in (512, 29):
        replica = server.replica(max_num_batched_tokens=budget)
        ends.append(served(replica, asked(server))["finish_s"].max())
        assert (replica.replica.counters[NUM_CUT] > 0) == (budget == 29)
    assert ends[0] < ends[1]


@pytest.mark.parametrize("scheduler", ["vllm", "sglang", "trtllm"])
@pytest.mark.parametrize("scheduling", ["sync", "async"])
def test_windows_change_nothing_whoever_schedules(trace, scheduler: str, scheduling: str) -> None:
    server = SmallServer("sv:k=7", trace, max_num_seqs=12, max_num_batched_tokens=44)
    options = {"scheduler": scheduler, "scheduling": scheduling}
    whole = served(server.replica(34, **options), asked(server))
    assert in_windows(server, 0.11, **options).tobytes() == whole.tobytes()


@pytest.mark.parametrize("text", ["adaedl:k=7", "vllm-adaptive:k=7", "smartspec:k=7"])
def test_what_a_rule_remembers_outlives_larger_sheets(trace, text: str) -> None:
    """Prices grow in the middle of the first run, and are there from the start in the second."""
    server = SmallServer(text, trace, max_num_seqs=16)
    laid_out = server.prices.largest_batch
    first = served(server.replica(), asked(server))
    assert server.prices.largest_batch > laid_out
    assert served(server.replica(), asked(server)).tobytes() == first.tobytes()


def test_what_is_faster_but_lossy_is_told_apart(tmp_path):
    save_trace(independent_trace(40, 2, seed=3), tmp_path / "T.parquet")
    draft = {"fixed_s": 0.001, "per_new_token_s": 1e-6, "per_kv_token_s": 0.0}
    latency = {"kind": "linear", "target": {**draft, "fixed_s": 0.02}, "draft": draft}
    latency |= {"draft_is_one_pass": False, "overhead_per_step_s": 0.0}
    (tmp_path / "linear.json").write_text(json.dumps(latency))
    words = ["serve-sim", tmp_path / "T.parquet", "--arrivals", "poisson:rate=1", "--duration", "40"]
    words += ["--replications", "2", "--latency", tmp_path / "linear.json", "--method", "judge:k=2,share=1"]
    (alone,) = svsim_json(*words)["verdict"]
    assert not alone["lossless"] and "no lossless method was asked for" in alone["words"]
    beside = svsim_json(*words, "--method", "sd:k=2")
    (verdict,) = beside["verdict"]
    assert verdict["method"] == "sd:k=2" and verdict["lossless"]
    assert "Faster, but not lossless: judge:k=2,share=1" in verdict["words"]
    assert any(note.startswith("not lossless at this sampling: judge") for note in beside["notes"])
