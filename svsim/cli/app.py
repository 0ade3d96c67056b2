"""What all commands share: the group, how an option is written, help that ends with examples."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from svsim.cli.words import as_flags
from svsim.errors import SvsimError

F = TypeVar("F", bound=Callable[..., Any])


class CommandWithExamples(click.Command):
    """A command whose help ends with its examples, one per line, and whose errors name its flags."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SvsimError as error:
            error.args = (as_flags(str(error), ctx),)
            raise

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.strip().splitlines():
                    formatter.write(f"{' ' * formatter.current_indent}{line.strip()}\n")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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
