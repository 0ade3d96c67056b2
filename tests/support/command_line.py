"""Run the command line: in this process, or (a second dearer) in a process of its own.

A process of its own is for what only it can show: another hash seed, fresh caches, imports in the
command's own order, the real exit.
"""

import io
import json
import signal
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from typing import Any
from unittest import mock

from svsim.cli import main

Done = subprocess.CompletedProcess[str]
HIDDEN_BY_PYTHON = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def svsim_run(*args: object, code: int = 0) -> Done:
    """Run ``svsim ARGS`` in this process; the exit code must be ``code``."""
    words = ["svsim", *map(str, args)]
    out, err = _stream(), _stream()
    with (
        mock.patch.object(sys, "argv", words),
        redirect_stdout(out),
        redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.showwarning = _show_on_stderr  # not where pytest collects them
        for category in HIDDEN_BY_PYTHON:
            warnings.simplefilter("ignore", category)
        interrupt, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
        try:
            main()
        except SystemExit as exit_:
            found = exit_.code
        finally:  # main leaves them for the end of its process
            signal.signal(signal.SIGINT, interrupt)
            sys.unraisablehook = hook
    assert found is None or isinstance(found, int)
    return _checked(subprocess.CompletedProcess(words, found or 0, _text(out), _text(err)), code)


def svsim_process(*args: object, code: int = 0, env: dict[str, str] | None = None) -> Done:
    """Run ``svsim ARGS`` in a process of its own; the exit code must be ``code``."""
    command = [sys.executable, "-c", "from svsim.cli import main; main()", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=env)
    return _checked(done, code)


def svsim_json(*args: object) -> Any:
    """Run with ``--json -``; stdout must be JSON and nothing else, stderr empty."""
    done = svsim_run(*args, "--json", "-")
    assert done.stderr == ""
    return json.loads(done.stdout)


def svsim_refuses(*args: object, code: int = 2) -> str:
    """Run a bad command; returns its one line on stderr. Nothing goes to stdout."""
    done = svsim_run(*args, code=code)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("svsim: ") and "Traceback" not in lines[0]
    return lines[0].removeprefix("svsim: ")


def _checked(done: Done, code: int) -> Done:
    assert done.returncode == code, f"exit {done.returncode}, stderr: {done.stderr}"
    return done


def _stream() -> io.TextIOWrapper:
    """What a process has for stdout when it is no terminal."""
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def _show_on_stderr(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object
) -> None:
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))
