"""``svsim synth`` end to end: the file, what it says of it, the same bytes, one line for what cannot be."""

import json

import pytest
from support.command_line import svsim_json, svsim_process, svsim_refuses, svsim_run

from svsim.trace.file import load_trace

SMALL = ("--num-requests", "40", "--num-speculative-tokens", "3")


def test_a_trace_with_its_measurements(tmp_path):
    out = tmp_path / "T.parquet"
    made = svsim_json("synth", "--acceptance", "0.7", *SMALL, "--seed", "5", "--out", out)
    trace = load_trace(out)
    assert (trace.num_requests, trace.num_speculative_tokens) == (40, 3)
    assert made["trace"]["file"] == "T.parquet" and made["trace"]["acceptance_kind"] == "synthetic"
    assert made["trace"]["seed"] == 5 == trace.metadata.seed
    outcomes = {o["name"]: o for o in made["outcomes"]}
    assert outcomes["acceptance"]["asked"] == 0.7
    assert outcomes["acceptance"]["measured"] == pytest.approx(0.7, abs=0.05)
    assert outcomes["information_gain_bits"]["is_met"] in (True, False)


def test_the_same_recipe_has_the_same_bytes_wherever_it_goes(tmp_path):
    svsim_run("synth", *SMALL, "--out", tmp_path / "one.parquet")
    svsim_process("synth", *SMALL, "--out", tmp_path / "two.parquet")
    svsim_run("synth", *SMALL, f"--out={tmp_path / 'three.parquet'}", "--json", tmp_path / "x.json")
    one, two, three = ((tmp_path / f"{n}.parquet").read_bytes() for n in ("one", "two", "three"))
    assert one == two == three
    assert load_trace(tmp_path / "one.parquet").metadata.command == "svsim synth " + " ".join(SMALL)


def test_a_settings_file_with_options_over_it(tmp_path):
    settings = tmp_path / "settings.json"
    task = {"name": "code", "acceptance": 0.8, "output_tokens": 60}
    values = {"num_requests": 30, "num_speculative_tokens": 2, "greedy": True, "tasks": [task]}
    settings.write_text(json.dumps(values))
    out = tmp_path / "T.parquet"
    text = svsim_run(
        "synth", "--settings", settings, "--num-requests", "50", "--sampled", "--out", out
    ).stdout
    trace = load_trace(out)
    assert trace.num_requests == 50 and trace.tasks[0] == "code" and not trace.metadata.is_greedy
    assert set(trace.num_output_tokens) == {60}
    assert "measured" in text and "50 requests" in text


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--acceptance", "1.2"], "a probability in 0..1"),
        (["--acceptance", "0.9/0.5/0.9"], "depth 2"),
        (["--information-gain-bits", "0.9"], "exceeds the ceiling"),
        (["--num-requests", "0"], "at least 1"),
        (["--num-requests", "many"], "not a valid int"),
        (["--task", "chat"], "expected one"),
        (["--settings", "missing.json"], "missing.json"),
        (["--seed", "-1"], "seed"),
        (["--out", "/nonexistent/T.parquet"], "cannot be written"),
        (["--out", "-"], "--out -"),
        (["--information-measure", "bits"], "acceptance or paper"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_no_file(tmp_path, extra, says):
    assert says in svsim_refuses("synth", "--out", tmp_path / "T.parquet", *SMALL, *extra)
    assert list(tmp_path.iterdir()) == []


def test_out_is_required():
    assert "--out" in svsim_refuses("synth")
