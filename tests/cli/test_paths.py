"""Outputs destroy nothing: not an input, not each other, under whatever name."""

import os
import subprocess
import sys

import click
import pytest
from support.command_line import svsim_refuses, svsim_run
from support.trace_examples import make_trace

from svsim.cli.app import cli, load_commands
from svsim.cli.paths import kind_of
from svsim.trace.file import save_trace

COMMAND = [sys.executable, "-c", "from svsim.cli import main; main()"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_trace(make_trace([5, 3], 2), "T.parquet")
    (tmp_path / "sub").mkdir()
    os.symlink("T.parquet", "symbolic")
    os.symlink("sub", "folder_link")
    os.link("T.parquet", "hard")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "gpu.json").write_text("{}")
    return tmp_path


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


NAMES = ["T.parquet", "./T.parquet", "sub/../T.parquet", "folder_link/../T.parquet", "symbolic", "hard"]


@pytest.mark.parametrize("option", ["--json", "--csv", "--report"])
@pytest.mark.parametrize("name", NAMES)
def test_an_output_that_names_the_trace_is_refused(folder, option, name):
    before = contents(folder)
    message = svsim_refuses("replay", "T.parquet", option, name)
    assert message.startswith(f"{option} {name} would destroy what TRACE T.parquet reads")
    assert contents(folder) == before


@pytest.mark.parametrize(
    "words",
    [
        ("replay", "T.parquet", "--latency", "gpu.json", "--json", "gpu.json"),
        ("replay", "T.parquet", "--prices", "gpu.json", "--csv", "./gpu.json"),
        ("replay", "T.parquet", "--hardware", "gpu.json:tp=4", "--csv", "gpu.json"),
        ("models", "--config", "model", "--json", "model/config.json"),
        ("hardware", "gpu.json", "--json", "gpu.json"),
        ("synth", "--settings", "gpu.json", "--out", "gpu.json"),
        ("import", "specdecode-bench", "gpu.json", "--out", "gpu.json"),
        ("validate", "T.parquet", "--bench", "gpu.json", "--csv", "gpu.json"),
        ("reproduce", "sv-paper", "--trace", "T.parquet", "--json", "hard"),
    ],
)
def test_outputs_that_name_another_input(folder, words):
    before = contents(folder)
    assert "reads" in svsim_refuses(*words)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("one", "other"),
    [("a", "a"), ("a", "./a"), ("a", "A"), ("sub/a", "folder_link/a"), ("\u00e9", "e\u0301")],
)
def test_two_outputs_of_one_name(folder, one, other):
    message = svsim_refuses("replay", "T.parquet", "--json", one, "--csv", other)
    assert "names the same file as" in message


def test_outputs_among_the_shards_of_a_capture(folder):
    words = ["capture", "--target", "x", "--draft", "x", "--companion", "x", "--prompts", "gpu.json"]
    message = svsim_refuses(*words, "--out", "N.parquet", "--json", "N.parquet.shards/manifest.json")
    assert "lies where" in message


def test_the_traces_that_reproduce_finds_by_itself(folder):
    (folder / "traces").mkdir()
    os.rename("hard", "traces/hard.parquet")
    assert "would destroy" in svsim_refuses("reproduce", "sv-paper", "--json", "T.parquet")


def test_stdout_that_is_an_input_or_an_output(folder):
    for words in (["info", "T.parquet"], ["methods", "--json", "gpu.json"]):
        before = contents(folder)
        with open(words[-1], "ab") as stdout:
            done = subprocess.run([*COMMAND, *words], stdout=stdout, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 2
        assert b"is the file that stdout goes to" in done.stderr
        assert contents(folder) == before


def test_devices_are_no_files_to_destroy(folder):
    svsim_run("hardware", "h100_sxm", "--json", "/dev/null")
    svsim_run("hardware", "h100_sxm", "--json", "sub/new.json")


@pytest.mark.parametrize("out", ["sub", "nowhere/x", "n" * 256, "loop", "gpu.json/x"])
def test_what_cannot_be_written_is_said_before_the_work(folder, out):
    os.symlink("loop", "loop")
    assert "cannot be written" in svsim_refuses("replay", "T.parquet", "--json", out)


def test_an_empty_word_is_not_no_word(folder):
    for option in ("--latency", "--json", "--csv", "--report", "--prices", "--refill", "--method", "--batch"):
        assert svsim_refuses("replay", "T.parquet", option, "") == (
            f"{option} is empty; give it a value, or leave it out"
        )
    assert svsim_refuses("replay", "") == "TRACE is empty; give it a value, or leave it out"


def test_every_option_that_names_a_file_is_known_for_what_it_is():
    load_commands()
    inputs, outputs = {}, {}
    for name, command in cli.commands.items():
        for parameter in command.params:
            label = parameter.opts[0]
            if kind_of(parameter) == "input":
                inputs.setdefault(label, set()).add(name)
            elif kind_of(parameter) is not None:
                outputs.setdefault(label, set()).add(name)
            else:
                assert not isinstance(parameter, click.Argument) or label in ("format_name", "system")
                assert not str(parameter.type).startswith("Path")
    assert set(cli.commands) <= outputs["--json"]
    assert outputs["--report"] >= {"replay", "analytic", "validate", "reproduce"}
    assert outputs["--out"] >= {"synth", "import", "capture", "calibrate"}
    assert inputs.keys() >= {
        *("trace", "files", "names", "--latency", "--prices", "--hardware", "--settings", "--prompts"),
        *("--step-times", "--target", "--draft", "--companion", "--bench", "--table", "--live", "--config"),
    }
