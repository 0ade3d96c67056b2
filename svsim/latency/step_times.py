"""Step-time tables: the rows of one deployment out of the columns of ``svsim.step_time_format``."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.errors import LatencyError, printable
from svsim.latency.hardware_spec import Placement
from svsim.latency.names import closest_names
from svsim.latency.shape import Role
from svsim.reading import open_regular
from svsim.step_time_format import MAX_ROWS, OVERHEAD_ROLE, checked_columns

Floats = NDArray[np.float64]
EXPECTED = "a Parquet step-time table"
MAX_FILE_BYTES = 256 << 20
ROW_COLUMNS = ("num_sequences", "num_new_tokens", "num_kv_tokens", "seconds")


@dataclass(frozen=True, slots=True)
class RoleRows:
    """Rows of one role on one piece of hardware: float64 [N] each, and the distinct sources."""

    num_sequences: Floats
    num_new_tokens: Floats
    num_kv_tokens: Floats
    seconds: Floats
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SelectedRows:
    """The rows of one deployment: per role, and the host overhead per step (0 without such rows)."""

    hardware: str
    tensor_parallel: int
    roles: Mapping[Role, RoleRows]
    overhead_per_step_s: float


def hardware_in(columns: Mapping[str, NDArray[Any]]) -> list[tuple[str, int]]:
    """The (hardware, tensor_parallel) pairs of the target rows, in file order."""
    is_target = _column(columns, "role") == Role.TARGET
    names = _column(columns, "hardware")[is_target]
    degrees = _column(columns, "tensor_parallel")[is_target]
    return list(dict.fromkeys((str(name), int(tp)) for name, tp in zip(names, degrees, strict=True)))


def select(
    columns: Mapping[str, NDArray[Any]],
    hardware: str | None,
    tensor_parallel: int | None,
    where: str,
    placements: Mapping[Role, Placement] = MappingProxyType({}),
) -> SelectedRows:
    """The rows of one deployment; ``None`` takes the first hardware (or degree) in file order.

    The target's rows are those of ``tensor_parallel``. Another role's rows are those of the same degree
    if it is placed ``sharded``, those of one GPU if it is placed otherwise; where nothing is said those
    of the same degree if it has any, else of one GPU. LatencyError if a placed role has no such rows.
    """
    columns = checked_columns(columns, where, LatencyError, whole_counts=False)
    known = hardware_in(columns)
    if not known:
        raise LatencyError(f"{where}: no row of role target; expected the target's step times")
    hardware = known[0][0] if hardware is None else hardware
    degrees = [tp for name, tp in known if name == hardware]
    if not degrees:
        near = closest_names(hardware, [name for name, _ in known])
        raise LatencyError(f"{where}: no step times of hardware {printable(hardware, 80)}; {near}")
    tensor_parallel = degrees[0] if tensor_parallel is None else tensor_parallel
    if tensor_parallel not in degrees:
        listed = ", ".join(map(str, degrees))
        raise LatencyError(
            f"{where}: no step times of {hardware} at tp={tensor_parallel}; it has tp={listed}"
        )

    on_hardware = _column(columns, "hardware") == hardware
    degree = _column(columns, "tensor_parallel")
    role_names = _column(columns, "role")

    def rows_of(role: str) -> NDArray[np.bool_]:
        rows = np.logical_and(on_hardware, role_names == role)
        same = np.logical_and(rows, degree == tensor_parallel)
        alone = np.logical_and(rows, degree == 1)
        placement = placements.get(Role(role)) if role != OVERHEAD_ROLE else None
        if placement is None:
            return np.asarray(same if same.any() else alone)
        chosen, tp = (same, tensor_parallel) if placement is Placement.SHARDED else (alone, 1)
        if not chosen.any():
            listed = ", ".join(f"tp={d}" for d in sorted(set(degree[rows].tolist()))) or "none"
            raise LatencyError(
                f"{where}: {role}={placement} needs step times of the {role} on {hardware} at tp={tp}, and "
                f"there are {listed}; measure them, or take `latency` database or roofline"
            )
        return np.asarray(chosen)

    roles = {role: _role_rows(columns, rows_of(role)) for role in Role if rows_of(role).any()}
    overheads = _column(columns, "seconds")[rows_of(OVERHEAD_ROLE)]
    overhead_s = float(np.median(overheads)) if overheads.size else 0.0
    return SelectedRows(hardware, tensor_parallel, roles, overhead_s)


def read_step_times(path: str | Path) -> dict[str, NDArray[Any]]:
    """The columns of a Parquet step-time table. Raises LatencyError, one line."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    where = printable(path)
    with open_regular(path, EXPECTED, LatencyError) as file:
        num_bytes = os.fstat(file.fileno()).st_size
        try:
            with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
                if not 0 < parquet.metadata.num_rows <= MAX_ROWS or num_bytes > MAX_FILE_BYTES:
                    raise ValueError(f"{parquet.metadata.num_rows} rows, {num_bytes} bytes")
                table = parquet.read()
            table.validate(full=True)
            return {name: table.column(name).to_numpy() for name in table.column_names}
        except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError) as error:
            reason = printable(" ".join(str(error).split()), 120)
            raise LatencyError(f"{where}: not {EXPECTED} ({reason})") from None


def _role_rows(columns: Mapping[str, NDArray[Any]], rows: NDArray[np.bool_]) -> RoleRows:
    sequences, tokens, kv, seconds = (_column(columns, name)[rows].astype(np.float64) for name in ROW_COLUMNS)
    sources = _column(columns, "source")[rows]
    return RoleRows(sequences, tokens, kv, seconds, tuple(dict.fromkeys(map(str, sources))))


def _column(columns: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    return np.asarray(columns[name])
