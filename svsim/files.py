"""Files that are written whole or not at all, and read up to a size."""

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` so that ``path`` is either complete or untouched, also after a power cut.

    What is no regular file (``/dev/stdout``, a pipe) is written as it is, never replaced.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_at_most(path: Path, max_bytes: int) -> bytes | None:
    """The bytes of a file, or None if there are more than ``max_bytes``; a device without an end is one."""
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    return data if len(data) <= max_bytes else None
