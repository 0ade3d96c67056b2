"""What all commands share: the group, how an option is written, help that ends with examples."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from svsim.cli.paths import check_command
from svsim.cli.words import as_flags
from svsim.errors import InputError, SvsimError

MODULES = (
    "advise",
    "catalogue",
    "collect",
    "importing",
    "phase",
    "plan",
    "reproduce",
    "retrieval",
    "run",
    "serving",
    "sweep",
    "traces",
    "validate",
)
F = TypeVar("F", bound=Callable[..., Any])


class CommandWithExamples(click.Command):
    """A command whose help ends with its examples, one per line, and whose errors name its flags."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            _refuse_empty(ctx)
            check_command(self, ctx.params)
            return super().invoke(ctx)
        except SvsimError as error:
            error.args = (as_flags(str(error), ctx),)
            raise

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.strip().splitlines():
                    formatter.write(f"{' ' * formatter.current_indent}{line.strip()}\n")


def _refuse_empty(ctx: click.Context) -> None:
    """An empty word (of a variable that is not set, in a script) would be read as no word at all."""
    for parameter in ctx.command.params:
        value = ctx.params.get(parameter.name or "")
        is_given = ctx.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT
        words = value if isinstance(value, tuple) else (value,)
        if is_given and any(isinstance(word, str) and not word.strip() for word in words):
            name = parameter.opts[0] if isinstance(parameter, click.Option) else str(parameter.name).upper()
            raise InputError(f"{name} is empty; give it a value, or leave it out")


class Commands(click.Group):
    """The group; commands are there once their modules are imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        load_commands()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        load_commands()
        return super().get_command(ctx, cmd_name)


def load_commands() -> None:
    """Import the modules that add commands."""
    for name in MODULES:
        import_module(f"svsim.cli.{name}")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="svsim")
def cli() -> None:
    """Simulator and analytic cost model for LLM serving with speculative decoding.

    \b
    First answer:   svsim replay traces/llama70b.parquet
    Every command:  svsim COMMAND --help
    """


def option(*names: str, **attributes: Any) -> Callable[[F], F]:
    return click.option(*names, **attributes)


def common(function: F) -> F:
    """--json and --debug, on every command."""
    function = option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")(
        function
    )
    return option(
        "--json", "json_out", metavar="FILE|-", help="Write JSON to FILE, or to stdout alone with -."
    )(function)


def command(examples: str, **attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:
    return cli.command(cls=CommandWithExamples, epilog=examples, **attributes)
