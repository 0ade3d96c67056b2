"""The job: what is finished is taken, the rest runs, every finished cell is kept at once, rows come last."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from svsim.errors import InfeasibleError, InputError, SvsimError, printable
from svsim.options import integer, word
from svsim.progress import Count, OnProgress
from svsim.sweeping.cells import Cell, Cells
from svsim.sweeping.executors import Executor, InProcess, LocalPool, outcomes
from svsim.sweeping.folder import GRID, METADATA_KEY, SweepFolder
from svsim.sweeping.grid import Grid
from svsim.sweeping.work import run_task
from svsim.version import __version__

if TYPE_CHECKING:
    import pandas as pd

EXECUTORS = ("local", "ray", "dask")
MANY_CELLS = 100_000
NUM_TIMED = 3
MAX_WORKERS = 4096
MAX_TOLD = 100  # problems and notes that go with the rows


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A finished sweep: its folder, what it did, and its rows.

    num_cells: of the grid; num_run: of them run now, the others were finished. problems: cells without an
    answer (options that do not go together, nothing fits), with the reason.
    """

    folder: Path
    command: str
    num_cells: int
    num_run: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    config: Mapping[str, Any] = field(repr=False)

    @property
    def rows_file(self) -> Path:
        """``rows.parquet``: ``cell``, ``axis_*``, ``problem``, then the columns of the command's rows."""
        return SweepFolder(self.folder).rows

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows as plain values; undefined is None."""
        return pq.read_table(self.rows_file).to_pylist()  # type: ignore[no-any-return]

    def to_frame(self) -> "pd.DataFrame":
        """All rows as a data frame."""
        import pandas as pd

        return pd.read_parquet(self.rows_file)

    def explore(self, path: str | os.PathLike[str], *, made_by: str = "") -> None:
        """Write one offline page with sliders for what the grid varies; made_by: how the page says so."""
        from svsim.report.explorer import write_explorer

        made_by = made_by or f"svsim.sweep(..., out={str(self.folder)!r}).explore({os.fspath(path)!r})"
        write_explorer(self.rows, self.command, __version__, made_by, path)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "svsim": __version__,
            "command": self.command,
            "config": dict(self.config),
            "num_cells": self.num_cells,
            "problems": list(self.problems),
            "notes": list(self.notes),
            "rows": self.rows,
        }


def sweep(
    grid: str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    executor: str = "local",
    address: str | None = None,
    workers: int | None = None,
    yes: bool = False,
    progress: OnProgress | None = None,
) -> SweepResult:
    """Run any command with rows over a grid; finished cells are kept, and not run again.

    Raises the errors of ``svsim.errors``; InfeasibleError if no cell has an answer because nothing fits.

    Parameters
    ----------
    grid: a TOML file (docs/sweep.md), or its tables as a mapping; relative paths begin at the file, or here.
    out: the folder: ``cells/``, ``rows.parquet``.
    executor: ``"local"`` (processes), or a cluster that runs: ``"ray"``, ``"dask"``.
    address: of the cluster; without one, one of this machine is started for the sweep.
    workers: processes; default one per core.
    yes: run a grid of more than 100,000 cells.
    progress: called after every cell.

    >>> svsim.sweep("examples/sweep_grid.toml", "sweep").to_frame()  # doctest: +SKIP
    """
    word("executor", executor, EXECUTORS)
    if address is not None and executor == "local":
        raise InputError("`address` has no effect with `executor=local`; leave it out, or choose ray or dask")
    num_workers = _num_workers(workers)
    is_file = isinstance(grid, str | Path)
    read = Grid.from_file(grid) if is_file else Grid.from_values(grid, Path.cwd())  # type: ignore[arg-type]
    cells, folder = Cells.of(read), SweepFolder(Path(out))
    folder.check(read, [*cells.inputs.digests, *([str(grid)] if is_file else [])])
    if read.num_points > MANY_CELLS and not yes:
        raise InputError(_warning(cells, num_workers, "say --yes to run it, or narrow it"))
    folder.begin(read, __version__)
    known = folder.finished()
    wanted = list(cells)
    kept = {cell.digest for cell in wanted if cell.digest in known and folder.kept(cell.digest) is not None}
    pending = [cell for cell in wanted if cell.digest not in kept]
    if pending:
        _run(cells, pending, folder, _Workers(executor, address, num_workers), progress)
    num_damaged = sum(cell.digest in known for cell in pending)
    notes = (f"{num_damaged} damaged cells were run again",) if num_damaged else ()
    return _result(read, folder, wanted, len(pending), notes)


def finished_sweep(out: str | Path) -> SweepResult:
    """The sweep that a folder holds; InputError if it holds none that is finished."""
    folder = SweepFolder(Path(out))
    try:
        about = json.loads(pq.read_schema(folder.rows).metadata[METADATA_KEY])
    except FileNotFoundError:
        has_begun = (folder.path / GRID).exists()
        hint = "run svsim sweep GRID.toml with this --out once more" if has_begun else "name the grid as well"
        raise InputError(f"{printable(out)} holds no finished sweep; {hint}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{printable(folder.rows)} is damaged ({printable(error, 80)}); run svsim sweep GRID.toml again"
        ) from None
    return SweepResult(
        folder.path,
        about["config"]["command"]["name"],
        about["num_cells"],
        0,
        tuple(about["problems"]),
        tuple(about["notes"]),
        about["config"],
    )


@dataclass(frozen=True, slots=True)
class _Workers:
    """Who is asked for."""

    executor: str
    address: str | None
    num: int

    def start(self, num_cells: int) -> Executor:
        """InputError, after a bounded wait, where nobody answers."""
        if self.executor == "local":
            num = min(self.num, num_cells)
            return InProcess() if num == 1 else LocalPool(num)
        from svsim.sweeping.clusters import DaskCluster, RayCluster

        return (RayCluster if self.executor == "ray" else DaskCluster)(self.address, self.num)


def _run(
    cells: Cells,
    pending: Sequence[Cell],
    folder: SweepFolder,
    workers: _Workers,
    progress: OnProgress | None,
) -> None:
    """Run and keep; SvsimError at the end if cells have failed, by no fault of their own."""
    places: dict[str, int] = {}
    ordered = sorted(pending, key=lambda c: places.setdefault(cells.shares_trace(c), len(places)))
    count, failures = Count(progress, "cells", len(pending)), list[str]()
    with closing(workers.start(len(pending))) as executor:
        found = outcomes(executor, map(cells.task, ordered), first_alone=_compiles())
        for done, (task, text) in enumerate(found, 1):
            outcome = json.loads(text) if text is not None else {"failure": _LOST}
            if "failure" in outcome:
                failures.append(f"{outcome['failure']}; the cell is {_told(cells, task)}")
            else:
                folder.keep(outcome)
            count(done)
    if failures:
        raise SvsimError(
            f"{len(failures)} of {len(pending)} cells failed, the others are kept: {failures[0]}; mend it "
            "and run the sweep again"
        )


_LOST = "the process that ran it was killed, again and again (by lack of memory?)"


def _told(cells: Cells, task: str) -> str:
    options = json.loads(task)["options"]
    return printable(", ".join(f"{name}={value}" for name, value in options.items()), 300)


def _compiles() -> bool:
    from svsim.compiled import is_compiled

    return not is_compiled()


def _num_workers(given: int | None) -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return usable if given is None else integer("workers", given, 1, MAX_WORKERS)


def _warning(cells: Cells, num_workers: int, remedy: str) -> str:
    """How long a large grid would take, from a few of its cells."""
    seconds, size = _timed(cells)
    total_s = seconds * cells.grid.num_points / num_workers
    return (
        f"this grid has {cells.grid.num_points:,} cells: about {_duration(total_s)} on {num_workers} "
        f"worker{'s' * (num_workers > 1)} and {size * cells.grid.num_points / 1e9:,.1f} GB ({NUM_TIMED} of "
        f"them took {seconds:.2g} s each); {remedy}"
    )


def _timed(cells: Cells) -> tuple[float, float]:
    """Mean seconds and bytes of a few cells, after one that opens and compiles what all need."""
    points = cells.grid.diagonal(NUM_TIMED)
    tasks = [cells.task(Cell(cells.digest_of(cells.grid.options(point)), point)) for point in points]
    run_task(tasks[0])
    began = time.perf_counter()
    sizes = [len(run_task(task)) for task in tasks]
    return (time.perf_counter() - began) / len(tasks), sum(sizes) / len(sizes)


def _duration(seconds: float) -> str:
    for name, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds:,.0f} s"


def _result(
    grid: Grid, folder: SweepFolder, wanted: Sequence[Cell], num_run: int, notes: tuple[str, ...]
) -> SweepResult:
    """Rows of all cells; InputError or InfeasibleError if none has an answer."""
    problems, said, seen = list[str](), dict[str, None](), list[dict[str, Any]]()
    for cell in wanted:
        outcome = folder.kept(cell.digest)
        if outcome is None:
            continue
        said |= dict.fromkeys(outcome["notes"])
        if outcome["problem"] is not None:
            seen.append(outcome["problem"])
            point = ", ".join(f"{name}={value}" for name, value in cell.point.items())
            problems.append(f"{point}: {outcome['problem']['message']}")
    if len(seen) == len(wanted):
        kind = InfeasibleError if seen[0]["exit_code"] == InfeasibleError.exit_code else InputError
        raise kind(f"no cell of {len(wanted)} has an answer; the first: {seen[0]['message']}")
    about: dict[str, Any] = {
        "svsim": __version__,
        "num_cells": len(wanted),
        "problems": problems[:MAX_TOLD],
        "notes": list(said)[:MAX_TOLD],
        "config": grid.to_dict(),
    }
    folder.write_rows(grid, wanted, about)
    return SweepResult(
        folder.path,
        grid.command.name,
        len(wanted),
        num_run,
        tuple(problems),
        (*notes, *said),
        about["config"],
    )
