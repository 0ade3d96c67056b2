"""Files that are written whole or not at all."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

TEMPORARY_PREFIX = ".svsim-"
_DESCRIPTOR = re.compile(r"/dev/(?:(stdin|stdout|stderr)|fd/(\d{1,9}))|/proc/self/fd/(\d{1,9})")
_STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` so that ``path`` is either complete or untouched, also after a power cut.

    A link is followed. An open descriptor (``/dev/stdout``), a device or a pipe is written as it is,
    never replaced.
    """
    descriptor = descriptor_of(path)
    if descriptor is not None:
        with os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(data)
    elif path.exists() and not path.is_file():
        path.write_bytes(data)
    else:
        with replacing(path) as file:
            file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the name ``path`` when the block ends well; else nothing is left of it.

    It has an unpredictable name beside the file that ``path`` stands for (links are followed), is created
    exclusively, and gets the rights of the file it replaces. Raises OSError.
    """
    target = Path(os.path.realpath(path))
    temporary = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(16)}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with suppress(FileNotFoundError):
                os.chmod(temporary, target.stat().st_mode & 0o777)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def descriptor_of(path: str | os.PathLike[str]) -> int | None:
    """The open descriptor that a path like ``/dev/stdout`` or ``/dev/fd/3`` stands for."""
    match = _DESCRIPTOR.fullmatch(os.fspath(path))
    if match is None:
        return None
    return _STANDARD[match[1]] if match[1] else int(match[2] or match[3])
