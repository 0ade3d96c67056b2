"""What is kept of finished requests, in order of arrival, in memory that does not grow with the run.

Rows are handed over as requests finish. Once every request that arrived before some moment has finished,
their rows are put in order; beyond ``MOST_ROWS`` of them they go to an unnamed temporary file, which
statistics read piece by piece.
"""

import mmap
import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np

from svsim.errors import InputError
from svsim.serving.state import Requests

MOST_ROWS = 1 << 16  # of a replication that stay in memory
PIECE = 1 << 16  # rows that statistics look at together
RECORD = np.dtype(
    [(name, np.float64) for name in ("arrival_s", "scheduled_s", "first_token_s", "finish_s")]
    + [(name, np.int64) for name in ("row", "accepted", "verified", "drafted")]
    + [
        (name, np.int32)
        for name in ("prompt", "output", "out", "steps", "decode_steps", "own_tokens", "preemptions")
    ]
)
_FIELDS = list(RECORD.names or ())


def slim(rows: Requests) -> Requests:
    """The fields that are kept [RECORD]."""
    found = np.zeros(len(rows), RECORD)
    for name in _FIELDS:
        found[name] = rows[name]
    return found


def pieces(rows: Requests) -> Iterator[Requests]:
    """All rows in order, so many at a time, in memory; of a mapped file no more than that."""
    mapped = getattr(rows, "_mmap", None)
    for first in range(0, len(rows), PIECE):
        yield np.array(rows[first : first + PIECE])
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


class Ledger:
    """Finished requests: ``add`` them, ``settle`` those that nothing can come before, ask for ``all``."""

    def __init__(self) -> None:
        self._open: list[Requests] = []
        self._settled: list[Requests] = []
        self._num_settled = self._num_filed = 0
        self._file: IO[bytes] | None = None

    def add(self, rows: Requests) -> None:
        """Of requests that have finished, in any order."""
        if len(rows):
            self._open.append(slim(rows))

    def settle(self, before_s: float) -> None:
        """All requests that arrive before ``before_s`` were added."""
        if not self._open:
            return
        rows = np.concatenate(self._open)
        is_known = rows["arrival_s"] < before_s
        self._open = [rows[~is_known]]
        self._append(_sorted(rows[is_known]))

    def all(self, unfinished: Requests) -> Requests:
        """Every row, those that have not finished too, in order of arrival: an array, or a mapped file."""
        self._append(_sorted(np.concatenate([*self._open, slim(unfinished)])))
        self._open = []
        if self._file is None:
            return np.concatenate(self._settled)
        self._write()
        return np.memmap(self._file, RECORD, "r+", shape=(self._num_filed,))

    def _append(self, rows: Requests) -> None:
        self._settled.append(rows)
        self._num_settled += len(rows)
        if self._num_settled > MOST_ROWS:
            self._write()

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="svsim-")  # noqa: SIM115
            for rows in self._settled:
                self._file.write(rows.tobytes())
            self._file.flush()
        except OSError as error:
            raise InputError(
                f"requests of a long run go to a temporary file in {tempfile.gettempdir()}, which cannot be "
                f"written ({error.strerror}); set TMPDIR to a folder with more room, or ask for a shorter "
                "`duration`"
            ) from None
        self._num_filed += self._num_settled
        self._settled, self._num_settled = [], 0


def _sorted(rows: Requests) -> Requests:
    return rows[np.lexsort([rows["row"], rows["arrival_s"]])]
