"""The format of step times: which columns, of which kind, within which bounds. Its only definition.

One row per shape of a forward pass, measured or modelled. A row of role ``overhead`` is the host time of a
whole decoding step; its counts and seconds may be 0. ``svsim.trace.step_times`` carries such columns inside
a trace, ``svsim.latency.step_times`` reads a Parquet table of them and chooses rows.

======================  ===========================================================================
role                    target, draft, companion or overhead
hardware                canonical name of the GPU
tensor_parallel         GPUs that run this pass
num_sequences           sequences in the pass
num_new_tokens          tokens computed, summed over the sequences
num_kv_tokens           KV tokens read, summed over the sequences
seconds                 median
p10_s, p90_s            percentiles; NaN where not known (optional)
num_repeats             timings behind the median; 0: none (optional)
source                  measured, database, roofline ... (optional in a table)
======================  ===========================================================================
"""

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError, printable

Columns = Mapping[str, NDArray[Any]]

OVERHEAD_ROLE = "overhead"
ROLES = ("target", "draft", "companion", OVERHEAD_ROLE)
TEXT_COLUMNS = ("role", "hardware", "source")
PERCENTILE_COLUMNS = ("p10_s", "p90_s")
# column -> lowest value in the row of a pass, highest value
COUNT_COLUMNS: Mapping[str, tuple[int, int]] = {
    "tensor_parallel": (1, 1024),
    "num_sequences": (1, 10**9),
    "num_new_tokens": (1, 10**12),
    "num_kv_tokens": (0, 10**15),
    "num_repeats": (0, 10**9),
}
STEP_TIME_COLUMNS = (
    *("role", "hardware", "tensor_parallel", "num_sequences", "num_new_tokens", "num_kv_tokens"),
    *("seconds", "p10_s", "p90_s", "num_repeats", "source"),
)
# what an absent column stands for
ABSENT: Mapping[str, Any] = {"p10_s": np.nan, "p90_s": np.nan, "num_repeats": 0, "source": "measured"}

MAX_ROWS = 1_000_000
MAX_TEXT_CHARS = 256
# No pass is shorter than the start of one GPU kernel takes (about 2 us), none longer than a day.
MIN_PASS_S, MAX_PASS_S = 1e-6, 86_400.0
# Percentiles were rounded on their own.
PERCENTILE_TOLERANCE = 1e-6


def checked_columns(
    columns: Columns,
    where: str,
    error: type[InputError],
    *,
    optional: Mapping[str, Any] = ABSENT,
    whole_counts: bool = True,
) -> dict[str, NDArray[Any]]:
    """All columns in the format's order: str [N], int64 [N] (float64 without ``whole_counts``), float64 [N].

    ``optional``: columns that may be absent, and what they then hold. Raises ``error``, one line that begins
    with ``where`` and names column and row.
    """
    for name in STEP_TIME_COLUMNS:
        if name not in columns and name not in optional:
            raise error(
                f"{where}: column {name} is missing; step times have the columns "
                f"{', '.join(STEP_TIME_COLUMNS)}"
            )
    arrays = {name: np.asarray(columns[name]) for name in STEP_TIME_COLUMNS if name in columns}
    shapes = {values.shape for values in arrays.values()}
    num_rows = len(arrays["seconds"]) if arrays["seconds"].ndim == 1 else 0
    if shapes != {(num_rows,)} or not 0 < num_rows <= MAX_ROWS:
        raise error(
            f"{where}: columns of shapes {printable(sorted(shapes), 80)}; "
            f"expected one value per row, and 1 to {MAX_ROWS:,} rows"
        )
    arrays |= {name: np.full(num_rows, value) for name, value in optional.items() if name not in arrays}
    check = _Check(where, error)
    texts = {name: check.texts(name, arrays[name]) for name in TEXT_COLUMNS}
    is_pass = texts["role"] != OVERHEAD_ROLE
    found: dict[str, NDArray[Any]] = {}
    for name in STEP_TIME_COLUMNS:
        if name in texts:
            found[name] = texts[name]
        elif name in COUNT_COLUMNS:
            found[name] = check.counts(name, arrays[name], is_pass, whole_counts)
        else:
            found[name] = check.seconds(name, arrays[name], is_pass)
    check.order(found)
    return found


class _Check:
    """Checks of one table; every complaint names it, the column and the row."""

    def __init__(self, where: str, error: type[InputError]) -> None:
        self.where, self.error = where, error

    def fail(self, column: str, row: int, got: object, expected: str) -> NoReturn:
        raise self.error(
            f"{self.where}: column {column}, row {row}: got {printable(got, 80)}, expected {expected}; "
            "measure the step times again or leave them out"
        )

    def texts(self, name: str, values: NDArray[Any]) -> NDArray[np.str_]:
        texts = values.tolist()
        fine = {text for text in {text for text in texts if isinstance(text, str)} if _is_name(text)}
        expected = f"a printable text of 1 to {MAX_TEXT_CHARS} characters"
        if name == "role":
            fine, expected = fine.intersection(ROLES), f"one of {', '.join(ROLES)}"
        for row, text in enumerate(texts):
            if not isinstance(text, str) or text not in fine:
                self.fail(name, row, text, expected)
        return np.array(texts, dtype=np.str_)

    def counts(
        self, name: str, values: NDArray[Any], is_pass: NDArray[np.bool_], whole: bool
    ) -> NDArray[Any]:
        if values.dtype.kind not in ("iu" if whole else "iuf"):
            self.fail(name, 0, f"{values[0]} ({values.dtype})", "integers" if whole else "numbers")
        least, most = COUNT_COLUMNS[name]
        lowest = np.where(is_pass, least, 0)
        fine = (values >= lowest) & (values <= most)  # false for NaN
        if not fine.all():
            row = int(np.argmin(fine))
            self.fail(name, row, values[row], f"{least} to {most:,}")
        return values.astype(np.int64 if whole else np.float64)

    def seconds(self, name: str, values: NDArray[Any], is_pass: NDArray[np.bool_]) -> NDArray[np.float64]:
        if values.dtype.kind not in "iuf":
            self.fail(name, 0, f"{values[0]} ({values.dtype})", "seconds")
        values = values.astype(np.float64)
        fine = (values >= np.where(is_pass, MIN_PASS_S, 0.0)) & (values <= MAX_PASS_S)
        if name in PERCENTILE_COLUMNS:
            fine |= np.isnan(values)
        if not fine.all():
            row = int(np.argmin(fine))
            self.fail(name, row, values[row], f"{MIN_PASS_S:g} to {MAX_PASS_S:g} seconds")
        return values

    def order(self, columns: Columns) -> None:
        """Percentiles lie on their sides of the median."""
        median, slack = columns["seconds"], 1.0 + PERCENTILE_TOLERANCE
        wrong = {"p10_s": columns["p10_s"] > median * slack, "p90_s": columns["p90_s"] * slack < median}
        for name, rows in wrong.items():
            if rows.any():
                row = int(np.argmax(rows))
                side = "at most" if name == "p10_s" else "at least"
                self.fail(name, row, columns[name][row], f"{side} the median of {median[row]:g} s")


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_TEXT_CHARS and text.isprintable()
