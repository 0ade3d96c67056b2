"""A paper's evidence against predictions from a part of it."""

from pathlib import Path

import click

from svsim.cli.app import command, common, option
from svsim.cli.output import console, progress_bar, this_command, write_json
from svsim.cli.paths import Named, check_outputs
from svsim.errors import InputError

PAPERS = ("sv-paper",)


@command(
    """
    svsim reproduce sv-paper
    svsim reproduce sv-paper --report sv_paper.html --json sv_paper.json
    svsim reproduce sv-paper --trace traces/cpu_triplet_code_t07.parquet
    """
)
@click.argument("paper", metavar="PAPER")
@option("--trace", "traces", multiple=True, metavar="FILE",
        help="Recorded traces for table 1; repeatable.  [default: traces/*.parquet, if there]")  # fmt: skip
@option(
    "--seed", type=int, default=0, show_default=True, help="Seed of synthetic acceptance, split and order."
)
@option("--report", "report_out", metavar="FILE", help="Write one offline HTML page with figures.")
@common
def reproduce(
    paper: str, traces: tuple[str, ...], seed: int, json_out: str | None, report_out: str | None
) -> None:
    """Do a paper's results follow from its own baselines? PAPER: sv-paper (arXiv 2509.24328).

    Calibrates on target-only decoding and SD(5) of each panel, predicts SD(7), SV(5) and SV(7), figures 4
    and 5b, tables 3 and 9; compares with what is published; gives each claim a verdict with its reason; and
    replays the same acceptance at a modern engine's prices.
    """
    if paper not in PAPERS:
        raise InputError(f"unknown paper {paper}; known: {', '.join(PAPERS)}")
    if seed < 0:
        raise InputError(f"--seed {seed} is out of range; expected a whole number from 0")
    files = [Path(name) for name in traces] or sorted(Path("traces").glob("*.parquet"))
    outputs = [Named("--json", json_out or ""), Named("--report", report_out or "")]
    check_outputs([o for o in outputs if o.path], [Named("svsim reproduce", str(file)) for file in files])
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: no such file; give a trace (.parquet)")

    from svsim.papers.sv_paper.sv_paper import reproduce_sv_paper

    with progress_bar("reproducing") as progress:
        found = reproduce_sv_paper(files, seed, progress, skip_traces=not traces)
    if json_out:
        write_json(found.to_dict(), json_out)
    if json_out != "-":
        from svsim.report.reproduction import print_reproduction

        print_reproduction(found, console())
    if report_out:
        from svsim.report.reproduction_page import write_reproduction_page
        from svsim.version import __version__

        write_reproduction_page(found, report_out, this_command(), __version__)
