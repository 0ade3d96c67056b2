"""Files written whole or not at all; what is no regular file is never replaced."""

import os
import stat
import threading
from pathlib import Path

import pytest

from svsim.files import descriptor_of, replacing, write_atomically


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


def test_temporary_names_are_new_each_time_and_never_an_existing_file(tmp_path, monkeypatch):
    names = []
    for _ in range(2):
        with replacing(tmp_path / "file") as file:
            (name,) = [p.name for p in tmp_path.iterdir() if p.name != "file"]
            names.append(name)
            file.write(b"x")
    assert names[0] != names[1]
    assert len(names[0]) >= 32
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    (tmp_path / ".svsim-guessed.tmp").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError), replacing(tmp_path / "file"):
        pass
    assert not (tmp_path / "victim").exists()


def test_a_name_of_255_characters_can_be_written(tmp_path):
    file = tmp_path / ("n" * 255)
    write_atomically(file, b"rows")
    assert file.read_bytes() == b"rows"


def test_a_link_is_followed_and_rights_are_kept(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"old")
    file.chmod(0o600)
    link.symlink_to(file)
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/dev/stdout", 1), ("/dev/fd/17", 17), ("/proc/self/fd/2", 2), ("/dev/null", None), ("out", None)],
)
def test_names_of_open_descriptors(path, expected):
    assert descriptor_of(path) == expected


def test_an_open_descriptor_is_appended_to_not_replaced(tmp_path):
    file = tmp_path / "log"
    with file.open("wb") as stream:
        stream.write(b"before ")
        stream.flush()
        write_atomically(Path(f"/dev/fd/{stream.fileno()}"), b"rows")
    assert file.read_bytes() == b"before rows"
