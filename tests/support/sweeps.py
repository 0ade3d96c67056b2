"""Grids of a tiny trace under linear prices, and the processes that a sweep has started."""

import json
import os
from pathlib import Path

import svsim
from support.small_traces import LINEAR, independent_trace

GRID = """
[command]
name = "replay"
trace = "t.parquet"
latency = "linear.json"
method = ["td", "sd:k=2", "sv:k=3"]

[grid]
batch = [1, 2, 4]
seed = { from = 0, to = 2 }

[[cells]]
batch = 8

[[exclude]]
batch = 4
seed = [1, 2]
"""
NUM_CELLS = 3 * 3 + 1 - 2


def swept_files(folder: Path, grid: str = GRID) -> Path:
    """The grid's file in a folder with all that it names."""
    svsim.save_trace(independent_trace(40, 3, seed=1), folder / "t.parquet")
    (folder / "linear.json").write_text(json.dumps(LINEAR))
    file = folder / "grid.toml"
    file.write_text(grid)
    return file


def descendants(root: int) -> dict[int, str]:
    """Command lines of the living processes that a process has started, by id (Linux)."""
    parents, words = {}, {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            stat = Path("/proc", name, "stat").read_text()
            words[int(name)] = Path("/proc", name, "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        state, parent = stat.rpartition(")")[2].split()[:2]
        if state != "Z":
            parents[int(name)] = int(parent)
    found: dict[int, str] = {}
    level = {root}
    while level := {pid for pid, parent in parents.items() if parent in level} - found.keys():
        found |= {pid: words[pid] for pid in level}
    return found
