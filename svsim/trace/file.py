"""Trace files, load and save: one self-contained Parquet file per trace.

The format is spread over: ``trace_schema`` (columns), ``trace_metadata`` and ``trace_step_times`` (the
two metadata keys), ``trace_rows`` and ``trace_validation`` (what must hold), ``trace_reader`` and
``trace_writer`` (files larger than memory).
"""

import os
from collections.abc import Sequence

from svsim.trace.metadata import creation_date
from svsim.trace.reader import TraceReader
from svsim.trace.schema import SignalDtype
from svsim.trace.token_trace import TokenTrace
from svsim.trace.writer import DEFAULT_ROWS_PER_GROUP, TraceWriter

__all__ = ["TraceReader", "TraceWriter", "creation_date", "load_trace", "save_trace"]


def load_trace(
    path: str | os.PathLike[str],
    *,
    signals: Sequence[str] | None = None,
    target_columns: Sequence[str] | None = None,
) -> TokenTrace:
    """The whole trace in memory, every row checked.

    ``signals`` and ``target_columns`` (``accept_prob``, ``target_overlap``) choose the [T, K] columns
    to read, None all of them. Raises TraceError for anything that is not a valid trace file and
    MissingSignalError for a column the trace lacks.
    """
    reader = TraceReader(path)
    whole = reader.num_positions
    return next(reader.iter_chunks(min_positions=whole, signals=signals, target_columns=target_columns))


def save_trace(
    trace: TokenTrace,
    path: str | os.PathLike[str],
    *,
    rows_per_group: int = DEFAULT_ROWS_PER_GROUP,
    signal_dtype: SignalDtype = "float16",
) -> None:
    """Write ``trace`` to ``path`` in one go: whole or not at all, the same bytes for the same trace.

    Signals are rounded to ``signal_dtype`` ("float16": a probability moves by at most 2**-12).
    Raises TraceError for a trace that breaks the format, InputError where the file cannot be written.
    """
    with TraceWriter(
        path,
        trace.metadata,
        step_times=trace.step_times,
        rows_per_group=rows_per_group,
        signal_dtype=signal_dtype,
    ) as writer:
        writer.write(trace)
