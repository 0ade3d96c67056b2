"""Every broken trace file is refused with one line that names the file, the place and the remedy."""

import os
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.trace_examples import METADATA, example_columns, make_trace, write_raw

from svsim.errors import TraceError
from svsim.trace.file import TraceReader, load_trace, save_trace


def refusal(path) -> str:
    """The message of the TraceError that loading ``path`` raises, checked to be one line naming it."""
    with pytest.raises(TraceError) as caught:
        load_trace(path)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    assert len(message) < 600
    return message


def test_the_example_is_valid(tmp_path):
    trace = load_trace(write_raw(tmp_path / "t", example_columns()))
    assert trace.request_ids == ("a", "b")
    assert trace.num_prompt_tokens.tolist() == [10, 20]


INT16 = pa.int16()
INT32 = pa.int32()


def lists(values, kind=None):
    return pa.array(values, kind or pa.list_(pa.float32(), 3))


ONE = [0.5, 0.5, 0.5]
# column -> values that break one rule, and what the message must say
BROKEN_VALUES = {
    "not starting at 0": (
        {"position": pa.array([1, 2, 3, 4, 0, 1], INT32)},
        'column position, request "a", position 1: got 1, expected 0',
    ),
    "second not starting at 0": (
        {"position": pa.array([0, 1, 2, 3, 4, 5], INT32)},
        'request "b", position 4: got 4, expected 0',
    ),
    "gap": (
        {"position": pa.array([0, 1, 3, 4, 0, 1], INT32)},
        'request "a", position 3: got 3, expected 2',
    ),
    "duplicated position": (
        {"position": pa.array([0, 1, 1, 2, 0, 1], INT32)},
        'request "a", position 1: got 1, expected 2',
    ),
    "unordered": (
        {"position": pa.array([0, 2, 1, 3, 0, 1], INT32)},
        'request "a", position 2: got 2, expected 1',
    ),
    "negative position": (
        {"position": pa.array([-1, 0, 1, 2, 0, 1], INT32)},
        'request "a", position -1',
    ),
    "id twice in a row": (
        {"request_id": pa.array(["a"] * 6)},
        'column request_id, request "a", position 0: got the same id for two requests',
    ),
    "id again later": (
        {
            "request_id": pa.array(["a", "a", "b", "b", "a", "a"]),
            "position": pa.array([0, 1] * 3, INT32),
            "num_context_tokens": pa.array([1, 2] * 3, INT32),
            "task": pa.array(["x"] * 6),
        },
        'column request_id, request "a", position 0: got an id that occurred before',
    ),
    "interleaved": (
        {"request_id": pa.array(["a", "a", "b", "a", "b", "b"])},
        'request "b", position 2: got 2, expected 0',
    ),
    "empty id": ({"request_id": pa.array([""] * 4 + ["b"] * 2)}, "0 characters"),
    "long id": ({"request_id": pa.array(["a" * 10_000_000] * 4 + ["b"] * 2)}, "10000000 characters"),
    "null id": (
        {"request_id": pa.array(["a", None, "a", "a", "b", "b"])},
        "column request_id, row 1 of the file: got null",
    ),
    "null position": ({"position": pa.array([0, 1, None, 3, 0, 1], INT32)}, "position, row 2 of the file"),
    "context not growing": (
        {"num_context_tokens": pa.array([10, 11, 11, 12, 20, 21], INT32)},
        'column num_context_tokens, request "a", position 2: got 11, expected 12',
    ),
    "context jumping": (
        {"num_context_tokens": pa.array([10, 11, 12, 13, 20, 22], INT32)},
        'request "b", position 1: got 22, expected 21',
    ),
    "negative prompt": (
        {"num_context_tokens": pa.array([-1, 0, 1, 2, 20, 21], INT32)},
        'column num_context_tokens, request "a", position 0: got -1, expected 0..',
    ),
    "context too large": (
        {"num_context_tokens": pa.array([2**31 - 2 + i for i in range(4)] + [0, 1], pa.int64())},
        'request "a", position 2: got 2147483648, expected 0..2147483647',
    ),
    "beyond 64 bits": (
        {"position": pa.array([0, 1, 2, 2**64 - 1, 0, 1], pa.uint64())},
        "column position, row 3 of the file: got 18446744073709551615",
    ),
    "num_accepted above K": (
        {"num_accepted": pa.array([0, 3, 4, 1, 0, 3], INT16)},
        'column num_accepted, request "a", position 2: got 4, expected an integer in 0..3',
    ),
    "num_accepted negative": (
        {"num_accepted": pa.array([0, 3, 2, 1, -1, 3], INT16)},
        'num_accepted, request "b", position 0: got -1',
    ),
    "two tasks in one request": (
        {"task": pa.array(["x", "x", "y", "x", "y", "y"])},
        'column task, request "a", position 2: got y',
    ),
    "null task": ({"task": pa.array(["x", "x", None, "x", "y", "y"])}, "column task, row 2"),
    "NaN": (
        {"similarity": lists([ONE] * 4 + [[0.5, np.nan, 0.5], ONE])},
        'column similarity (depth 2), request "b", position 0: got nan, expected a finite number in 0..1',
    ),
    "infinity": (
        {"draft_entropy": lists([ONE] * 5 + [[0.5, 0.5, np.inf]])},
        'draft_entropy (depth 3), request "b", position 1: got inf',
    ),
    "NaN in the target's half": ({"accept_prob": lists([[np.nan] * 3] + [ONE] * 5)}, "accept_prob (depth 1)"),
    "probability above 1": (
        {"similarity": lists([ONE, [1.01, 0, 0], *[ONE] * 4])},
        'similarity (depth 1), request "a", position 1: got 1.01',
    ),
    "probability below 0": ({"accept_prob": lists([ONE, [0, -0.01, 0], *[ONE] * 4])}, "got -0.01"),
    "negative entropy": ({"draft_entropy": lists([ONE, [0, -0.5, 0], *[ONE] * 4])}, "got -0.5"),
    "double beyond float32": (
        {"own": lists([[0, 0, 1e300]] * 6, pa.list_(pa.float64(), 3))},
        "own (depth 3)",
    ),
    "null list": ({"similarity": lists([ONE, None, ONE, ONE, ONE, ONE])}, "similarity, row 1 of the file"),
    "null in a list": (
        {"similarity": lists([ONE, ONE, [0.5, None, 0.5], ONE, ONE, ONE])},
        'similarity, request "a", position 2: got null inside',
    ),
    "ragged lists": (
        {"similarity": lists([ONE, [0.5, 0.5], *[ONE] * 4], pa.list_(pa.float32()))},
        'similarity, request "a", position 1: got a list of 2 values, expected 3 (K)',
    ),
}
# column -> a type it cannot have (or None: left out)
BROKEN_TYPES = {
    "no request_id": ({"request_id": None}, "column request_id is missing"),
    "no position": ({"position": None}, "column position is missing"),
    "no num_context_tokens": ({"num_context_tokens": None}, "column num_context_tokens is missing"),
    "no num_accepted": ({"num_accepted": None}, "column num_accepted is missing"),
    "ids are numbers": ({"request_id": pa.array(range(6))}, "request_id has type int64, expected string"),
    "positions are floats": ({"position": pa.array([0.0] * 6)}, "position has type double, expected int32"),
    "tasks are numbers": ({"task": pa.array(range(6))}, "column task has type int64"),
    "lists too long": (
        {"similarity": lists([[0.5] * 4] * 6, pa.list_(pa.float32(), 4))},
        "column similarity has type fixed_size_list<element: float>[4], expected lists of length K = 3",
    ),
    "lists too short, own signal": (
        {"own": lists([[0.5] * 2] * 6, pa.list_(pa.float32(), 2))},
        "expected lists of length K = 3",
    ),
    "signal is scalar": ({"similarity": pa.array([0.5] * 6)}, "similarity has type double"),
    "signal is texts": (
        {"accept_prob": lists([["x"] * 3] * 6, pa.list_(pa.string(), 3))},
        "column accept_prob has type",
    ),
    "no rows": ({name: column[:0] for name, column in example_columns().items()}, "holds no rows"),
}


@pytest.mark.parametrize("case", [*BROKEN_VALUES, *BROKEN_TYPES])
def test_broken_columns(tmp_path, case):
    changes, expected = {**BROKEN_VALUES, **BROKEN_TYPES}[case]
    columns = {n: c for n, c in {**example_columns(), **changes}.items() if c is not None}
    assert expected in refusal(write_raw(tmp_path / "t", columns))


def test_rules_hold_across_row_groups(tmp_path):
    """A request may go on in the next row group, but not come back in a later one."""
    table = pa.table({**example_columns(), "task": pa.array(["x"] * 6)})

    def write(rows: list[int]):
        stored = load_metadata(tmp_path)
        with pq.ParquetWriter(tmp_path / "t", table.schema) as writer:
            writer.write_table(table.take(pa.array(rows)), row_group_size=2)
            writer.add_key_value_metadata(stored)
        return tmp_path / "t"

    assert load_trace(write([0, 1, 2, 3, 4, 5])).num_requests == 2
    assert 'request "a", position 3: got 3, expected 1' in refusal(write([4, 5, 0, 3]))
    assert 'request "a", position 1: got 1, expected 2' in refusal(write([0, 1, 1, 2]))
    assert "an id that occurred before" in refusal(write([0, 1, 4, 5, 0, 1]))
    reader = TraceReader(write([0, 1, 4, 5, 0, 1]))
    with pytest.raises(TraceError, match="occurred before"):
        list(reader.iter_chunks(min_positions=1))


def load_metadata(folder):
    write_raw(folder / "other", example_columns())
    return {b"svsim": pq.read_metadata(folder / "other").metadata[b"svsim"]}


def test_a_column_written_twice(tmp_path):
    table = pa.table(example_columns())
    twice = table.append_column("similarity", table.column("similarity"))
    with pq.ParquetWriter(tmp_path / "t", twice.schema) as writer:
        writer.write_table(twice)
        writer.add_key_value_metadata(load_metadata(tmp_path))
    assert "column similarity appears twice" in refusal(tmp_path / "t")


def test_files_that_are_no_traces(tmp_path):
    def file(name: str, data: bytes):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    good = write_raw(tmp_path / "good", example_columns()).read_bytes()
    assert "no such file" in refusal(tmp_path / "absent")
    assert "not a regular file" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / "good" / "below a file")
    assert "is empty" in refusal(file("empty", b""))
    assert "not a Parquet file" in refusal(file("text", b"hello\n"))
    assert "not a Parquet file" in refusal(file("one byte", b"P"))
    assert "cut short" in refusal(file("magic", b"PAR1"))
    assert "cut short" in refusal(file("cut", good[:-1]))
    assert "impossible length" in refusal(file("footer", good[:-8] + b"\xff\xff\xff\x7fPAR1"))
    assert "impossible length" in refusal(file("footer", good[:-8] + b"\0\0\0\0PAR1"))
    assert "cut short" in refusal(file("encrypted", good[:-4] + b"PARE"))
    assert "without the metadata key svsim" in refusal(write_raw(tmp_path / "foreign", {"x": [1]}, None))
    with pytest.raises(TraceError, match="cannot be read"):
        load_trace("nul\0byte")


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    messages: list[str] = []
    thread = threading.Thread(target=lambda: messages.append(refusal(tmp_path / "pipe")), daemon=True)
    thread.start()
    thread.join(10)
    assert messages
    assert "not a regular file" in messages[0]


def test_a_file_name_cannot_break_the_line(tmp_path):
    with pytest.raises(TraceError) as caught:
        load_trace(tmp_path / "a\nb\x1b[31m")
    assert str(caught.value).isprintable()


def test_hostile_names_cannot_break_the_line(tmp_path):
    columns = example_columns()
    columns["request_id"] = pa.array(["\x1b[2J\n\u202e<b>"] * 4 + ["b"] * 2)
    columns["num_accepted"] = pa.array([9] * 6, INT16)
    assert "<b>" in refusal(write_raw(tmp_path / "t", columns))
    columns["\n" * 100_000] = pa.array(range(6))
    del columns["position"]
    assert "column position is missing" in refusal(write_raw(tmp_path / "t", columns))


def test_a_huge_row_group_is_refused_before_it_is_decoded(tmp_path):
    num_rows = 600_000
    metadata = {**METADATA, "num_speculative_tokens": 255}
    columns = {
        "request_id": pa.DictionaryArray.from_arrays(np.zeros(num_rows, np.int32), ["a"]),
        "position": pa.array(np.arange(num_rows)),
        "num_context_tokens": pa.array(np.arange(num_rows)),
        "num_accepted": pa.array(np.zeros(num_rows, np.int16)),
    }
    assert "smaller row groups" in refusal(write_raw(tmp_path / "t", columns, metadata))


def test_a_file_that_changes_while_it_is_read(tmp_path):
    save_trace(make_trace([5]), tmp_path / "t")
    reader = TraceReader(tmp_path / "t")
    save_trace(make_trace([6]), tmp_path / "t")
    with pytest.raises(TraceError, match="changed"):
        next(reader.iter_chunks())
    (tmp_path / "t").unlink()
    with pytest.raises(TraceError, match="no such file"):
        next(reader.iter_chunks())
