"""Files that the options of a grid name: where they are, and what is in them."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from svsim.errors import InputError, printable
from svsim.reading import open_regular
from svsim.sweeping.grid import Grid

BLOCK_BYTES = 1 << 20
_PLUG_IN = re.compile(r"(?P<file>[^:]*[\\/][^:]*\.py)(?P<rest>:.*)?")


def _is_model(text: str, folder: Path) -> bool:
    return text.endswith(".json") or text.startswith((".", "/", "~")) or (folder / text).exists()


# option -> whether a text of it is a file's (or a folder's) name, rather than a word
_ALWAYS: Callable[[str, Path], bool] = lambda text, folder: True  # noqa: E731
NAMES_FILE: Mapping[str, Callable[[str, Path], bool]] = {
    "trace": _ALWAYS,
    "workload": _ALWAYS,
    "prices": _ALWAYS,
    "demand": lambda text, folder: text.endswith(".csv"),
    "plugin": _ALWAYS,
    "latency": lambda text, folder: text not in ("trace", "database", "roofline", "auto"),
    "engine": lambda text, folder: text.endswith(".json"),
    **dict.fromkeys(("target", "draft", "companion", "head"), _is_model),
}


@dataclass(frozen=True, slots=True)
class InputFiles:
    """Digests of the files and folders that a grid names, by full path."""

    folder: Path
    digests: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, grid: Grid) -> "InputFiles":
        """Every file of every cell, read once. InputError for one that is not there."""
        named = [grid.fixed, *grid.more, *({name: list(values)} for name, values in grid.axes.items())]
        found: dict[str, str] = {}
        empty = cls(grid.folder)
        for options in named:
            for name, value in options.items():
                for text in value if isinstance(value, list | tuple) else (value,):
                    path = empty.path_of(name, text)
                    if path is not None and path not in found:
                        found[path] = content_digest(path, f"{name} {printable(text, 120)}")
        return cls(grid.folder, found)

    def path_of(self, option: str, value: Any) -> str | None:
        """The full path that a value names; None for anything else."""
        if not isinstance(value, str):
            return None
        if option == "method":
            plug_in = _PLUG_IN.fullmatch(value)
            return None if plug_in is None else self._full(plug_in["file"])
        is_file = NAMES_FILE.get(option)
        return self._full(value) if is_file is not None and is_file(value, self.folder) else None

    def resolved(self, option: str, value: Any) -> Any:
        """A value with the paths in it full, as a cell runs with it."""
        if isinstance(value, list | tuple):
            return [self.resolved(option, one) for one in value]
        path = self.path_of(option, value)
        if path is None or option != "method":
            return value if path is None else path
        return path + (_PLUG_IN.fullmatch(value)["rest"] or "")  # type: ignore[index]

    def identity(self, option: str, value: Any) -> Any:
        """A value with what its files hold in the place of where they lie: what a cell is told apart by."""
        if isinstance(value, list | tuple):
            return [self.identity(option, one) for one in value]
        path = self.path_of(option, value)
        if path is None:
            return value
        return {"named": os.path.basename(value), "holds": self.digests[path]}

    def _full(self, text: str) -> str:
        return os.path.realpath(self.folder / os.path.expanduser(text))


def content_digest(path: str, what: str) -> str:
    """Digest of a file's bytes; of a folder, of the JSON files in it (a model's configs)."""
    digest = hashlib.blake2b(digest_size=16)
    files = [path]
    if os.path.isdir(path):
        files = sorted(str(file) for file in Path(path).glob("*.json"))
        if not files:
            raise InputError(f"{what}: a folder without a config.json; name a file, or a model's folder")
    for file in files:
        digest.update(os.path.basename(file).encode() if len(files) > 1 else b"")
        with open_regular(file, f"the file of {what}") as stream:
            while block := stream.read(BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()
