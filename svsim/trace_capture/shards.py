"""Crash-safe pieces of a capture: what is finished survives ``kill -9`` and a full disk.

Beside the trace ``X`` lies the folder ``X.shards`` with ``manifest.json`` (what was asked for) and one
``shard-NNNNN.npz`` per finished batch of requests. Every file appears under its name only when it is
complete on disk. A batch is always run from its start, so a resumed capture gives the same bytes.
"""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError
from svsim.files import write_atomically
from svsim.reading import json_object
from svsim.trace_capture.coherent_chains import ChainRecord

Arrays = dict[str, NDArray[Any]]


class ShardFolder:
    """The finished batches of one capture. ``open`` starts or continues it."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest

    @classmethod
    def open(cls, out: Path, asked: dict[str, Any], date: str, resume: bool) -> "ShardFolder":
        """Start a folder for ``out``, or continue it with ``resume``.

        Raises InputError if unfinished work lies there and ``resume`` is off, or if it was started with
        other settings (the first that differs is named).
        """
        path = out.with_name(out.name + ".shards")
        manifest_path = path / "manifest.json"
        if manifest_path.exists():
            if not resume:
                raise InputError(
                    f"{path}: holds an unfinished capture; continue it with `resume`, or remove the folder"
                )
            manifest = json_object(manifest_path, "what was asked for; remove the folder and start again")
            started = manifest.get("asked")
            if not isinstance(started, dict) or not isinstance(manifest.get("date"), str):
                raise InputError(f"{manifest_path}: unreadable; remove the folder and start again")
            for key, value in json.loads(json.dumps(asked)).items():
                if started.get(key) != value:
                    raise InputError(
                        f"{path}: was started with {key} = {started.get(key)}, now {value}; resume with the "
                        "same settings, or remove the folder and start again"
                    )
            return cls(path, manifest)
        manifest = {"asked": asked, "date": date}
        folder = cls(path, manifest)
        folder._guard(lambda: path.mkdir(parents=True, exist_ok=True))
        folder._write(manifest_path, json.dumps(manifest, sort_keys=True, indent=1).encode())
        return folder

    @property
    def date(self) -> str:
        """The day the capture began."""
        return str(self.manifest["date"])

    def has(self, index: int) -> bool:
        """Whether batch ``index`` is finished."""
        return self._file(index).exists()

    def save(self, index: int, record: ChainRecord) -> None:
        """Keep a finished batch."""
        arrays: Arrays = {
            "num_positions": record.num_positions,
            "num_accepted": record.num_accepted,
            "is_dropped": record.is_dropped,
            "bias_total": record.bias_total,
            "bias_count": record.bias_count,
        }
        arrays |= {f"column/{name}": values for name, values in record.columns.items()}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        self._write(self._file(index), buffer.getvalue())

    def load(self, index: int, *names: str) -> Arrays:
        """Arrays of a finished batch: the named ones, or all of them."""
        with np.load(self._file(index), allow_pickle=False) as file:
            return {name: file[name] for name in names or file.files}

    def remove(self) -> None:
        """Throw the folder away, after the trace is complete."""
        shutil.rmtree(self.path)

    def _file(self, index: int) -> Path:
        return self.path / f"shard-{index:05d}.npz"

    def _write(self, path: Path, data: bytes) -> None:
        self._guard(lambda: write_atomically(path, data))

    def _guard(self, action: Any) -> None:
        try:
            action()
        except OSError as error:
            num = len(list(self.path.glob("shard-*.npz"))) if self.path.is_dir() else 0
            raise InputError(
                f"{self.path}: cannot be written ({error.strerror}); {num} finished batches are kept: "
                "make room there and run again with resume (--resume)"
            ) from error
