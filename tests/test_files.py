"""Files written whole or not at all; what is no regular file is never replaced."""

import os
import threading
from pathlib import Path

import pytest

from svsim.files import read_at_most, write_atomically


def test_a_pipe_is_written_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"rows")
    reader.join(timeout=10)
    assert got == [b"rows"]
    assert pipe.is_fifo()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("limit", "found"), [(3, b"abc"), (2, None)])
def test_reading_ends_at_the_limit(tmp_path, limit, found):
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    assert read_at_most(file, limit) == found


def test_a_device_without_an_end_is_too_large():
    assert read_at_most(Path("/dev/zero"), 100) is None
