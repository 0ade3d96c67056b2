"""``svsim analytic`` end to end: the rows of ``svsim replay``, other engine."""

import json

import pytest
from support.command_line import svsim_json, svsim_process, svsim_refuses, svsim_run
from support.small_traces import LINEAR, independent_trace

from svsim.trace.file import save_trace


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("analytic")
    save_trace(independent_trace(280, 8, seed=1), folder / "trace.parquet")  # enough to learn on: no refits
    save_trace(independent_trace(60, 8, seed=1), folder / "short.parquet")
    (folder / "linear.json").write_text(json.dumps(LINEAR))
    return folder


def asked(command, files, *more, trace="trace", batch="1,8,32"):
    source = files / f"{trace}.parquet"
    return (command, source, "--latency", files / "linear.json", "--batch", batch, *more)


@pytest.mark.parametrize("refill", ["continuous", "static"])
def test_rows_are_those_of_the_replay(files, refill):
    run = ("--refill", refill, "--method", "td", "--method", "sd", "--method", "sv")
    replayed, analytic = (svsim_json(*asked(engine, files, *run)) for engine in ("replay", "analytic"))
    assert analytic["trace"] == replayed["trace"]
    assert analytic["config"] == {**replayed["config"], "engine": "analytic"}
    assert len(analytic["rows"]) == len(replayed["rows"]) == 9
    for mine, theirs in zip(analytic["rows"], replayed["rows"], strict=True):
        assert mine.keys() == theirs.keys()
        for name in ("method", "params", "batch_size", "hardware", "num_requests", "lossless", "sd_baseline"):
            assert mine[name] == theirs[name]
        assert mine["replay_kind"] == "approximate"
        if refill == "continuous":
            assert mine["goodput_tok_s"] == pytest.approx(theirs["goodput_tok_s"], rel=0.02)
            assert mine["num_steps"] > 0 and mine["num_emitted_tokens"] > 0
            assert mine["goodput_ci_low"] <= mine["goodput_tok_s"] <= mine["goodput_ci_high"]


def test_table_says_which_engine(files):
    out = svsim_run(*asked("analytic", files, "--method", "sd:k=3")).stdout
    assert "in the analytic model" in out and "replayed" not in out


def test_same_command_same_bytes(files):
    """For any number of workers, and in another process."""
    first, second = (
        run(*asked("analytic", files, "--csv", "-", "--jobs", jobs, trace="short", batch="1,8")).stdout
        for run, jobs in ((svsim_run, 1), (svsim_process, 3))
    )
    assert first == second


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--method", "sd:k=9"), "chains of K = 8"),
        (("--batch", "500"), "exceeds the"),
        (("--refill", "sometimes"), "continuous, static"),
    ],
)
def test_bad_input_is_refused_in_one_line(files, options, said):
    assert said in svsim_refuses(*asked("analytic", files, *options))
