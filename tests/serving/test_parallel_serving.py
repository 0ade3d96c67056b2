"""PEARL in open-loop serving: runs over borrowed pieces, draft tokens by the size of a step, refusals."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from support.command_line import svsim_json, svsim_refuses
from support.serving_runs import SmallServer, served
from support.small_traces import LINEAR, independent_trace

from svsim.engines.parallel import with_gamma
from svsim.latency.linear import LinearLatency
from svsim.serving.parallel import accepted_run
from svsim.serving.serve import acceptance_row
from svsim.serving.state import REQUEST, Pool
from svsim.trace.file import save_trace

TRACE = independent_trace(80, 1, seed=6, accept_prob=0.8, output_tokens=(40, 60), prompt_tokens=(10, 40))


def test_a_run_goes_on_as_single_steps_would():
    """Over the ends of borrowed pieces too; and it moves nothing."""
    rng = np.random.default_rng(1)
    pool = Pool(np.array([0, 7, 12]), np.array([7, 5, 4]), np.array([2, 0, 1]))
    for _ in range(300):
        accepted = (rng.random(16) < 0.8).astype(np.uint8)
        request, most = np.zeros(1, REQUEST)[0], int(rng.integers(1, 20))
        request["out"] = rng.integers(0, 30)
        request["piece_rows"] = 7
        row = acceptance_row.py_func(pool, _Row(request.copy()))
        seen, moving = 0, _Row(request.copy())
        while seen < most:
            moving.out = int(request["out"]) + seen
            if not accepted[acceptance_row.py_func(pool, moving)]:
                break
            seen += 1
        here = _Row(request.copy())
        acceptance_row.py_func(pool, here)
        before = vars(here).copy()
        assert accepted_run.py_func(accepted, pool, here, most) == seen
        assert vars(here) == before and row < 16


class _Row:
    """A request's row with its fields as attributes, as compiled code sees it."""

    def __init__(self, row):
        vars(self).update({name: int(row[name]) for name in ("out", "is_over", "chain")})
        vars(self).update({name: int(row[name]) for name in ("piece_first", "piece_rows", "piece_out")})


def test_an_idle_server_takes_the_steps_of_the_bits():
    """One request at a time: PRE and POST, each step as long as the longer side."""
    server = SmallServer("pearl:gamma=3,sync_s=0.002", TRACE)
    num = 12
    requests = server.requests(np.arange(num) * 60.0, 30, server.pool.rows[:num])
    done = served(server.replica(), requests)
    for row in done:
        first = server.pool.first[row["row"]]
        bits = server.trace.target.num_accepted[first : first + row["output"] + 8] > 0
        here, post, steps, seconds = 1, False, 0, 0.0  # the prompt emits the first
        while here < row["output"]:
            tested, run = 3 if post else 1, 0
            while run < tested and here + run < len(bits) and bits[here + run]:
                run += 1
            kv = 30 + here
            seconds += 1e-3 + 2e-3 + target_s(tested, kv)
            seconds += max(draft_s(3, kv + (2 if post else 0)) - target_s(tested, kv), 0.0)
            post, steps = run == tested, steps + 1
            here += run + (run < tested)
        assert row["decode_steps"] == steps
        assert row["last_token_s"] - row["first_token_s"] == pytest.approx(seconds, rel=1e-9)


def target_s(tokens, kv):
    line = LINEAR["target"]
    return line["fixed_s"] + tokens * line["per_new_token_s"] + kv * line["per_kv_token_s"]


def draft_s(gamma, kv):
    line = LINEAR["draft"]
    return sum(
        line["fixed_s"] + line["per_new_token_s"] + (kv + j) * line["per_kv_token_s"] for j in range(gamma)
    )


def test_gamma_follows_the_number_of_requests_in_a_step():
    """A draft that grows dearer with its batch: fewer tokens where more requests are in a step."""
    line = {**LINEAR, "draft": {**LINEAR["draft"], "per_new_token_s": 4e-4}}
    server = SmallServer("pearl:gamma=1", TRACE, LinearLatency.from_json(line, "test"), max_num_seqs=16)
    auto = replace(server.method, pipeline=replace(server.method.pipeline, gammas=()))
    server.method = with_gamma(auto, server.deployment, [1, *range(1, 17)], 60.0)
    gammas = server.method.pipeline.gammas
    assert gammas[1] > gammas[16] >= 1 and list(gammas) == sorted(gammas, reverse=True)
    server.prices = replace(server.prices, method=server.method, largest_batch=0)
    requests = server.requests(np.repeat(np.arange(6) * 40.0, [1, 1, 8, 16, 16, 3]), 20, 50)
    done = served(server.replica(), requests)
    per_step = Counter((done["drafted"] / done["decode_steps"]).round(6).tolist())
    assert len(per_step) > 2 and max(per_step) == gammas[1] and per_step[gammas[1]] == 2
    assert min(per_step) == gammas[16]
    assert (done["verified"] <= done["drafted"]).all()


def test_the_command_says_what_gamma_is_and_refuses_to_plan_ahead(tmp_path):
    save_trace(TRACE, tmp_path / "T.parquet")
    words = ["serve-sim", tmp_path / "T.parquet", "--arrivals", "poisson:rate=3", "--duration", "60"]
    words += ["--replications", "1", "--latency", tmp_path / "linear.json"]
    words += ["--method", "pearl"]
    (tmp_path / "linear.json").write_text(json.dumps(LINEAR))
    result = svsim_json(*words)
    assert any("pearl: gamma is 12 for 1 request in a step" in note for note in result["notes"])
    row = result["rows"][0]
    alpha, gamma = 0.8, 12
    post = alpha / (alpha + 1 - alpha**gamma)
    expected = 1 - post + post * (1 - alpha**gamma) / (1 - alpha)
    # requests of 50 tokens begin in PRE, and their ends cut a run
    assert row["mean_acceptance_length"] == pytest.approx(expected, rel=0.1)
    assert "--scheduling async plans a step before" in svsim_refuses(*words, "--scheduling", "async")
