"""Grid files: axes, ranges, further cells, exclusions; every mistake is one line before any work."""

from pathlib import Path

import pytest

from svsim.errors import InputError
from svsim.sweeping.grid import Grid, axis_values

HERE = Path("/")


def grid(**tables):
    command = {"name": "replay", "trace": "t.parquet", **tables.pop("command", {})}
    return Grid.from_values({"command": command, **tables}, HERE)


def test_the_last_axis_is_the_fastest_and_further_cells_follow():
    made = grid(grid={"batch": [1, 8], "seed": [0, 1]}, cells=[{"batch": 64, "hardware": "l40s"}])
    points = list(made.points())
    assert [(p.get("batch"), p.get("seed")) for p in points] == [(1, 0), (1, 1), (8, 0), (8, 1), (64, None)]
    assert made.columns == ("batch", "seed", "hardware")
    assert made.num_points == 5
    assert made.options(points[4]) == {"trace": "t.parquet", "batch": 64, "hardware": "l40s"}


def test_a_cell_is_left_out_where_all_its_axes_match():
    made = grid(grid={"batch": [1, 8], "hardware": ["a", "b"]}, exclude=[{"batch": [8, 9], "hardware": "b"}])
    assert list(made.points()) == [
        {"batch": 1, "hardware": "a"},
        {"batch": 1, "hardware": "b"},
        {"batch": 8, "hardware": "a"},
    ]


def test_a_grid_without_axes_is_one_cell():
    assert list(grid().points()) == [{}]
    assert list(grid(cells=[{"seed": 1}]).points()) == [{"seed": 1}]


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"from": 1, "to": 4}, (1, 2, 3, 4)),
        ({"from": 1, "to": 8, "step": 3}, (1, 4, 7)),
        ({"from": 1, "to": 64, "factor": 2}, (1, 2, 4, 8, 16, 32, 64)),
        ({"from": 0.1, "to": 0.5, "step": 0.1}, (0.1, 0.2, 0.3, 0.4, 0.5)),
        ({"from": 0.4, "to": 0.9, "num": 3}, (0.4, 0.65, 0.9)),
        ({"from": 0, "to": 10, "num": 3}, (0, 5, 10)),
        ([[1, 2], [4]], ([1, 2], [4])),
        ("l40s", ("l40s",)),
    ],
)
def test_axis_values(given, values):
    found = axis_values(given, "axis")
    assert found == values
    assert [type(v) for v in found] == [type(v) for v in values]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"grid": {"bach": [1]}}, "no option bach; did you mean batch?"),
        ({"grid": {"max-num-seqs": [1]}}, "no option max-num-seqs"),  # of serve-sim
        ({"command": {"name": "repaly"}}, "did you mean replay?"),
        ({"command": {"jobs": 4}}, "--workers"),
        ({"command": {"report": "x.html"}}, "--explore"),
        ({"command": {"batch": 1, "batch_sizes": 2}}, "batch is given twice"),
        ({"grid": {"batch": []}}, "batch is empty"),
        ({"grid": {"batch": [1, 1]}}, "1 twice"),
        ({"grid": {"batch": {"from": 8, "to": 1}}}, "has no values"),
        ({"grid": {"batch": {"from": 0, "to": 8, "factor": 2}}}, "has no values"),
        ({"grid": {"batch": {"from": 1}}}, "is no range"),
        ({"grid": {"batch": {"from": 1, "to": 1e9}}}, "at most 10,000,000"),
        ({"grid": {"batch": [1]}, "command": {"batch": 1}}, "in [command] and in [grid]"),
        ({"grid": {"hardware": [""]}}, "an empty text"),
        ({"grid": {"hardware": [{"a": 1}]}}, "expected texts, numbers"),
        ({"grid": {"seed": [float("nan")]}}, "expected texts, numbers"),
        ({"grids": {}}, "no table is called grids; did you mean grid?"),
        ({"cells": {"batch": 1}}, "expected tables [[cells]]"),
        ({"grid": {"batch": [1]}, "exclude": [{"seed": 1}]}, "seed is no axis"),
        ({"grid": {"batch": [1]}, "exclude": [{}]}, "would leave out every cell"),
    ],
)
def test_a_mistake_is_one_line(tables, message):
    with pytest.raises(InputError) as error:
        grid(**tables)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_no_grid(tmp_path):
    file = tmp_path / "g.toml"
    for text, message in [
        ("[command\nname=1", "not valid TOML"),
        ("", "no name"),
        ("command = 3", "expected a table"),
        ("[command]\nname = 3", "cannot be swept"),
        ("[command]\nname = 'replay'\ndate = 2026-01-01", "no option date"),
        ("[command]\nname = 'replay'\nseed = 2026-01-01", "expected texts, numbers"),
    ]:
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            Grid.from_file(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not valid TOML"):
        Grid.from_file(file)


def test_ten_million_points_are_counted_and_not_made():
    axis = {"from": 1, "to": 2200}
    made = grid(grid={"batch": axis, "seed": axis, "profile-split": {"from": 0.1, "to": 0.9, "num": 3}})
    assert made.num_points == 3 * 2200**2
    assert made.diagonal(3)[1] == {"batch": 1100, "seed": 1100, "profile_split": 0.5}
