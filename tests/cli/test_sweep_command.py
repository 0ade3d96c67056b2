"""``svsim sweep``: what it prints, and one line for everything that is wrong, before any work."""

import json

import pytest
from support.command_line import svsim_json, svsim_refuses, svsim_run
from support.sweeps import GRID, NUM_CELLS, swept_files


@pytest.fixture
def grid(tmp_path):
    return swept_files(tmp_path)


def test_rows_and_a_summary(grid, tmp_path):
    out = tmp_path / "out"
    shown = svsim_run("sweep", grid, "--out", out, "--workers", 1).stdout
    assert f"{NUM_CELLS} cells of svsim replay: {NUM_CELLS} run now, 0 were finished; 24 rows" in shown
    assert "sd:k=2" in shown
    document = svsim_json("sweep", grid, "--out", out)
    assert len(document["rows"]) == 24 and document["rows"][0]["axis_batch"] == 1
    svsim_run("sweep", grid, "--out", out, "--json", tmp_path / "rows.json")
    assert json.loads((tmp_path / "rows.json").read_text()) == document


def test_problems_are_told(grid, tmp_path):
    grid.write_text(GRID.replace("[1, 2, 4]", "[1, 400]"))
    shown = svsim_run("sweep", grid, "--out", tmp_path / "out", "--workers", 1).stdout
    assert "note: without an answer: batch=400, seed=0: batch 400 exceeds the 20 requests" in shown


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("seed =", "sede =", "no option sede; did you mean seed?"),
        ("[grid]", "[grid", "not valid TOML"),
        ("t.parquet", "absent.parquet", "absent.parquet: no such file"),
        ("[1, 2, 4]", "[]", "batch is empty"),
    ],
)
def test_a_bad_grid(grid, tmp_path, before, after, message):
    grid.write_text(GRID.replace(before, after))
    assert message in svsim_refuses("sweep", grid, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_one(grid, tmp_path):
    assert "is a file" in svsim_refuses("sweep", grid, "--out", tmp_path / "t.parquet")
    assert "holds other files" in svsim_refuses("sweep", grid, "--out", tmp_path)
    out = tmp_path / "out"
    svsim_run("sweep", grid, "--out", out, "--workers", 1)
    grid.write_text(GRID.replace('"replay"', '"analytic"'))
    assert "holds a sweep of svsim replay" in svsim_refuses("sweep", grid, "--out", out)


def test_nothing_that_is_read_is_destroyed(grid, tmp_path):
    out = tmp_path / "out"
    (out / "cells").mkdir(parents=True)
    moved = out / "rows.parquet"
    moved.write_bytes((tmp_path / "t.parquet").read_bytes())
    grid.write_text(GRID.replace("t.parquet", "out/rows.parquet"))
    assert "would destroy what the grid reads" in svsim_refuses("sweep", grid, "--out", out)
    grid.write_text(GRID)
    for place in (grid, tmp_path / "t.parquet", tmp_path / "linear.json"):
        assert "would destroy" in svsim_refuses("sweep", grid, "--out", tmp_path / "new", "--json", place)
    inside = tmp_path / "new" / "rows.parquet"
    inside.parent.mkdir()
    assert "keeps its cells" in svsim_refuses("sweep", grid, "--out", tmp_path / "new", "--json", inside)


def test_ten_million_cells_are_said_beforehand(grid, tmp_path):
    grid.write_text(GRID.replace("to = 2", "to = 3333332"))
    line = svsim_refuses("sweep", grid, "--out", tmp_path / "out", "--workers", 2)
    assert "10,000,000 cells: about " in line and "on 2 workers" in line and "--yes" in line
    assert not (tmp_path / "out").exists()


def test_executors_that_are_not_there(grid, tmp_path):
    out = tmp_path / "out"
    assert "choose one of local, ray, dask" in svsim_refuses(
        "sweep", grid, "--out", out, "--executor", "slurm"
    )
    assert "no effect with" in svsim_refuses("sweep", grid, "--out", out, "--address", "a:1")
    assert "--workers 0" in svsim_refuses("sweep", grid, "--out", out, "--workers", 0)


def test_a_finished_folder_is_explored_without_its_grid(grid, tmp_path):
    out, page = tmp_path / "out", tmp_path / "explore.html"
    svsim_run("sweep", grid, "--out", out, "--workers", 1, "--explore", page)
    first = page.read_text()
    shown = svsim_run("sweep", "--out", out, "--explore", page).stdout
    assert "0 run now" in shown and "How this was made" in first
    assert page.read_text().replace(f"{grid} ", "").replace("--workers 1 ", "") == first.replace(
        f"{grid} ", ""
    ).replace("--workers 1 ", "")
    assert "holds no finished sweep" in svsim_refuses("sweep", "--out", tmp_path)
    assert "is no file" in svsim_refuses("sweep", "--out", out, "--explore", "-")
    assert "keeps its cells" in svsim_refuses("sweep", "--out", out, "--explore", out / "rows.parquet")
