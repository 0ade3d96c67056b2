"""The folder of a sweep: ``cells/DIGEST.json``, one finished cell each, ``rows.parquet`` and ``sweep.json``.

Cells are written whole or not at all, each with a checksum: what was half written, or damaged, is run again.
Another grid of the same command may use the folder: cells that both have are taken, ``rows.parquet`` is of
the grid that ran last.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from svsim.errors import InputError, printable
from svsim.files import TEMPORARY_PREFIX, replacing, write_atomically
from svsim.reading import json_object
from svsim.sweeping.cells import Cell, canonical
from svsim.sweeping.grid import Grid

ROWS, GRID, CELLS = "rows.parquet", "sweep.json", "cells"
METADATA_KEY = b"svsim"
CHUNK_ROWS = 8192
EXPECTED = "the sweep.json of a sweep's folder"


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """A folder for the cells and rows of sweeps of one command."""

    path: Path

    @property
    def rows(self) -> Path:
        """The file of all rows."""
        return self.path / ROWS

    def check(self, grid: Grid, inputs: Iterable[str]) -> None:
        """InputError unless the grid may be swept into it, with nothing that it reads destroyed."""
        where = printable(self.path)
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{where} is a file; --out needs a folder, new or of a sweep")
        for source in inputs:
            if self.owns(source):
                raise InputError(
                    f"--out {where} would destroy what the grid reads, {printable(source)}; "
                    "choose another folder"
                )
        if not self.path.exists() or not any(_own_files(self.path)):
            return
        if not (self.path / GRID).is_file():
            raise InputError(
                f"{where} holds other files; --out needs a folder that is new, empty or a sweep's"
            )
        before = json_object(self.path / GRID, EXPECTED).get("grid", {}).get("command", {}).get("name")
        if before != grid.command.name:
            raise InputError(
                f"{where} holds a sweep of svsim {printable(before, 40)}, and this grid is of svsim "
                f"{grid.command.name}; choose another folder"
            )

    def owns(self, path: str) -> bool:
        """Whether a path is, or lies in, what the folder keeps."""
        return any(_is_in(path, self.path / name) for name in (ROWS, GRID, CELLS))

    def begin(self, grid: Grid, version: str) -> None:
        """Make the folder, and say what it is of."""
        try:
            (self.path / CELLS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{printable(self.path)} cannot be made ({error.strerror}); choose another --out"
            ) from None
        document = {"svsim": version, "grid": grid.to_dict()}
        self._write(self.path / GRID, json.dumps(document, indent=2, allow_nan=False) + "\n")

    def keep(self, outcome: Mapping[str, Any]) -> None:
        """Write a finished cell."""
        body = canonical(outcome)
        text = f'{{"checksum":"{_checksum(body)}","outcome":{body}}}\n'
        self._write(self._file(outcome["cell"]), text)

    def kept(self, digest: str) -> dict[str, Any] | None:
        """A finished cell; None where there is none, or a damaged one."""
        try:
            document = json.loads(self._file(digest).read_bytes())
            outcome = document["outcome"]
            is_sound = document["checksum"] == _checksum(canonical(outcome)) and outcome["cell"] == digest
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return outcome if is_sound else None

    def finished(self) -> set[str]:
        """Digests of cells that have a file, sound or not."""
        try:
            return {name.removesuffix(".json") for name in os.listdir(self.path / CELLS)}
        except OSError:
            return set()

    def write_rows(self, grid: Grid, cells: Iterable[Cell], about: Mapping[str, Any]) -> pa.Table:
        """``rows.parquet`` of finished cells, in their order; the same bytes for the same cells."""
        columns = grid.columns
        tables = [_table(chunk) for chunk in _chunks(self._records(columns, cells))]
        table = _joined(tables).replace_schema_metadata({METADATA_KEY: canonical(about).encode()})
        with replacing(self.rows) as file:
            pq.write_table(table, file, row_group_size=1 << 16, write_page_checksum=True)
        return table

    def _records(self, columns: Sequence[str], cells: Iterable[Cell]) -> Iterator[dict[str, Any]]:
        for cell in cells:
            outcome = self.kept(cell.digest)
            assert outcome is not None, "a finished cell has left its folder"
            problem = outcome["problem"]
            head: dict[str, Any] = {"cell": cell.digest}
            head |= {f"axis_{name}": _plain(cell.point.get(name)) for name in columns}
            head["problem"] = None if problem is None else problem["message"]
            for row in outcome["rows"] or [{}]:
                yield head | row

    def _file(self, digest: str) -> Path:
        return self.path / CELLS / f"{digest}.json"

    def _write(self, path: Path, text: str) -> None:
        try:
            write_atomically(path, text.encode())
        except OSError as error:
            raise InputError(
                f"{printable(path)} cannot be written ({error.strerror}); what is finished is kept: mend it "
                "and run again"
            ) from None


def _is_in(source: str, place: Path) -> bool:
    real, mine = os.path.realpath(source), os.path.realpath(place)
    return real == mine or real.startswith(mine + os.sep)


def _own_files(path: Path) -> Iterator[str]:
    return (name for name in os.listdir(path) if not name.startswith(TEMPORARY_PREFIX))


def _checksum(body: str) -> str:
    return hashlib.blake2b(body.encode(), digest_size=16).hexdigest()


def _plain(value: Any) -> Any:
    """An axis value as a column has it: several as text."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _chunks(records: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _table(records: Sequence[Mapping[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for record in records for name in record)
    return pa.table({name: _column([record.get(name) for record in records]) for name in names})


def _column(values: list[Any]) -> Any:
    """One type for a column: numbers and texts in it make it text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # numbers in one chunk, texts in another
        kinds: dict[str, set[str]] = {}
        for table in tables:
            for name in table.column_names:
                kinds.setdefault(name, set()).add(str(table.schema.field(name).type))
        texts = {name for name, found in kinds.items() if "string" in found}
        return pa.concat_tables(
            [_as_text(table, texts) for table in tables], promote_options="permissive"
        ).combine_chunks()


def _as_text(table: pa.Table, names: set[str]) -> pa.Table:
    for place, name in enumerate(table.column_names):
        if name in names:
            values = [None if v is None else str(v) for v in table.column(name).to_pylist()]
            table = table.set_column(place, name, pa.array(values, pa.string()))
    return table
