"""Runs a command: every way it can end becomes an exit code and at most one line on stderr."""

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

import click

from svsim.cli.app import cli
from svsim.errors import SvsimError, printable

WRITE_FAILED = "cannot be written ({}); send it elsewhere, or write to a file with --json FILE"
EXIT_BUG, EXIT_BAD_INPUT, EXIT_INFEASIBLE = 1, 2, 3


def run(words: Sequence[str]) -> int:
    """Run ``svsim WORDS``; the exit code. A KeyboardInterrupt passes."""
    _open_standard_streams()
    try:
        if "_SVSIM_COMPLETE" in os.environ:  # a shell asks for completions
            cli.main(list(words), prog_name="svsim")
        with cli.make_context("svsim", list(words)) as context:  # cli.main would answer Ctrl-C itself
            cli.invoke(context)
        return 0
    except BrokenPipeError:  # the reader of our output has left
        _drop_stdout()
        return 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return EXIT_BAD_INPUT
    except click.ClickException as error:
        complain(error.format_message())
        return EXIT_BAD_INPUT
    except Exception as error:
        if "--debug" in words:
            for line in traceback.format_exc().splitlines():
                print(printable(line, 1000), file=sys.stderr)
        message, code = _verdict(error)
        complain(message)
        return code


def _verdict(error: Exception) -> tuple[str, int]:
    """What to say of an error, and the exit code."""
    if isinstance(error, SvsimError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError):
        return f"not enough memory ({error or 'none left'}); ask for less at once", EXIT_INFEASIBLE
    if isinstance(error, OSError) and error.errno is not None:
        reason = error.strerror or errno.errorcode.get(error.errno, "failed")
        if error.filename is None:
            return f"stdout {WRITE_FAILED.format(reason)}", EXIT_BAD_INPUT
        where = error.filename if isinstance(error.filename, str) else repr(error.filename)
        return f"{where} cannot be read or written ({reason}); check path, rights and space", EXIT_BAD_INPUT
    kind = type(error).__name__
    return f"this is a bug in svsim ({kind}: {error}); run again with --debug and report it", EXIT_BUG


def finish(code: int) -> int:
    """Write out what is left for stdout: a full disk shows only then."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
    except (OSError, ValueError) as error:
        _drop_stdout()
        if code == 0:
            complain(f"stdout {WRITE_FAILED.format(getattr(error, 'strerror', None) or error)}")
            return EXIT_BAD_INPUT
    return code


def complain(message: str) -> None:
    """One printable line on stderr, if there is one."""
    with suppress(OSError, ValueError):
        print(f"svsim: {printable(' '.join(message.split()), 2000)}", file=sys.stderr, flush=True)


def _open_standard_streams() -> None:
    """Take closed descriptors, so that no file gets their number; what a stream cannot spell becomes ``?``.

    A closed stdout becomes one that cannot be written: a command that needs it says so.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDONLY if descriptor < 2 else os.O_WRONLY)
    # Python has None for a stream that was closed when it began
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _drop_stdout() -> None:
    """Nothing more goes to stdout; what is buffered ends nowhere, also at the interpreter's end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
