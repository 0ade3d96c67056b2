"""The command line: ``svsim COMMAND``.

``app`` holds what all commands share, ``output`` where results go, the other modules the commands.
Heavy imports happen inside commands, so that ``svsim --help`` is instant.
"""

import os
import sys
import traceback
from typing import NoReturn

# Small matrices only: threads would cost more than they give. Must precede the import of NumPy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import click

from svsim.cli import catalogue, collect, importing, reproduce, run, traces, validate
from svsim.cli.app import cli
from svsim.errors import SvsimError, printable

__all__ = ["catalogue", "cli", "collect", "importing", "main", "reproduce", "run", "traces", "validate"]

EXIT_INTERRUPTED = 130


def main() -> NoReturn:
    """Entry point: one line on stderr and the right exit code instead of tracebacks."""
    debug = "--debug" in sys.argv[1:]
    try:
        sys.exit(cli.main(prog_name="svsim", standalone_mode=False) or 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _complain("interrupted")
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        sys.exit(2)
    except click.ClickException as error:
        _complain(error.format_message())
        sys.exit(2)
    except SvsimError as error:
        if debug:
            traceback.print_exc()
        _complain(str(error))
        sys.exit(error.exit_code)
    except Exception as error:
        if debug:
            traceback.print_exc()
        _complain(
            f"this is a bug in svsim ({type(error).__name__}: {error}); run again with --debug and report it"
        )
        sys.exit(1)


def _complain(message: str) -> None:
    print(f"svsim: {printable(' '.join(message.split()), 2000)}", file=sys.stderr)
