"""Damaged files: TraceError or a valid trace, never another exception, never a hang."""

import numpy as np
import pytest
from support.trace_examples import assert_same_trace, make_step_times, make_trace

from svsim.errors import TraceError
from svsim.trace.file import load_trace, save_trace


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "t"
    trace = make_trace([5, 9, 4, 12], 2, step_times=make_step_times())
    save_trace(trace, path, rows_per_group=16)
    return path.read_bytes(), load_trace(path)


def outcome(data: bytes, path):
    """The trace in ``data``, or None if it is refused (in one printable line)."""
    path.write_bytes(data)
    try:
        return load_trace(path)
    except TraceError as error:
        assert str(error).isprintable()
        return None


def footer_start(data: bytes) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def test_flipped_bytes_in_the_columns_are_noticed(sound, tmp_path):
    data, expected = sound
    rng = np.random.default_rng(5)
    num_refused = 0
    positions = range(0, footer_start(data), 2)
    for at in positions:
        damaged = bytearray(data)
        damaged[at] ^= int(rng.integers(1, 256))
        trace = outcome(bytes(damaged), tmp_path / "t")
        num_refused += trace is None
        if trace is not None:  # the byte was of no consequence
            assert_same_trace(trace, expected)
    assert num_refused > 0.5 * len(positions)


def test_flipped_bytes_in_the_footer(sound, tmp_path):
    """The footer has no checksum, its contents a digest: the same trace comes out, or none."""
    data, expected = sound
    rng = np.random.default_rng(6)
    positions = range(footer_start(data), len(data), 4)
    refused = 0
    for at in positions:
        damaged = bytearray(data)
        damaged[at] ^= int(rng.integers(1, 256))
        trace = outcome(bytes(damaged), tmp_path / "t")
        refused += trace is None
        if trace is not None:
            assert_same_trace(trace, expected)
            for name, values in expected.step_times.items():
                np.testing.assert_array_equal(trace.step_times[name], values)
    assert refused > 0.5 * len(positions)


def test_many_flips_at_once(sound, tmp_path):
    data, expected = sound
    rng = np.random.default_rng(7)
    for num_flips in (2, 8, 64):
        for _ in range(40):
            damaged = np.frombuffer(data, np.uint8).copy()
            damaged[rng.integers(0, len(data), num_flips)] = rng.integers(0, 256, num_flips)
            trace = outcome(damaged.tobytes(), tmp_path / "t")
            assert trace is None or trace.num_positions == expected.num_positions


def test_cut_and_lengthened_files(sound, tmp_path):
    data, _ = sound
    for length in range(0, len(data), 53):
        assert outcome(data[:length], tmp_path / "t") is None
        assert outcome(data[:length] + b"PAR1", tmp_path / "t") is None  # looks complete
        assert outcome(data[:length] + data[-8:], tmp_path / "t") is None  # the true footer length
    assert outcome(data + b"\0", tmp_path / "t") is None


def test_swapped_blocks(sound, tmp_path):
    data, expected = sound
    rng = np.random.default_rng(8)
    for _ in range(60):
        a, b = sorted(rng.integers(4, len(data) - 40, 2))
        blocks = bytearray(data)
        blocks[a : a + 32], blocks[b : b + 32] = data[b : b + 32], data[a : a + 32]
        trace = outcome(bytes(blocks[: len(data)]), tmp_path / "t")
        assert trace is None or trace.num_positions == expected.num_positions
