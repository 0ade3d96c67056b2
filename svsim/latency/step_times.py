"""Step-time tables: measured (or modelled) seconds of single passes, as columns.

Columns, one row per shape: ``role`` (target, draft, companion, or overhead), ``hardware``,
``tensor_parallel`` (GPUs that run this pass), ``num_sequences``, ``num_new_tokens``,
``num_kv_tokens`` (both summed over the sequences), ``seconds`` (median), ``p10_s``, ``p90_s``,
``num_repeats``, ``source`` (measured, database, roofline ...). A row of role ``overhead`` is the host
time of a whole decoding step. The last four columns are optional.
"""

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

Floats = NDArray[np.float64]
OVERHEAD_ROLE = "overhead"
TEXT_COLUMNS = ("role", "hardware")
NUMBER_COLUMNS = ("tensor_parallel", "num_sequences", "num_new_tokens", "num_kv_tokens", "seconds")
LEAST = {"tensor_parallel": 1, "num_sequences": 1, "num_new_tokens": 1, "num_kv_tokens": 0}


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
    _check(columns, where)
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

    try:
        # opened here, so that a folder or a remote address is not read as a data set
        with Path(path).open("rb") as file:
            table = pq.read_table(file)
        return {name: table.column(name).to_numpy() for name in table.column_names}
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise LatencyError(f"{path}: cannot be read ({reason}); expected a Parquet step-time table") from None
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise LatencyError(f"{path}: not a Parquet step-time table ({reason})") from None


def _role_rows(columns: Mapping[str, NDArray[Any]], rows: NDArray[np.bool_]) -> RoleRows:
    sequences, tokens, kv, seconds = (
        _column(columns, name)[rows].astype(np.float64) for name in NUMBER_COLUMNS[1:]
    )
    sources = _column(columns, "source")[rows] if "source" in columns else ["measured"]
    return RoleRows(sequences, tokens, kv, seconds, tuple(dict.fromkeys(map(str, sources))))


def _column(columns: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    return np.asarray(columns[name])


def _check(columns: Mapping[str, NDArray[Any]], where: str) -> None:
    """LatencyError unless every needed column is there, numeric where it must be, and possible."""
    required = (*TEXT_COLUMNS, *NUMBER_COLUMNS)
    missing = [name for name in required if name not in columns]
    if missing:
        raise LatencyError(
            f"{where}: column {missing[0]} is missing; a step-time table has {', '.join(required)}"
        )
    if len({len(_column(columns, name)) for name in required}) > 1:
        raise LatencyError(f"{where}: step-time columns differ in length; expected one value per row")
    names = _column(columns, "role")
    strange = sorted(set(map(str, names.tolist())) - {*Role, OVERHEAD_ROLE})
    if strange:
        raise LatencyError(
            f"{where}: role {printable(strange[0], 40)}; expected {', '.join(Role)} or {OVERHEAD_ROLE}"
        )
    is_pass = names != OVERHEAD_ROLE
    for name in NUMBER_COLUMNS:
        _check_numbers(_column(columns, name), name, is_pass, where)


def _check_numbers(values: NDArray[Any], name: str, is_pass: NDArray[np.bool_], where: str) -> None:
    if values.dtype.kind not in "iuf":
        raise LatencyError(f"{where}: column {name} holds {values.dtype}; expected numbers")
    if name == "seconds":
        is_bad = ~(np.isfinite(values) & ((values > 0) | (~is_pass & (values == 0))))
        expected = "finite and > 0"
    else:
        least = np.where(is_pass, LEAST[name], 0)
        is_bad = ~(np.isfinite(values) & (values >= least))
        expected = f"finite and >= {LEAST[name]}"
    if is_bad.any():
        row = int(np.argmax(is_bad))
        raise LatencyError(f"{where}: {name} = {values[row]} in row {row}; expected {expected}")
