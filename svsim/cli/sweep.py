"""Any command over a grid, on all cores or a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from svsim.cli.app import command, common, option
from svsim.cli.output import console, progress_bar, this_command, write_json
from svsim.errors import InputError

if TYPE_CHECKING:
    from svsim.sweeping.sweep import SweepResult


@command(
    """
    svsim sweep examples/sweep_grid.toml --out sweep
    svsim sweep grid.toml --out sweep --workers 8 --json rows.json
    svsim sweep grid.toml --out sweep --explore explore.html
    svsim sweep --out sweep --explore explore.html
    svsim sweep grid.toml --out sweep --executor ray --address head-node:6379
    svsim sweep grid.toml --out sweep --executor dask --address tcp://scheduler:8786
    """
)
@click.argument("grid", required=False)
@option("--out", required=True, metavar="DIR", help="Finished cells and rows.parquet; the same DIR resumes.")
@option("--executor", default="local", show_default=True, metavar="local|ray|dask",
        help="Processes of this machine, or a cluster.")  # fmt: skip
@option(
    "--address", metavar="HOST:PORT", help="Of the cluster.  [default: one of this machine, for the sweep]"
)
@option("--workers", type=int, metavar="N", help="Processes.  [default: one per core]")
@option("--yes", is_flag=True, help="Run a grid of more than 100,000 cells.")
@option("--explore", metavar="FILE", help="Write one offline page with sliders over the cells.")
@common
def sweep(grid: str | None, out: str, explore: str | None, json_out: str | None, **options: Any) -> None:
    """Run any command with rows over the GRID of a TOML file: resumable, the same bytes on every executor.

    Every finished cell is a file in DIR; what is there already is not run again. Without GRID the finished
    sweep in DIR is shown. docs/sweep.md has the format of GRID.
    """
    from svsim.sweeping.sweep import finished_sweep
    from svsim.sweeping.sweep import sweep as ask

    _check_outputs(grid, out, {"--json": json_out, "--explore": explore})
    if grid is None:
        result = finished_sweep(out)
    else:
        with progress_bar("cells", lines=True) as progress:
            result = ask(grid, out, progress=progress, **options)
    if explore:
        result.explore(explore, made_by=this_command())
    _show(result, json_out)


def _check_outputs(grid: str | None, out: str, outputs: dict[str, str | None]) -> None:
    """What is written beside the folder destroys neither it nor what the grid reads."""
    from svsim.cli.paths import Named, check_outputs
    from svsim.sweeping.cells import Cells
    from svsim.sweeping.folder import SweepFolder
    from svsim.sweeping.grid import Grid

    named = [Named(option, path) for option, path in outputs.items() if path is not None]
    if not named:
        return
    if outputs["--explore"] == "-":
        raise InputError("--explore - is no file; the page goes to a file, as --explore NAME")
    read = [] if grid is None else [grid, *Cells.of(Grid.from_file(grid)).inputs.digests]
    check_outputs(named, [Named("the grid", path) for path in read])
    folder = SweepFolder(Path(out))
    for item in named:
        if folder.owns(item.path):
            raise InputError(f"{item} lies where --out keeps its cells and rows; choose another place")


def _show(result: "SweepResult", json_out: str | None) -> None:
    if json_out:
        write_json(result.to_dict(), json_out)
    if json_out != "-":
        from svsim.report.sweep import print_sweep

        print_sweep(result, console())
