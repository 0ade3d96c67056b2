"""The grid of examples/: read, and its first and last cells run."""

import json
from collections import deque
from pathlib import Path

from svsim.sweeping.cells import Cells
from svsim.sweeping.grid import Grid
from svsim.sweeping.work import run_task

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "sweep_grid.toml"


def test_its_cells_have_answers():
    cells = Cells.of(Grid.from_file(EXAMPLE))
    made = list(cells)
    assert len(made) == 6 * 3 * 5 - 6
    last = deque(made, 1).pop()
    assert last.point == {"acceptance": 0.8, "context": 4000, "batch": 8}
    for cell in (made[0], last):
        outcome = json.loads(run_task(cells.task(cell)))
        assert outcome["problem"] is None and "failure" not in outcome
        fixed = {f"sd:k={k}" for k in range(1, 6)}
        assert {row["label"] for row in outcome["rows"]} == {"td", "sv:k=5"} | fixed
