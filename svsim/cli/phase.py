"""Which method is fastest over acceptance, context and batch size? One picture."""

from typing import Any

import click

from svsim.cli.app import command, common, option
from svsim.cli.options import engine_option, model_options
from svsim.cli.output import console, integers, progress_bar, this_command, write_json, write_text
from svsim.errors import InputError


@command(
    """
    svsim phase traces/llama70b.parquet
    svsim phase traces/llama70b.parquet --report phase.html --svg phase.svg
    svsim phase T.parquet --method sd:k=1-5 --latency database --hardware h200_sxm:tp=2 --batch 1,4,16,64
    svsim phase T.parquet --acceptance 0.5,0.6,0.7,0.8,0.9 --context 1000,4000,16000 --json -
    """
)
@click.argument("trace")
@option("--acceptance", metavar="A,B,...",
        help="Mean acceptance of the first draft token, levels.  [default: 0.32 to 0.96]")  # fmt: skip
@option("--context", metavar="N,M,...", help="Mean context in tokens, levels.  [default: 256 to 32,768]")
@option("--method", "methods", multiple=True, metavar="NAME[:key=value,...]",
        help="What is compared with td; repeatable.  [default: sd at k = 1, 2, 3, 5, sv:k=7]")  # fmt: skip
@option("--batch", "batch_sizes", metavar="1,2,4", help="Batch sizes.  [default: 1 to 256]")
@option("--hardware", metavar="NAME[:key=value,...]",
        help="Hardware to price, one.  [default: the first of the step times]")  # fmt: skip
@option("--latency", default="trace", show_default=True, metavar="trace|database|roofline|FILE",
        help="Where step times come from.")  # fmt: skip
@engine_option
@model_options
@option("--prefill", metavar="include|exclude", help="Count prefill passes.  [default: exclude]")
@option("--profile-split", type=float, metavar="SHARE",
        help="Share of requests that beliefs learn from.  [default: 0.5]")  # fmt: skip
@option("--out-of-range", metavar="raise|clip|extrapolate",
        help="Passes outside the calibrated step times; raise leaves their cells empty.  "
        "[default: raise]")  # fmt: skip
@option("--seed", type=int, default=0, show_default=True, help="Seed of split, draws and intervals.")
@option("--jobs", type=int, metavar="N", help="Worker threads.  [default: all cores]")
@option("--csv", "csv_out", metavar="FILE|-", help="Write all cells as CSV.")
@option("--report", "report_out", metavar="FILE", help="Write one offline HTML page with the picture.")
@option("--svg-out", "--svg", "svg_out", metavar="FILE", help="Write the picture alone, for slides.")
@common
def phase(
    trace: str,
    json_out: str | None,
    csv_out: str | None,
    report_out: str | None,
    svg_out: str | None,
    acceptance: str | None,
    context: str | None,
    batch_sizes: str | None,
    **options: Any,
) -> None:
    """Which method is fastest, over acceptance x batch and context x batch? By the analytic model.

    Levels other than the recorded one are what-ifs on TRACE. Hatched: too close to call, given the errors of
    prices and sampling. A few cells are replayed as a check. docs/sweep.md says what is assumed.
    """
    from svsim.sweeping.phase import phase as ask

    asked: dict[str, Any] = {
        "acceptance": _numbers("--acceptance", acceptance),
        "context": _numbers("--context", context),
        "batch_sizes": () if batch_sizes is None else integers("--batch", batch_sizes),
    }
    with progress_bar("levels", lines=True) as progress:
        found = ask(trace, progress=progress, **asked, **options)
    if json_out:
        write_json(found.to_dict(), json_out)
    if csv_out:
        write_text(found.to_frame().to_csv(index=False), csv_out)
    if report_out:
        found.report(report_out, command=this_command())
    if svg_out:
        found.picture(svg_out)
    if "-" not in (json_out, csv_out):
        from svsim.report.phase import print_phase

        print_phase(found, console())


def _numbers(name: str, text: str | None) -> list[float]:
    if text is None:
        return []
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{name} {text}: expected numbers separated by commas, as 0.5,0.7,0.9") from None
