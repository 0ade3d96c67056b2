"""Is the prediction right? A replay against measured results."""

from typing import Any

import click

from svsim.cli.app import command, common, option
from svsim.cli.output import check_outputs, console, progress_bar, this_command, write_json
from svsim.errors import InputError


@command(
    """
    svsim validate traces/llama70b.parquet --bench measured.csv --hardware h100_sxm:tp=4
    svsim validate T.parquet --bench measured.csv --latency my_gpu.parquet --report errors.html
    """
)
@click.argument("trace")
@option("--bench", required=True, metavar="FILE", help="Measured results: CSV with method,batch,tok_s.")
@option("--hardware", metavar="NAME[:tp=4]", help="What they were measured on.  [default: first step times]")
@option("--latency", default="trace", show_default=True, metavar="trace|database|roofline|FILE",
        help="Where predicted step times come from.")  # fmt: skip
@option("--refill", metavar="continuous|static", help="How the measured run was fed.  [default: continuous]")
@option("--out-of-range", default="raise", show_default=True, metavar="raise|clip|extrapolate",
        help="Passes outside the calibrated step times.")  # fmt: skip
@option("--seed", type=int, default=0, show_default=True, help="Seed of split and order.")
@option("--report", "report_out", metavar="FILE", help="Write one offline HTML page.")
@common
def validate(
    trace: str, bench: str, hardware: str | None, json_out: str | None, report_out: str | None, **options: Any
) -> None:
    """Compare a prediction with your own measured results, speculation on.

    Replays TRACE at every method and batch size that was measured; reports the errors of goodput and of
    speedups, the crossover batch size, and what following the recommendation would have cost.
    """
    from svsim import api
    from svsim.report.accuracy import print_accuracy
    from svsim.validation.bench import compare_with_bench, read_bench

    check_outputs(json_out, report_out)
    if report_out == "-":
        raise InputError("--report - is no file; a page goes to a file, as --report errors.html")
    source = api.open_source(trace)
    measured = read_bench(bench, source.metadata.num_speculative_tokens, source.signals)
    with progress_bar("replaying") as progress:
        table = api.replay(
            trace,
            methods=measured.methods,
            batch_sizes=measured.batch_sizes,
            hardware=(hardware,) if hardware else (),
            progress=progress,
            **options,
        )
    found = compare_with_bench(table.rows, measured)
    title = f"predicted from {table.rows[0].deployment} ({table.rows[0].latency_source}) against {bench}"
    if json_out:
        write_json({"validation": found.to_dict(), "prediction": table.to_dict()}, json_out)
    if json_out != "-":
        print_accuracy(found, console(), title)
    if report_out:
        from svsim.report.accuracy_page import write_accuracy_page

        write_accuracy_page(found, report_out, title, this_command())
