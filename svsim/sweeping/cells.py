"""Cells by name: what is to be run, as text, and the digest that tells whether it was run before.

A digest covers the command, every option, the bytes of every file that is read, and svsim itself (version
and sources). Neither where files lie nor who runs a cell is in it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from svsim.sweeping.commands import PARAMETER_OF, WHAT_IFS
from svsim.sweeping.grid import Grid, Options
from svsim.sweeping.inputs import InputFiles
from svsim.version import __version__

_PACKAGE = Path(__file__).resolve().parents[1]
DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a grid: its digest, and what differs from the options that all cells share."""

    digest: str
    point: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a grid with the files they read."""

    grid: Grid
    inputs: InputFiles

    @classmethod
    def of(cls, grid: Grid) -> "Cells":
        """Raises InputError for a file that is not there."""
        return cls(grid, InputFiles.of(grid))

    def __iter__(self) -> Iterator[Cell]:
        """Distinct cells in the order of the grid."""
        seen: set[str] = set()
        for point in self.grid.points():
            digest = self.digest_of(self.grid.options(point))
            if digest not in seen:
                seen.add(digest)
                yield Cell(digest, point)

    def digest_of(self, options: Options) -> str:
        """The digest of a cell with these options."""
        held = {name: self.inputs.identity(name, value) for name, value in options.items()}
        identity = {"command": self.grid.command.name, "options": held, "svsim": code_digest()}
        return hashlib.blake2b(canonical(identity).encode(), digest_size=DIGEST_BYTES).hexdigest()

    def task(self, cell: Cell) -> str:
        """What a worker is told: names, paths and seeds, as JSON."""
        options = self.grid.options(cell.point)
        files = {
            path: self.inputs.digests[path]
            for name, value in options.items()
            for one in (value if isinstance(value, list | tuple) else (value,))
            if (path := self.inputs.path_of(name, one)) is not None
        }
        resolved = {name: self.inputs.resolved(name, value) for name, value in options.items()}
        return canonical(
            {
                "cell": cell.digest,
                "command": self.grid.command.name,
                "options": {PARAMETER_OF.get(name, name): value for name, value in resolved.items()},
                "files": files,
                "svsim": code_digest(),
            }
        )

    def shares_trace(self, cell: Cell) -> str:
        """Cells with the same text run on the same trace and what-ifs: best one after another."""
        options = self.grid.options(cell.point)
        return canonical([options.get(name) for name in ("trace", *WHAT_IFS)])


def canonical(value: Any) -> str:
    """JSON with one spelling for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@cache
def code_digest() -> str:
    """``VERSION+DIGEST`` of this svsim: another one may answer otherwise."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(p for p in _PACKAGE.rglob("*") if p.suffix in (".py", ".json", ".csv", ".parquet")):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return f"{__version__}+{digest.hexdigest()}"
