"""The Python face: explicit words, public names, results that become frames and pages."""

import inspect
import json
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from support.small_traces import LINEAR, StairLatency, independent_trace

import svsim
from svsim.errors import InputError
from svsim.metrics.rows import ResultRow
from svsim.options import RunOptions
from svsim.trace.file import save_trace

TRACE = independent_trace(40, 6, seed=4)
FEW = {"latency": StairLatency(), "batch_sizes": [1, 4]}
FUNCTIONS = (svsim.replay, svsim.analytic, svsim.info, svsim.value)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_misspelt_option_is_a_type_error(function):
    with pytest.raises(TypeError, match="unexpected keyword argument 'batch_size'"):
        function(TRACE, batch_size=[8])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_options_are_explicit_and_documented(function):
    words = inspect.signature(function).parameters
    kinds = {p.kind for name, p in words.items() if name != "trace"}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY} and "progress" in words and len(words) > 8


def test_replay_and_analytic_take_the_same_words_and_document_each():
    words = inspect.signature(svsim.replay).parameters
    assert list(words) == list(inspect.signature(svsim.analytic).parameters)
    described = {
        name
        for line in svsim.replay.__doc__.splitlines()
        for name in line.strip().partition(":")[0].split(", ")
    }
    assert set(words) <= described


@pytest.mark.parametrize(("function", "engine"), [(svsim.replay, "replay"), (svsim.analytic, "analytic")])
def test_every_option_arrives_in_its_place(function, engine, monkeypatch):
    seen = []
    monkeypatch.setattr("svsim.api.answer", lambda *args: seen.append(args))
    words = {n: object() for n in inspect.signature(function).parameters if n not in ("trace", "progress")}
    # these are checked at once
    words |= {"latency": StairLatency(), "hardware": ("l40s",), "engine": "mine", "coins": "thrown"}
    words |= {"believed_prices": StairLatency()}
    function("trace", progress=print, **words)
    ((asked, trace, options, progress),) = seen
    assert (asked, trace, progress) == (engine, "trace", print)
    for name, given in words.items():
        groups = [options.models, options.elsewhere, options]
        place = next(group for group in groups if name in {f.name for f in fields(group)})
        assert getattr(place, name) is given
    assert {f.name for f in fields(RunOptions)} - {"models", "elsewhere"} <= words.keys()


def test_dir_lists_the_public_names_and_only_those():
    code = "import svsim; print(dir(svsim) == svsim.__all__, all(hasattr(svsim, n) for n in dir(svsim)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


def test_one_thing_stands_for_a_list_of_it():
    alone = svsim.replay(TRACE, latency=StairLatency(), methods="sd:k=2", batch_sizes=4)
    listed = svsim.replay(TRACE, latency=StairLatency(), methods=["sd:k=2"], batch_sizes=np.array([4]))
    assert alone.rows == listed.rows and len(alone.rows) == 1
    assert isinstance(alone.config["batch_sizes"][0], int)


def test_without_methods_a_ladder_of_lengths_and_sv_are_compared():
    labels = [row.label for row in svsim.replay(TRACE, latency=StairLatency(), batch_sizes=[4]).rows]
    assert labels == ["td", "sd:k=1", "sd:k=2", "sd:k=3", "sd:k=5", "sv:k=6"]


def test_the_ladder_ends_at_the_traces_k():
    table = svsim.analytic(independent_trace(20, 3, seed=1), latency=StairLatency(), batch_sizes=[4])
    assert [row.label for row in table.rows] == ["td", "sd:k=1", "sd:k=2", "sd:k=3", "sv:k=3"]


def test_a_range_stands_for_its_methods():
    frame = svsim.replay(TRACE, methods=["sd:k=2-4", "td"], **FEW).to_frame()
    assert list(frame["label"].unique()) == ["sd:k=2", "sd:k=3", "sd:k=4", "td"]
    assert list(frame.columns) == ["label", *(f.name for f in fields(ResultRow))]


def test_a_result_writes_its_page(tmp_path):
    table = svsim.replay(TRACE, methods=["td", "sd:k=3"], **FEW)
    table.report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "sd:k=3" in page and "analytic" in page
    assert "svsim.replay(trace, methods=" in page  # how it was made
    table.report(tmp_path / "again.html", command="as I said")
    assert "as I said" in (tmp_path / "again.html").read_text()


def test_a_page_never_replaces_its_trace(tmp_path):
    file = tmp_path / "trace.parquet"
    save_trace(TRACE, file)
    before = file.read_bytes()
    table = svsim.replay(file, methods=["td"], **FEW)
    with pytest.raises(InputError, match="is the trace itself"):
        table.report(tmp_path / "." / "trace.parquet")
    assert file.read_bytes() == before


def test_progress_is_told_by_value_too():
    told = []
    svsim.value(TRACE, k=2, progress=told.append, **FEW)
    assert told and told[-1].done == told[-1].total


def test_values_become_a_frame():
    frame = svsim.value(TRACE, k=2, **FEW).to_frame()
    assert {"belief", "batch_size", "goodput_tok_s", "over_mean_only", "over_mean_only_ci_low"} <= set(frame)
    assert set(frame["batch_size"]) == {1, 4}
    assert (frame["over_mean_only_ci_low"] <= frame["over_mean_only"]).all()


def test_information_becomes_a_frame_of_depths():
    frame = svsim.info(TRACE, latency=StairLatency()).to_frame()
    assert list(frame["depth"]) == [1, 2, 3, 4, 5, 6]
    assert frame["cumulative"].is_monotonic_decreasing


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"methods": [7]}, "`methods` holds 7; expected a text as sd:k=5"),
        ({"batch_sizes": "8"}, "`batch_sizes` 8 is out of range"),
        ({"batch_sizes": [True]}, "`batch_sizes` True is out of range"),
        ({"batch_sizes": [2.5]}, "`batch_sizes` 2.5 is out of range"),
        ({"hardware": [3]}, "`hardware` holds 3; expected a text"),
        ({"latency": None}, "`latency` is None; expected trace, database"),
        ({"latency": ""}, "`latency` is ''; expected"),
        ({"profile_split": "half"}, "`profile_split` half is out of range"),
        ({"seed": 1.0}, "`seed` 1.0 is out of range"),
        ({"coins": "redraw:" + "9" * 5000}, "`coins` redraw:9+... is unknown"),
    ],
)
def test_a_value_of_the_wrong_kind_is_one_line(wrong, says):
    with pytest.raises(InputError, match=says) as caught:
        svsim.replay(TRACE, **{**FEW, **wrong})
    assert "\n" not in str(caught.value)


def test_a_latency_file_may_be_a_path(tmp_path):
    file = tmp_path / "linear.json"
    file.write_text(json.dumps(LINEAR))
    by_path, by_text = (
        svsim.replay(TRACE, latency=f, methods="td", batch_sizes=4) for f in (file, str(file))
    )
    assert by_path.to_dict() == by_text.to_dict()


@pytest.mark.parametrize("name", ["engine", "coins"])
def test_an_option_of_another_kind_is_one_line(name):
    with pytest.raises(InputError, match=f"`{name}` is 5; expected a text"):
        svsim.replay("T.parquet", **{name: 5})
