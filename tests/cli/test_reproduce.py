"""``svsim reproduce``: bad usage, and systems end to end. The paper: ``tests/published/test_sv_paper.py``."""

from dataclasses import replace

import pytest
from support.command_line import svsim_json, svsim_refuses, svsim_run
from support.small_traces import independent_trace

import svsim
from svsim.papers.table import SYSTEMS
from svsim.trace.file import save_trace
from svsim.trace.token_trace import ObservableColumns


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("another-paper",), "sv-paper"),
        (("sv-paper", "--gamma", "3"), "sv-paper has no --gamma; it has --seed, --trace"),
        (("sv-paper", "--seed", "x"), "--seed x is out of range"),
        (("pearl", "--seed", "1"), "pearl has no --seed; it has --batch, --gamma, --mat, --pair"),
        (("pearl", "--rowz", "1"), "pearl has no --rowz; it has --batch, --gamma, --mat, --pair"),
        (("--rowz", "1", "pearl"), "pearl has no --rowz; it has --batch, --gamma, --mat, --pair"),
        (("pearl", "--gamma", "9"), "pearl needs --mat"),
        (("pearl", "--gamma", "0", "--mat", "3"), "--gamma 0 is out of range"),
        (("pearl", "--gamma", "9", "--mat", "3", "--published", "x"), "--published x is no number"),
        (("pearl", "--published", "3"), "--published compares"),
        (("--gamma", "3"), "name it first"),
        (("--seed", "3"), "--seed belongs to sv-paper"),
        (("pearl", "chen"), "one word too many"),
        (("sv-paper", "--seed", "-1"), "--seed"),
        (("sv-paper", "--trace", "absent.parquet"), "absent.parquet"),
        (("sv-paper", "--report", "-"), "--report"),
    ],
)
def test_bad_usage_is_one_line(arguments, says) -> None:
    assert says in svsim_refuses("reproduce", *arguments)


def test_a_named_trace_without_signals_is_refused(tmp_path) -> None:
    trace = independent_trace(8, 4, seed=1)
    save_trace(replace(trace, observable=ObservableColumns({})), tmp_path / "bare.parquet")
    says = svsim_refuses("reproduce", "sv-paper", "--trace", tmp_path / "bare.parquet")
    assert "similarity" in says


def test_without_a_name_all_systems_are_listed_with_their_score():
    found = svsim_json("reproduce")
    assert [entry["system"] for entry in found["systems"]] == list(SYSTEMS)
    text = svsim_run("reproduce").stdout
    assert all(name in text for name in (*SYSTEMS, "sv-paper"))
    for entry in found["systems"]:
        rows = [row for row in found["rows"] if row["system"] == entry["system"]]
        predicted = [row["verdict"] for row in rows if row["role"] == "predicted"]
        assert predicted.count("confirmed") == entry["confirmed"]
        assert predicted.count("not confirmed") == entry["not_confirmed"]


def test_parameters_from_the_command_line_and_from_python_are_the_same():
    words = ("--gamma", 9, "--mat", 13.99, "--batch", 8, "--published", 4.8)
    found = svsim_json("reproduce", "pearl", *words)
    same = svsim.reproduce("pearl", gamma=9, mat=13.99, batch=8, published=4.8)
    assert found == same.to_dict()
    first = found["rows"][0]
    assert (first["published"], first["verdict"]) == (4.8, "confirmed")
    assert list(same.to_frame().columns) == list(first)


def test_the_page_holds_every_row(tmp_path):
    svsim_run("reproduce", "pearl", "--report", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    rows = svsim.reproduce("pearl").rows
    assert all(row.setting in page and f"{row.verdict}" in page for row in rows)
    assert page.count("<tr>") >= len(rows)


def test_help_is_about_the_system_asked_for():
    def help_of(*words):
        return svsim_run("reproduce", *words, "--help").stdout.partition("Examples")[0]

    everything = help_of()
    assert all(name in everything for name in SYSTEMS) and "--rows --tau --gamma" in " ".join(
        everything.split()
    )
    own = help_of("vocabtrim")
    words = " ".join(own.split())
    assert "--rows rows of the draft's head: a whole number, 1 to 128256 [required]" in words
    assert "[default: 4.0]" in words and "--published" in own and "--mat" not in own and "--trace" not in own
    paper = help_of("sv-paper")
    assert "--trace" in paper and "--seed" in paper and "--published" not in paper
