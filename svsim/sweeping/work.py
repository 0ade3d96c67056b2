"""One cell, in whatever process: a task's text in, its outcome's text out.

A process opens a trace once and keeps it, with its last what-ifs, for the next cells.
"""

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from svsim.errors import InputError, InvariantError, SvsimError, printable, require
from svsim.sweeping.cells import canonical, code_digest
from svsim.sweeping.commands import WHAT_IFS, command_named
from svsim.sweeping.inputs import content_digest
from svsim.trace.file import TraceReader, load_trace
from svsim.trace.parts import IN_MEMORY_POSITIONS
from svsim.trace.token_trace import TokenTrace
from svsim.trace.what_if import with_acceptance, with_context

KEPT_TRACES = 2


def run_task(text: str) -> str:
    """The outcome of a task: rows; or a problem (an answer as well: bad input stays bad); or a failure.

    A failure is nothing that the cell says: a bug, no memory, another svsim or another file on this machine.
    """
    task = json.loads(text)
    outcome: dict[str, Any] = {"cell": task["cell"], "rows": [], "notes": [], "problem": None}
    try:
        _check_machine(task)
        outcome |= _answer(task["command"], task["options"], task["files"])
    except InvariantError as error:
        outcome["failure"] = f"a bug in svsim ({printable(error, 300)})"
    except _AnotherMachineError as error:
        outcome["failure"] = str(error)
    except SvsimError as error:
        outcome["problem"] = {"exit_code": error.exit_code, "message": printable(error, 1000)}
    except MemoryError:
        outcome["failure"] = "not enough memory; run fewer workers"
    except Exception as error:
        outcome["failure"] = f"a bug in svsim ({type(error).__name__}: {printable(error, 300)})"
    return canonical(outcome)


class _AnotherMachineError(Exception):
    """What runs here, or lies here, is not what the sweep was started with."""


def _check_machine(task: Mapping[str, Any]) -> None:
    """Cells of one sweep are of one svsim and of the same files, on whatever machine they run."""
    if task["svsim"] != code_digest():
        raise _AnotherMachineError(
            f"a worker has svsim {code_digest()}, the sweep {task['svsim']}; install the same on all machines"
        )
    for path, digest in task["files"].items():
        try:
            found = _digest_here(path, os.stat(path).st_mtime_ns)
        except (OSError, InputError):
            found = "none"
        if found != digest:
            raise _AnotherMachineError(
                f"{printable(path)} is missing or another file where a worker runs; put the same files "
                "under the same paths on all machines"
            )


@lru_cache(maxsize=256)
def _digest_here(path: str, _changed_ns: int) -> str:
    return content_digest(path, path)


def _answer(name: str, options: dict[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    command = command_named(name)
    what_if = {key: options.pop(key) for key in WHAT_IFS if key in options}
    if isinstance(options.get("trace"), str):
        options["trace"] = _trace(options["trace"], files.get(options["trace"], ""), **what_if)
    elif what_if:
        raise InputError(f"`{next(iter(what_if))}` reshapes a trace, and there is none; leave it out")
    result = command.load()(**options, jobs=1)
    return {"rows": command.records(result), "notes": list(getattr(result, "notes", ()))}


@lru_cache(maxsize=KEPT_TRACES)
def _trace(
    path: str, digest: str, acceptance: float | None = None, context: float | None = None
) -> TokenTrace | str:
    """The trace, reshaped, in memory; one that is too long for it by its path."""
    trace = _opened(path, digest)
    if acceptance is None and context is None:
        return trace
    require(
        isinstance(trace, TokenTrace),
        f"`acceptance` and `context` reshape a trace in memory, and this one has more than "
        f"{IN_MEMORY_POSITIONS:,} positions; take a shorter one",
    )
    assert isinstance(trace, TokenTrace)
    for key, value in (("acceptance", acceptance), ("context", context)):
        require(
            value is None or (isinstance(value, int | float) and not isinstance(value, bool)),
            f"`{key}` is {printable(repr(value), 40)}; expected a number",
        )
    trace = trace if acceptance is None else with_acceptance(trace, acceptance)
    return trace if context is None else with_context(trace, context)


@lru_cache(maxsize=KEPT_TRACES)
def _opened(path: str, digest: str) -> TokenTrace | str:
    return load_trace(path) if TraceReader(path).num_positions <= IN_MEMORY_POSITIONS else path
