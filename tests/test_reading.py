"""One reader of JSON and of bytes: one line of complaint, whatever the file is."""

import os

import pytest

from svsim.errors import InputError, LatencyError
from svsim.reading import json_object, parse_json, read_bytes

REFUSED = {
    "cut": b'{"a": 1',
    "not UTF-8": b"\xff\xfe{}",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "65 deep": b"[" * 65 + b"]" * 65,
    "long number": b"1" * 5000,
    "400 digits": b"-" + b"1" * 400,
    "empty": b"",
    "two documents": b"{} {}",
}
REFUSED_OF_OUR_OWN = {
    "NaN": b"[NaN]",
    "infinity": b"-Infinity",
    "too large": b"1e999",
    "twice": b'{"a": 1, "a": 2}',
    "lone surrogate": b'"\\ud800"',
}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("case", REFUSED)
def test_what_no_format_may_hold(case, strict):
    with pytest.raises(LatencyError, match=r"^here: not valid JSON .*; expected this$") as caught:
        parse_json(REFUSED[case], "here", "this", LatencyError, strict=strict)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("case", REFUSED_OF_OUR_OWN)
def test_what_other_tools_write_and_our_own_formats_refuse(case):
    parse_json(REFUSED_OF_OUR_OWN[case], "here", "this", strict=False)
    with pytest.raises(InputError, match=r"^here: not valid JSON"):
        parse_json(REFUSED_OF_OUR_OWN[case], "here", "this")


def test_every_whole_number_fits_a_float():
    assert float(parse_json(b"9" * 40, "here", "this")) == 1e40


def test_a_byte_order_mark_and_64_levels_are_fine():
    assert parse_json(b"\xef\xbb\xbf" + b"[" * 64 + b"]" * 64, "here", "this")


def not_regular(tmp_path):
    pipe, loop = tmp_path / "pipe", tmp_path / "loop"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    return {
        "a pipe": pipe,
        "a loop": loop,
        "a folder": tmp_path,
        "a device": "/dev/zero",
        "nothing": tmp_path / "nothing",
        "a long name": tmp_path / ("n" * 256),
        "a NUL": "a\0b",
        "below a file": "/etc/passwd/x",
    }


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    for path in not_regular(tmp_path).values():
        with pytest.raises(InputError, match="expected this") as caught:
            json_object(path, "this")
        assert str(caught.value).isprintable()


def test_a_limit_of_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert read_bytes(tmp_path / "file", "this", 3) == b"abc"
    with pytest.raises(InputError, match="larger than 2 bytes; expected this"):
        read_bytes(tmp_path / "file", "this", 2)


def test_no_descriptor_is_left_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    test_what_is_no_regular_file_is_refused_at_once(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
