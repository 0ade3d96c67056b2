"""Sweeps: rows as the command alone gives them, resumed after anything, the same bytes for all workers."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from itertools import product

import pyarrow.parquet as pq
import pytest
from support.sweeps import GRID, NUM_CELLS, descendants, swept_files

import svsim
from svsim.errors import InfeasibleError, InputError
from svsim.sweeping.executors import outcomes
from svsim.sweeping.sweep import finished_sweep, sweep


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return swept_files(tmp_path_factory.mktemp("grid"))


@pytest.fixture(scope="module")
def done(grid, tmp_path_factory):
    """The sweep, in this process."""
    return sweep(grid, tmp_path_factory.mktemp("sweep") / "out", workers=1)


def cells_in(out):
    return sorted((out / "cells").iterdir())


def test_rows_are_those_of_the_command(grid, done):
    frame = done.to_frame()
    points = [(b, s) for b, s in product((1, 2, 4), range(3)) if (b, s) not in [(4, 1), (4, 2)]]
    assert list(zip(frame.axis_batch[::3], frame.axis_seed[::3], strict=True))[:-1] == points
    assert frame.axis_batch.iloc[-1] == 8 and frame.axis_seed.isna().iloc[-1]
    assert len(frame) == 3 * NUM_CELLS == 3 * done.num_cells == 3 * done.num_run
    alone = svsim.replay(
        grid.parent / "t.parquet",
        latency=str(grid.parent / "linear.json"),
        methods=["td", "sd:k=2", "sv:k=3"],
        batch_sizes=2,
        seed=1,
    ).to_frame()
    mine = frame[(frame.axis_batch == 2) & (frame.axis_seed == 1)].reset_index(drop=True)
    for name in ("label", "goodput_tok_s", "speedup_vs_td_ci_high", "mean_verification_length"):
        assert mine[name].equals(alone[name].astype(mine[name].dtype)), name


def test_a_second_run_runs_nothing_and_rows_have_the_same_bytes(grid, done):
    before = done.rows_file.read_bytes()
    again = sweep(grid, done.folder, workers=1)
    assert again.num_run == 0
    assert done.rows_file.read_bytes() == before


def test_two_processes_write_the_same_bytes_and_a_killed_one_costs_nothing(grid, done, tmp_path):
    killed = []

    def kill_a_worker(progress):
        if not killed:
            killed.append(multiprocessing.active_children()[0])
            os.kill(killed[0].pid, signal.SIGKILL)

    assert svsim.sweep is sweep  # and no module of that name
    result = sweep(grid, tmp_path / "out", workers=2, progress=kill_a_worker)
    assert killed and result.num_run == NUM_CELLS
    assert result.rows_file.read_bytes() == done.rows_file.read_bytes()
    assert [f.read_bytes() for f in cells_in(tmp_path / "out")] == [
        f.read_bytes() for f in cells_in(done.folder)
    ]
    assert not multiprocessing.active_children()


class Fragile:
    """An executor whose workers die of one task, and take the tasks beside it along."""

    capacity = 3

    def __init__(self):
        self.flying, self.ran = [], []

    def submit(self, task):
        self.flying.append(task)
        return task

    def finished(self):
        batch, self.flying = self.flying, []
        self.ran.append(batch)
        return [(task, None if "bad" in batch else task.upper()) for task in batch]

    def close(self):
        pass


def test_a_task_that_kills_its_worker_is_told_from_its_neighbours():
    executor = Fragile()
    found = dict(outcomes(executor, ["a", "bad", "b", "c", "d"]))
    assert found == {"a": "A", "b": "B", "c": "C", "d": "D", "bad": None}
    assert executor.ran.count(["bad"]) == 3


def test_half_written_damaged_and_foreign_cells_are_run_again(grid, done, tmp_path):
    out = tmp_path / "out"
    sweep(grid, out, workers=1)
    first, second, third, *_ = cells_in(out)
    first.write_bytes(first.read_bytes()[:100])
    second.write_text(second.read_text().replace('"goodput_tok_s":', '"goodput_tok_s":1'))
    third.write_bytes(cells_in(out)[3].read_bytes())
    (out / "rows.parquet").unlink()
    (out / ".svsim-left.tmp").write_text("of a process that was killed")
    again = sweep(grid, out, workers=1)
    assert again.num_run == 3 and "3 damaged cells were run again" in again.notes
    assert again.rows_file.read_bytes() == done.rows_file.read_bytes()


def test_kill_9_loses_no_finished_cell_and_leaves_no_worker(tmp_path):
    grid = swept_files(tmp_path, GRID.replace("to = 2 }", "to = 60 }"))
    code = f"import svsim; svsim.sweep({str(grid)!r}, {str(tmp_path / 'out')!r}, workers=2)"
    process = subprocess.Popen([sys.executable, "-c", code])
    until = time.monotonic() + 120
    while len(list((tmp_path / "out" / "cells").glob("*.json"))) < 5 and time.monotonic() < until:
        time.sleep(0.02)
    workers = descendants(process.pid)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL and len(workers) >= 2
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "cells").glob("*.json")}
    while any(pid in descendants(1) or os.path.exists(f"/proc/{pid}") for pid in workers):
        assert time.monotonic() < until, "workers outlive the sweep"
        time.sleep(0.05)
    grid.write_text(GRID)  # a smaller grid, of which some cells are there
    result = sweep(grid, tmp_path / "out", workers=1)
    assert len(kept) >= 5 and 0 < result.num_run < NUM_CELLS
    assert all(file.stat().st_mtime_ns == when for file, when in kept.items())


def test_a_larger_grid_takes_the_cells_that_are_there(grid, done, tmp_path):
    larger = grid.with_name("larger.toml")
    larger.write_text(GRID.replace("batch = [1, 2, 4]", "batch = [1, 2, 4, 6]"))
    sweep(grid, tmp_path / "out", workers=1)
    result = sweep(larger, tmp_path / "out", workers=1)
    assert (result.num_cells, result.num_run) == (NUM_CELLS + 3, 3)
    assert set(result.to_frame().axis_batch) == {1, 2, 4, 6, 8}


def test_a_changed_input_file_is_another_cell(tmp_path):
    grid = swept_files(tmp_path)
    sweep(grid, tmp_path / "out", workers=1)
    linear = json.loads((tmp_path / "linear.json").read_text())
    (tmp_path / "linear.json").write_text(json.dumps(linear | {"overhead_per_step_s": 0.002}))
    assert sweep(grid, tmp_path / "out", workers=1).num_run == NUM_CELLS


def test_where_the_files_lie_does_not_matter(grid, done, tmp_path):
    result = sweep(swept_files(tmp_path), tmp_path / "out", workers=1)
    assert result.rows_file.read_bytes() == done.rows_file.read_bytes()


def test_cells_without_an_answer_are_rows_and_do_not_run_again(tmp_path):
    grid = swept_files(tmp_path, GRID.replace("batch = [1, 2, 4]", "batch = [1, 2, 400]"))
    result = sweep(grid, tmp_path / "out", workers=1)
    assert len(result.problems) == 3 and "batch=400, seed=0" in result.problems[0]
    frame = result.to_frame()
    lost = frame[frame.axis_batch == 400]
    assert len(lost) == 3 and lost.problem.str.contains("exceeds").all() and lost.goodput_tok_s.isna().all()
    assert sweep(grid, tmp_path / "out", workers=1).num_run == 0


def test_no_answer_at_all_is_an_error_of_its_kind(tmp_path):
    grid = swept_files(tmp_path, GRID.replace("sv:k=3", "sv:k=9"))
    with pytest.raises(InputError, match=r"no cell of 8 has an answer; the first: .*k <= 3"):
        sweep(grid, tmp_path / "out", workers=1)
    tables = {
        "command": {
            **{"name": "serve-sim", "target": "llama-3.1-70b", "hardware": "l40s", "latency": "roofline"},
            **{"arrivals": "poisson:rate=1", "lengths": "fixed:64/16"},
        },
        "grid": {"seed": [0]},
    }
    with pytest.raises(InfeasibleError, match="no cell of 1 has an answer"):
        sweep(tables, tmp_path / "other", workers=1)


def test_other_commands_and_what_ifs(tmp_path):
    swept_files(tmp_path)
    shared = {"trace": str(tmp_path / "t.parquet"), "latency": str(tmp_path / "linear.json")}
    for name, more, axes in [
        ("analytic", {"method": ["sd:k=2"], "batch": 4}, {"acceptance": [0.4, 0.8], "context": [100, 400]}),
        ("value", {"batch": 4, "k": 2}, {"seed": [0, 1]}),
        ("info", {}, {"acceptance": [0.4, 0.8]}),
        (
            "serve-sim",
            {"method": ["td"], "duration": 20, "replications": 2},
            {"arrivals": ["poisson:rate=1", "poisson:rate=2"]},
        ),
        (
            "plan",
            {"method": ["td"], "slo": "ttft:p99=2", "max-num-seqs": 8, "lengths": "fixed:32/8"},
            {"demand": [0.5, 1.0]},
        ),
    ]:
        tables = {"command": {"name": name, **shared, **more}, "grid": axes}
        result = sweep(tables, tmp_path / name, workers=1)
        assert not result.problems and result.num_run == len(list(product(*axes.values())))
        if name == "analytic":
            frame = result.to_frame()
            assert set(frame.replay_kind) == {"approximate"}
            by = frame.set_index(["axis_acceptance", "axis_context"]).goodput_tok_s
            assert by[0.8, 100] > by[0.4, 100] and by[0.8, 100] > by[0.8, 400]


def test_a_finished_sweep_is_read_again(done, tmp_path):
    read = finished_sweep(done.folder)
    assert read.to_dict()["rows"] == done.to_dict()["rows"]
    assert (read.command, read.num_cells) == ("replay", NUM_CELLS)
    with pytest.raises(InputError, match="holds no finished sweep"):
        finished_sweep(tmp_path)
    (tmp_path / "rows.parquet").write_text("damaged")
    with pytest.raises(InputError, match="is damaged"):
        finished_sweep(tmp_path)


def test_rows_are_typed_columns(done):
    schema = pq.read_schema(done.rows_file)
    assert str(schema.field("axis_batch").type) == "int64"
    assert str(schema.field("goodput_tok_s").type) == "double"
    assert json.loads(schema.metadata[b"svsim"])["config"]["grid"]["batch"] == [1, 2, 4]
