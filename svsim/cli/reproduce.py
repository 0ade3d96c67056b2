"""Published systems against their own numbers; and one paper, Speculative Verification, claim by claim."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from svsim.cli.app import CommandWithExamples, cli, common, option
from svsim.cli.options import with_options
from svsim.cli.output import console, progress_bar, this_command, write_json
from svsim.cli.paths import Named, check_outputs
from svsim.errors import InputError, printable
from svsim.papers.parameters import Parameter, unknown_parameter
from svsim.papers.table import SV_PAPER, SYSTEMS, find_system

OF_SV_PAPER = ("trace", "seed")
MAX_SEED = (1 << 63) - 1
ASKED = "svsim.reproduce.system"  # in the context: whose help is asked for


def _parameter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """One option per parameter name of any system; its help says whose it is, and what it means there."""
    meanings: dict[str, list[tuple[str, Parameter]]] = {}
    for system in SYSTEMS.values():
        for parameter in system.parameters:
            meanings.setdefault(parameter.name, []).append((system.name, parameter))
    return with_options(
        function,
        [
            option(_flag(name), name, metavar=_metavar(uses), help=_help(uses))
            for name, uses in meanings.items()
        ],
    )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _metavar(uses: Sequence[tuple[str, Parameter]]) -> str:
    kinds = {"|".join(p.words) or ("N" if p.is_integer else "X") for _, p in uses}
    return kinds.pop() if len(kinds) == 1 else "X"


def _help(uses: Sequence[tuple[str, Parameter]]) -> str:
    by_meaning: dict[str, list[str]] = {}
    for name, parameter in uses:
        by_meaning.setdefault(parameter.meaning, []).append(name)
    return "; ".join(f"{', '.join(names)}: {meaning}" for meaning, names in by_meaning.items()) + "."


class SystemsCommand(CommandWithExamples):
    """Help of one system is about its parameters alone; of none, which systems have which."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ASKED] = next((word for word in args if word in SYSTEMS or word == SV_PAPER), None)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        name: str | None = ctx.meta.get(ASKED)
        of_systems = {p.name for system in SYSTEMS.values() for p in system.parameters}
        if name is not None and name in SYSTEMS:
            with formatter.section(f"Parameters of {name}"):
                formatter.write_dl([_described(parameter) for parameter in SYSTEMS[name].parameters])
        elif name is None:
            with formatter.section("Systems and their parameters (svsim reproduce SYSTEM --help explains)"):
                formatter.write_dl([(s.name, _flags(s.parameters)) for s in SYSTEMS.values()])
        left_out = of_systems | ({"published"} if name == SV_PAPER else set(OF_SV_PAPER) if name else set())
        options = (p for p in self.get_params(ctx) if isinstance(p, click.Option))
        records = [p.get_help_record(ctx) for p in options if p.name not in left_out]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record is not None])


def _described(parameter: Parameter) -> tuple[str, str]:
    """A parameter's line: what it means, its range, its default."""
    default = "required" if parameter.default is None else f"default: {parameter.default}"
    return _flag(parameter.name), f"{parameter.meaning}: {parameter.domain}  [{default}]"


def _flags(parameters: Sequence[Parameter]) -> str:
    return " ".join(_flag(parameter.name) for parameter in parameters)


@cli.command(
    cls=SystemsCommand,
    epilog="""
    svsim reproduce
    svsim reproduce pearl
    svsim reproduce pearl --gamma 9 --mat 13.99 --batch 8 --json -
    svsim reproduce leviathan --alpha 0.7 --gamma 4 --c 0.05 --published 2.3
    svsim reproduce sv-paper --report sv_paper.html --json sv_paper.json
    """,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("system", metavar="[SYSTEM]", required=False)
@_parameter_options
@option(
    "--published",
    multiple=True,
    metavar="X|METRIC=X",
    help="With parameters: the number to compare with, of the first row or of a metric; repeatable.",
)
@option(
    "--trace",
    multiple=True,
    metavar="FILE",
    help="sv-paper: recorded traces for table 1; repeatable.  [default: traces/*.parquet, if there]",
)
@option("--seed", metavar="N", help="sv-paper: seed of synthetic acceptance, split and order.  [default: 0]")
@option("--report", "report_out", metavar="FILE", help="Write one offline HTML page.")
@common
@click.pass_context
def reproduce(
    context: click.Context,
    /,
    system: str | None,
    published: tuple[str, ...],
    trace: tuple[str, ...],
    seed: str | None,
    json_out: str | None,
    report_out: str | None,
    **parameters: str | None,
) -> None:
    """Do a paper's results follow from its own numbers? SYSTEM: one of them; without, all with their score.

    Each row: what is published, what follows from other numbers of the same source, the error, and a
    verdict. With parameters: what the system's law says of your own numbers. sv-paper (arXiv 2509.24328) is
    taken apart claim by claim: target-only decoding and SD(5) predict SD(7), SV(5) and SV(7).
    """
    given = {name: value for name, value in parameters.items() if value is not None}
    of_sv_paper: dict[str, object] = ({"trace": trace} if trace else {}) | ({"seed": seed} if seed else {})
    name = _checked_name(system, context.args, given)
    if name == SV_PAPER:
        _refuse(SV_PAPER, [*given, *(["published"] if published else [])], OF_SV_PAPER)
        _sv_paper(trace, seed, json_out, report_out)
        return
    if name is not None:
        _refuse(name, of_sv_paper, [p.name for p in SYSTEMS[name].parameters])
    elif of_sv_paper:
        raise InputError(f"`{next(iter(of_sv_paper))}` belongs to {SV_PAPER}; name it first")
    _systems(name, given, published, json_out, report_out)


def _checked_name(system: str | None, extra: Sequence[str], given: Mapping[str, object]) -> str | None:
    """The system asked for; InputError for words that click did not know."""
    words = [word for word in (system, *extra) if word is not None]
    unknown = next((word for word in words if word.startswith("-")), None)
    names = [word for word in words if not word.startswith("-")]
    name = next((word for word in names if word in SYSTEMS or word == SV_PAPER), names[0] if names else None)
    if name is not None and name != SV_PAPER:
        find_system(name)
    if unknown is not None:
        of = name or "reproduce"
        known = OF_SV_PAPER if of == SV_PAPER else [p.name for p in SYSTEMS[of].parameters] if name else given
        raise InputError(unknown_parameter(of, printable(unknown.partition("=")[0], 40), known))
    if extra:
        raise InputError(f"{printable(extra[0], 60)} is one word too many; name one system, or none for all")
    return name


def _refuse(system: str, names: Any, known: Sequence[str]) -> None:
    """InputError if any parameter was given that the system lacks."""
    for name in names:
        raise InputError(unknown_parameter(system, f"`{name}`", known))


def _systems(
    name: str | None,
    given: Mapping[str, str],
    published: Sequence[str],
    json_out: str | None,
    report_out: str | None,
) -> None:
    """Rows of the table."""
    from svsim.reproductions import reproduce as reproduce_systems

    found = reproduce_systems(name, published=dict(map(_metric_value, published)), **given)
    if json_out:
        write_json(found.to_dict(), json_out)
    if json_out != "-":
        from svsim.report.systems import print_systems

        print_systems(found, console())
    if report_out:
        found.report(report_out, command=this_command())


def _metric_value(text: str) -> tuple[str, float]:
    """``3.95`` or ``speedup=3.76``."""
    metric, _, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e300:
        raise InputError(f"`published` {printable(text, 60)} is no number; expected X or METRIC=X")
    return metric.strip(), value


def _sv_paper(
    traces: Sequence[str], seed_text: str | None, json_out: str | None, report_out: str | None
) -> None:
    """Speculative Verification, claim by claim."""
    seed = _seed(seed_text)
    files = [Path(name) for name in traces] or sorted(Path("traces").glob("*.parquet"))
    outputs = [Named("--json", json_out or ""), Named("--report", report_out or "")]
    check_outputs([o for o in outputs if o.path], [Named("svsim reproduce", str(file)) for file in files])
    for file in files:
        if not file.is_file():
            raise InputError(f"{printable(file)}: no such file; give a trace (.parquet)")

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


def _seed(text: str | None) -> int:
    seed = int(text) if text is not None and text.lstrip("+").isdecimal() else 0 if text is None else -1
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"`seed` {printable(text, 40)} is out of range; expected a whole number from 0")
    return seed
