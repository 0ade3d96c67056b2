"""The columns of a trace file: names, types, domains and limits. One row per output position."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from svsim.errors import TraceError, printable
from svsim.trace.method_columns import Width, is_outcome_name, method_column, width_of

REQUEST_ID = "request_id"
POSITION = "position"
NUM_CONTEXT_TOKENS = "num_context_tokens"
NUM_ACCEPTED = "num_accepted"
TASK = "task"
SCALAR_TYPES: dict[str, Any] = {
    REQUEST_ID: pa.string(),
    POSITION: pa.int32(),
    NUM_CONTEXT_TOKENS: pa.int32(),
    NUM_ACCEPTED: pa.int16(),
}
TARGET_COLUMNS = ("accept_prob", "target_overlap")
PROBABILITIES = frozenset({"draft_prob", "similarity", "companion_accept", *TARGET_COLUMNS})
KNOWN_SIGNALS = PROBABILITIES | {"draft_entropy"}

METADATA_KEY = "svsim"
STEP_TIMES_KEY = "svsim.step_times"
DIGEST_KEY = "svsim.digest"

MAX_REQUEST_ID_CHARS = 512
MAX_CONTEXT_TOKENS = np.iinfo(np.int32).max
# Rounding to float16 moves a probability by at most 2**-11; more than this outside [0, 1] is an error.
PROBABILITY_TOLERANCE = 1e-3

SignalDtype = Literal["float16", "float32"]


def is_signal_name(name: str) -> bool:
    """Whether a column may hold a policy's signal: an identifier outside the target's half.

    Names beginning ``target_`` are reserved for what only the target knows, so a column this
    version does not know can never leak to a policy.
    """
    reserved = name in SCALAR_TYPES or name == TASK or is_target_name(name) or name.startswith("target_")
    return not reserved and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name) is not None


def is_target_name(name: str) -> bool:
    """Whether a column of that name is of the target's half, and loaded."""
    return name in TARGET_COLUMNS or is_outcome_name(name)


def is_extra_target_name(name: str) -> bool:
    """Whether a further column of the target's half may have this name: written, but not loaded."""
    return name not in TARGET_COLUMNS and re.fullmatch(r"target_[A-Za-z0-9_]{1,57}", name) is not None


def domain(name: str) -> tuple[float, float]:
    """(lowest, highest) allowed value of a signal; infinities stand for "any finite number"."""
    column = method_column(name)
    if column is not None and column.is_log:
        return -np.inf, 0.0
    if column is not None and (column.is_count or column.is_amount):
        return 0.0, column.at_most
    if name in PROBABILITIES or column is not None:
        return 0.0, 1.0
    return (0.0, np.inf) if name == "draft_entropy" else (-np.inf, np.inf)


def trace_schema(widths: Mapping[Width, int], signals: list[str], dtype: SignalDtype, has_task: bool) -> Any:
    """The Arrow schema of a trace file; ``signals`` names the list columns, in file order.

    Counts of methods' columns are float32 in any case.
    """
    fields = [pa.field(name, kind, nullable=False) for name, kind in SCALAR_TYPES.items()]
    if has_task:
        fields.append(pa.field(TASK, pa.dictionary(pa.int32(), pa.string()), nullable=False))

    def values(name: str) -> Any:
        column = method_column(name)
        is_exact = dtype == "float32" or (column is not None and column.is_count)
        return pa.list_(pa.float32() if is_exact else pa.float16(), width_of(name, widths))

    return pa.schema(fields + [pa.field(name, values(name), nullable=False) for name in signals])


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_float_list(kind: Any) -> bool:
    lists = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(lists and pa.types.is_floating(kind.value_type))


def check_schema(schema: Any, widths: Mapping[Width, int], file: str) -> tuple[str, ...]:
    """The names of the list columns of a file's Arrow schema; TraceError if it is no trace.

    Integers of any width, large strings and float64 lists are accepted (their values are checked
    later); other columns that are not lists of floats are left alone.
    """
    names = schema.names
    for name in SCALAR_TYPES:
        if name not in names:
            raise TraceError(
                f"{file}: column {name} is missing (it has: {printable(', '.join(names))}); "
                f"expected a trace with the columns {', '.join(SCALAR_TYPES)}"
            )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise TraceError(f"{file}: column {printable(repeated[0])} appears twice; write each column once")
    lists = []
    for field in schema:
        name, kind = field.name, field.type
        expected = None
        if name in (REQUEST_ID, TASK):
            expected = None if _is_text(kind) else "string"
        elif name in SCALAR_TYPES:
            expected = None if pa.types.is_integer(kind) else str(SCALAR_TYPES[name])
        elif _is_float_list(kind):
            length = width_of(name, widths)
            if length == 0 and (is_target_name(name) or is_signal_name(name)):
                expected = "metadata that say what its values are for (`exits`, `blocks` or `trees`)"
            elif pa.types.is_fixed_size_list(kind) and kind.list_size != length:
                expected = f"lists of length {'K = ' if length == widths[Width.CHAIN] else ''}{length}"
            elif is_target_name(name) or is_signal_name(name):
                lists.append(name)
        elif name in KNOWN_SIGNALS:
            expected = f"a fixed-size list of {width_of(name, widths)} float16 or float32"
        if expected is not None:
            raise TraceError(
                f"{file}: column {printable(name)} has type {printable(kind)}, expected {expected}; "
                "write the trace again with svsim"
            )
    return tuple(lists)
