"""``svsim phase`` on the command line."""

import json

import pytest
from support.command_line import svsim_json, svsim_refuses, svsim_run
from support.small_traces import LINEAR, independent_trace

import svsim


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phase")
    svsim.save_trace(independent_trace(40, 3, seed=1), folder / "t.parquet")
    (folder / "linear.json").write_text(json.dumps(LINEAR))
    return folder / "t.parquet", folder / "linear.json"


def asked(files, *more):
    levels = ("--acceptance", "0.4,0.8", "--context", "100,400", "--batch", "1,8")
    return ("phase", files[0], "--latency", files[1], "--method", "sd:k=1-3", *levels, *more)


def test_a_map_a_page_and_a_picture(files, tmp_path):
    page, svg = tmp_path / "p.html", tmp_path / "p.svg"
    shown = svsim_run(*asked(files, "--report", page, "--svg", svg)).stdout
    assert "Acceptance by batch size" in shown and "too close to call" in shown and "replayed" in shown
    assert "svsim phase" in page.read_text() and svg.read_text().startswith("<?xml")
    document = svsim_json(*asked(files))
    assert [len(d["cells"]) for d in document["diagrams"]] == [4, 4]
    assert svsim_run(*asked(files, "--csv", "-")).stdout.count("\n") == 9


def test_errors_are_one_line(files, tmp_path):
    assert "expected numbers separated" in svsim_refuses(*asked(files, "--acceptance", "a"))
    assert "out of reach" in svsim_refuses(*asked(files, "--acceptance", "1.0"))
    assert "outputs alone" in svsim_refuses(*asked(files, "--context", "1"))
    assert "would destroy" in svsim_refuses(*asked(files, "--svg", files[0]))
    assert "same file" in svsim_refuses(*asked(files, "--svg", tmp_path / "a", "--report", tmp_path / "a"))
