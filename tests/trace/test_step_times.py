"""Step times inside a trace: round trip, optional columns, refusals."""

import numpy as np
import pyarrow as pa
import pytest
from support.trace_examples import example_columns, make_step_times, write_raw

from svsim.errors import TraceError
from svsim.trace.file import load_trace
from svsim.trace.step_times import (
    MAX_STEP_TIMES_BYTES,
    STEP_TIME_COLUMNS,
    decode_step_times,
    encode_step_times,
)


def ipc(table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def table(**changes):
    columns = pa.ipc.open_stream(encode_step_times(make_step_times(), "f")).read_all()
    kept = {name: changes.get(name, columns.column(name)) for name in columns.column_names}
    return pa.table({name: column for name, column in kept.items() if column is not None})


def test_round_trip():
    columns = decode_step_times(encode_step_times(make_step_times(), "f"), "f")
    assert tuple(columns) == STEP_TIME_COLUMNS
    for name, values in make_step_times().items():
        np.testing.assert_array_equal(columns[name], values)
        assert columns[name].dtype.kind == values.dtype.kind
    assert encode_step_times(columns, "f") == encode_step_times(make_step_times(), "f")


def test_repeats_and_percentiles_may_be_absent():
    columns = {n: v for n, v in make_step_times().items() if n not in ("p10_s", "p90_s", "num_repeats")}
    got = decode_step_times(encode_step_times(columns, "f"), "f")
    assert got["num_repeats"].tolist() == [0, 0, 0]
    assert np.isnan(got["p10_s"]).all()


def test_foreign_types_are_read():
    foreign = table(
        role=pa.array(["target", "draft", "overhead"]).dictionary_encode(),
        num_sequences=pa.array([8, 8, 0], pa.uint8()),
        seconds=pa.array([0.5, 0.25, 0.0], pa.float32()),
        p10_s=None,
        p90_s=None,
    )
    assert decode_step_times(ipc(foreign), "f")["seconds"].tolist() == [0.5, 0.25, 0.0]


BROKEN = {
    "unknown role": ({"role": pa.array(["target", "oracle", "overhead"])}, "column role, row 1: got oracle"),
    "null role": ({"role": pa.array(["target", None, "overhead"])}, "column role, row 1: got null"),
    "no hardware": ({"hardware": None}, "column hardware is missing"),
    "no source": ({"source": None}, "column source is missing"),
    "empty hardware": ({"hardware": pa.array(["h", "", "h"])}, "column hardware, row 1"),
    "endless hardware": ({"hardware": pa.array(["h", "h", "h" * 10**6])}, "column hardware, row 2"),
    "NaN": (
        {"seconds": pa.array([np.nan, 1, 1])},
        "column seconds, row 0: got nan, expected 1e-06 to",
    ),
    "null": ({"seconds": pa.array([1, 1, None], pa.float64())}, "column seconds, row 2: got null"),
    "infinite": ({"seconds": pa.array([1, np.inf, 1])}, "column seconds, row 1: got inf"),
    "negative": ({"seconds": pa.array([1, -1e-3, 1])}, "column seconds, row 1: got -0.001"),
    "zero": ({"seconds": pa.array([0.0, 1, 1])}, "column seconds, row 0: got 0.0"),
    "impossibly fast": ({"seconds": pa.array([0.1, 1e-300, 0])}, "column seconds, row 1: got 1e-300"),
    "longer than a day": ({"seconds": pa.array([1e5, 1, 1])}, "column seconds, row 0: got 100000.0"),
    "p10 above the median": ({"p10_s": pa.array([0.022, None, None])}, "row 0: got 0.022, expected at most"),
    "p90 below the median": ({"p90_s": pa.array([0.0201, None, None])}, "expected at least the median"),
    "control characters": ({"hardware": pa.array(["h", "\x1b[31m", "h"])}, "expected a printable text"),
    "2000 GPUs": ({"tensor_parallel": pa.array([4, 2000, 4])}, "row 1: got 2000, expected 1 to 1,024"),
    "negative percentile": ({"p90_s": pa.array([-1.0, None, None])}, "column p90_s, row 0"),
    "no sequences": ({"num_sequences": pa.array([0, 8, 0])}, "column num_sequences, row 0: got 0"),
    "negative tokens": ({"num_kv_tokens": pa.array([0, -5, 0])}, "column num_kv_tokens, row 1: got -5"),
    "half a token": ({"num_new_tokens": pa.array([1.5, 8, 0])}, "not an Arrow IPC stream"),
    "tokens as text": ({"num_new_tokens": pa.array(["x", "8", "0"])}, "not an Arrow IPC stream"),
    "seconds as lists": ({"seconds": pa.array([[1.0], [1.0], [1.0]])}, "not an Arrow IPC stream"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_tables(tmp_path, case):
    changes, expected = BROKEN[case]
    path = write_raw(tmp_path / "t", example_columns(), step_times=ipc(table(**changes)))
    with pytest.raises(TraceError) as caught:
        load_trace(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert message.isprintable()
    assert len(message) < 500


def test_bytes_that_are_no_table():
    good = ipc(table())
    for bad in (b"", b"x", good[: len(good) // 2], good[1:], ipc(table().slice(0, 0)), ipc(pa.table({}))):
        with pytest.raises(TraceError, match=r"svsim\.step_times"):
            decode_step_times(bad, "f")
    with pytest.raises(TraceError, match="thin out"):
        decode_step_times(bytes(MAX_STEP_TIMES_BYTES + 1), "f")


def test_columns_without_a_buffer_cannot_claim_many_rows():
    """Null columns take no space: a file of a few hundred bytes could claim 2^31 rows."""
    nulls = pa.Array.from_buffers(pa.null(), 2**31 - 1, [None])
    claim = pa.table(dict.fromkeys(STEP_TIME_COLUMNS, nulls))
    with pytest.raises(TraceError, match="rows, expected at most"):
        decode_step_times(ipc(claim), "f")


def test_wrong_columns_in_memory_are_refused():
    columns = make_step_times()
    wrong = [
        {"seconds": np.array([1.0, 2.0])},
        {"seconds": np.ones((3, 1))},
        {"seconds": np.array(["a", "b", "c"])},
        {"num_sequences": np.array([1.0, 2.0, 3.0])},
        {"role": np.array([1, 2, 3])},
    ]
    for change in wrong:
        with pytest.raises(TraceError, match=r"f: svsim\.step_times") as caught:
            encode_step_times({**columns, **change}, "f")
        assert str(caught.value).isprintable()
