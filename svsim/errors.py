"""Every error svsim raises on purpose.

::

    SvsimError
    ├── InputError            bad usage or bad input             exit code 2
    │   ├── TraceError        a trace file or its contents
    │   │   └── MissingSignalError   a method needs a column the trace lacks
    │   ├── LatencyError      a latency file, table or query
    │   │   └── OutOfRangeError      a shape outside the calibrated range
    │   └── MethodError       an unknown or ill-posed decoding method
    ├── InfeasibleError       understood, but cannot be met      exit code 3
    └── InvariantError        svsim broke its own rule: a bug    exit code 1

A message is one line: what was wrong, the value got, what was expected, what to do. It names an option as
Python has it, in backticks (```batch_sizes```, ```latency=roofline```); the command line says --batch.
"""


class SvsimError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class InputError(SvsimError):
    """Bad usage or bad input; the message names the file, column or option and the remedy."""

    exit_code = 2


class TraceError(InputError):
    """A trace file, its columns or its metadata break the trace format."""


class MissingSignalError(TraceError):
    """A method needs a signal column that the trace does not hold."""


class LatencyError(InputError):
    """A latency file or step-time table is unusable."""


class OutOfRangeError(LatencyError):
    """A pass outside the calibrated range was priced with ``out_of_range="raise"``."""


class MethodError(InputError):
    """An unknown decoding method, an unknown option of it, or a value out of its domain."""


class InfeasibleError(SvsimError):
    """The request is understood but cannot be met; the message names the closest that can."""

    exit_code = 3


class InvariantError(SvsimError):
    """An invariant of the simulation does not hold: a bug in svsim."""


def require(condition: bool, message: str) -> None:
    """Raise InputError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise InputError(message)


def printable(text: object, max_length: int = 200) -> str:
    """``text`` on one line that is safe on a terminal: for names that come out of files.

    Control, formatting and undecodable characters (escape sequences, line breaks, bidirectional
    overrides) become ``?``; more than ``max_length`` characters are cut, ending in ``...``.
    """
    full = str(text)
    shown = "".join(char if char.isprintable() else "?" for char in full[:max_length])
    return shown if len(full) <= max_length else f"{shown}..."
