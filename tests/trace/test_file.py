"""Saving and loading traces: round trips, streaming, reproducible bytes, atomic writes."""

import os
import pickle
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.trace_examples import assert_same_trace, example_columns, make_step_times, make_trace, write_raw

from svsim.errors import InputError, MissingSignalError, TraceError
from svsim.trace.file import TraceReader, TraceWriter, creation_date, load_trace, save_trace
from svsim.trace.token_trace import TargetColumns, TokenTrace, TraceMetadata

ALL_SIGNALS = (
    *("draft_prob", "draft_entropy", "similarity", "companion_accept", "own_signal"),
    *("accept_prob", "target_overlap"),
)


def joined(chunks: list[TokenTrace]) -> TokenTrace:
    """Chunks as one trace, by concatenating their columns."""
    first = chunks[0]
    lengths = np.concatenate([c.num_output_tokens for c in chunks])

    def rows(arrays: list[np.ndarray | None]) -> np.ndarray | None:
        return None if arrays[0] is None else np.concatenate([a for a in arrays if a is not None])

    return replace(
        first,
        request_ids=tuple(i for c in chunks for i in c.request_ids),
        first_position=np.concatenate([[0], np.cumsum(lengths)]),
        num_prompt_tokens=np.concatenate([c.num_prompt_tokens for c in chunks]),
        observable=replace(
            first.observable,
            signals={n: rows([c.observable.signals[n] for c in chunks]) for n in first.observable.signals},
        ),
        target=TargetColumns(
            np.concatenate([c.target.num_accepted for c in chunks]),
            rows([c.target.accept_prob for c in chunks]),
            rows([c.target.target_overlap for c in chunks]),
        ),
        tasks=None if first.tasks is None else tuple(t for c in chunks for t in c.tasks or ()),
    )


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    k=st.integers(1, 9),
    signals=st.sets(st.sampled_from(ALL_SIGNALS)),
    tasks=st.booleans(),
    rows_per_group=st.integers(1, 60),
    min_positions=st.integers(0, 80),
    dtype=st.sampled_from(["float16", "float32"]),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_round_trip_select_and_stream(
    *, lengths, k, signals, tasks, rows_per_group, min_positions, dtype, seed, data, tmp_path_factory
):
    path = tmp_path_factory.mktemp("trip") / "t.parquet"
    trace = make_trace(lengths, k, tuple(sorted(signals)), seed=seed, tasks=tasks)
    save_trace(trace, path, rows_per_group=rows_per_group, signal_dtype=dtype)
    loaded = load_trace(path)
    assert_same_trace(loaded, trace, dtype)

    chosen = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, unique=True)))
    save_trace(loaded.select(chosen), path, signal_dtype=dtype)
    assert_same_trace(load_trace(path), trace.select(chosen), dtype)

    save_trace(trace, path, rows_per_group=rows_per_group, signal_dtype=dtype)
    chunks = list(TraceReader(path).iter_chunks(min_positions=min_positions))
    assert_same_trace(joined(chunks), loaded)
    assert all(c.first_position[0] == 0 and c.num_requests > 0 for c in chunks)
    assert all(c.num_positions >= min_positions for c in chunks[:-1])


def test_column_types_and_metadata_keys_are_the_documented_ones(tmp_path):
    trace = make_trace([5, 3], 4, ("similarity", "accept_prob"), step_times=make_step_times())
    save_trace(trace, tmp_path / "t.parquet")
    file = pq.ParquetFile(tmp_path / "t.parquet")
    half = pa.list_(pa.float16(), 4)
    assert {field.name: field.type for field in file.schema_arrow} == {
        "request_id": pa.string(),
        "position": pa.int32(),
        "num_context_tokens": pa.int32(),
        "num_accepted": pa.int16(),
        "task": pa.dictionary(pa.int32(), pa.string()),
        "similarity": half,
        "accept_prob": half,
    }
    assert set(file.metadata.metadata) == {b"svsim", b"svsim.step_times", b"svsim.digest", b"ARROW:schema"}
    table = pa.ipc.open_stream(file.metadata.metadata[b"svsim.step_times"]).read_all()
    assert table.column("p10_s").to_pylist() == [0.020, None, None]
    assert file.read().column("position").to_pylist() == [0, 1, 2, 3, 4, 0, 1, 2]


def test_bytes_do_not_depend_on_the_run_or_on_the_chunks(tmp_path):
    rng = np.random.default_rng(1)
    trace = make_trace(rng.integers(1, 30, 60).tolist(), 3, ALL_SIGNALS, step_times=make_step_times())
    save_trace(trace, tmp_path / "whole", rows_per_group=100)
    save_trace(trace, tmp_path / "again", rows_per_group=100)
    with TraceWriter(
        tmp_path / "chunks", trace.metadata, step_times=trace.step_times, rows_per_group=100
    ) as writer:
        for first in range(0, 60, 7):
            writer.write(trace.select(np.arange(first, min(first + 7, 60))))
    expected = (tmp_path / "whole").read_bytes()
    assert (tmp_path / "again").read_bytes() == expected
    assert (tmp_path / "chunks").read_bytes() == expected


def test_row_groups_end_where_requests_end_unless_one_is_longer(tmp_path):
    save_trace(make_trace([30, 30, 30, 250, 10, 90]), tmp_path / "t", rows_per_group=100)
    footer = pq.read_metadata(tmp_path / "t")
    sizes = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
    assert sizes == [90, 100, 100, 60, 90]
    assert TraceReader(tmp_path / "t").num_row_groups == 5


def test_reader_tells_what_is_there_without_the_columns(tmp_path):
    trace = make_trace([5, 3], 4, ALL_SIGNALS, step_times=make_step_times())
    save_trace(trace, tmp_path / "t")
    data = bytearray((tmp_path / "t").read_bytes())
    data[4:200] = bytes(196)  # the first column is destroyed, the footer is not
    (tmp_path / "t").write_bytes(data)
    reader = TraceReader(tmp_path / "t")
    assert (reader.num_positions, reader.num_row_groups) == (8, 1)
    assert reader.file_bytes == len(data)
    assert set(reader.signals) == set(ALL_SIGNALS) - {"accept_prob", "target_overlap"}
    assert reader.target_columns == ("accept_prob", "target_overlap")
    assert reader.metadata == trace.metadata
    assert reader.step_times is not None
    for name, values in make_step_times().items():
        np.testing.assert_array_equal(reader.step_times[name], values)
    with pytest.raises(TraceError, match="damaged"):
        next(reader.iter_chunks())


def test_chosen_columns_only(tmp_path):
    save_trace(make_trace([5, 3], 4, ALL_SIGNALS), tmp_path / "t")
    trace = load_trace(tmp_path / "t", signals=("similarity",), target_columns=())
    assert list(trace.observable.signals) == ["similarity"]
    assert trace.target.accept_prob is None
    with pytest.raises(MissingSignalError, match="companion_entropy"):
        load_trace(tmp_path / "t", signals=("companion_entropy",))
    with pytest.raises(MissingSignalError, match="accept_prob"):
        load_trace(tmp_path / "t", signals=("accept_prob",))  # a target column is no signal


def test_target_columns_never_become_signals(tmp_path):
    columns = example_columns()
    columns["target_entropy"] = columns["similarity"]
    trace = load_trace(write_raw(tmp_path / "t", columns))
    assert set(trace.observable.signals) == {"similarity", "draft_entropy"}


def test_further_target_columns_are_written(tmp_path):
    trace = make_trace([2], 4, ("similarity",))
    extra = {"target_entropy": np.ones((2, 4), np.float32)}
    save_trace(replace(trace, target=replace(trace.target, extra=extra)), tmp_path / "t")
    stored = pq.ParquetFile(tmp_path / "t").read().column("target_entropy")
    assert stored.to_pylist() == [[1.0] * 4] * 2
    assert_same_trace(load_trace(tmp_path / "t"), trace, "float16")


def test_foreign_but_compatible_types_are_read(tmp_path):
    columns = example_columns()
    expected = load_trace(write_raw(tmp_path / "plain", columns))
    columns["request_id"] = columns["request_id"].cast(pa.large_string())
    columns["task"] = columns["task"].cast(pa.string())
    for name in ("position", "num_context_tokens", "num_accepted"):
        columns[name] = columns[name].cast(pa.uint64())
    columns["similarity"] = columns["similarity"].cast(pa.list_(pa.float64()))
    columns["note"] = pa.array(["left alone"] * 6)
    assert_same_trace(load_trace(write_raw(tmp_path / "foreign", columns)), expected)


def test_rounding_excess_is_clipped(tmp_path):
    columns = example_columns()
    values = [[1.0005, -0.0005, 0.5]] * 6
    columns["accept_prob"] = pa.array(values, pa.list_(pa.float32(), 3))
    trace = load_trace(write_raw(tmp_path / "t", columns))
    np.testing.assert_array_equal(trace.target.accept_prob[0], np.float32([1, 0, 0.5]))


def test_streaming_memory_is_flat_in_length(tmp_path):
    def peak_bytes(num_requests: int) -> int:
        save_trace(make_trace([100] * num_requests, 4), tmp_path / "t", rows_per_group=5000)
        tracemalloc.start()
        num_read = sum(c.num_positions for c in TraceReader(tmp_path / "t").iter_chunks(min_positions=5000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert num_read == num_requests * 100
        return peak

    # what grows is one id per request: 1500 more requests, well under 1 KB each
    assert peak_bytes(2000) - peak_bytes(500) < 1500 * 500


def test_a_request_may_span_many_chunks_of_rows(tmp_path):
    trace = make_trace([3, 1000, 2], 2)
    save_trace(trace, tmp_path / "t", rows_per_group=10, signal_dtype="float32")
    chunks = list(TraceReader(tmp_path / "t").iter_chunks(min_positions=1))
    assert [c.num_positions for c in chunks] == [3, 1000, 2]
    assert_same_trace(joined(chunks), trace)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "t.parquet"
    save_trace(make_trace([5]), path)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), TraceWriter(path, make_trace([5]).metadata) as writer:
        writer.write(make_trace([50], prefix="x"))
        raise KeyboardInterrupt
    with (
        pytest.raises(TraceError, match="no positions"),
        TraceWriter(path, TraceMetadata(4, "captured", "coherent")),
    ):
        pass
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["t.parquet"]


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on file sizes (POSIX)")
def test_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    code = """
import resource, sys
from support.trace_examples import make_trace
from svsim.errors import InputError
from svsim.trace.file import save_trace
trace = make_trace([200] * 100, 8)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_trace(trace, sys.argv[1], rows_per_group=2000)
except InputError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "t.parquet")],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "t.parquet: cannot be written (File too large)" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "folder or a device"),
        ("absent/t", "does not exist"),
        ("file/t", "does not exist"),
        ("n\0", "null"),
    ],
)
def test_impossible_output_paths(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=message) as caught:
        save_trace(make_trace([3]), tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_device_is_never_replaced():
    with pytest.raises(InputError, match="device"):
        save_trace(make_trace([3]), "/dev/null")
    assert not Path("/dev/null").is_file()


def test_traces_that_break_the_format_are_not_written(tmp_path):
    trace = make_trace([3, 2], 4)
    wrong_coin = np.array([0, 1, 2, 5, 0], np.int16)
    nan = trace.observable.signals["similarity"].copy()
    nan[3, 1] = np.nan
    large = {"own_signal": np.full((5, 4), 1e6, np.float32)}
    broken = [
        (replace(trace, target=TargetColumns(wrong_coin)), 'num_accepted, request "request-1", position 0'),
        (replace(trace, observable=replace(trace.observable, signals={"similarity": nan})),
         'similarity (depth 2), request "request-1", position 0: got nan'),
        (replace(trace, observable=replace(trace.observable, signals={"target_x": nan})), "target_x"),
        (replace(trace, observable=replace(trace.observable, signals=large)), "too large for float16"),
        (replace(trace, request_ids=("a", "a")), "occurs twice"),
        (replace(trace, request_ids=("a", "b" * 600)), "600 characters"),
        (replace(trace, request_ids=("a", "\ud800")), "no Unicode text"),
        (replace(trace, first_position=np.array([0, 5, 5])), "no output positions"),
        (replace(trace, num_prompt_tokens=np.array([0, -1], np.int32)), "num_context_tokens"),
        (replace(trace, metadata=replace(trace.metadata, extra={"chains": "x"})), "reserved key chains"),
        (replace(trace, metadata=replace(trace.metadata, extra={"x": {1}})), "no JSON"),
    ]  # fmt: skip
    for bad, message in broken:
        with pytest.raises(TraceError) as caught:
            save_trace(bad, tmp_path / "t")
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_chunks_must_have_the_same_columns_and_k(tmp_path):
    trace = make_trace([3], 4)
    with (
        pytest.raises(TraceError, match="same columns"),
        TraceWriter(tmp_path / "t", trace.metadata) as writer,
    ):
        writer.write(trace)
        writer.write(make_trace([3], 4, ("similarity",), prefix="other"))
    with pytest.raises(TraceError, match="K = 5"), TraceWriter(tmp_path / "t", trace.metadata) as writer:
        writer.write(make_trace([3], 5))


def test_readers_can_be_sent_to_other_processes(tmp_path):
    save_trace(make_trace([3, 4]), tmp_path / "t")
    reader = pickle.loads(pickle.dumps(TraceReader(tmp_path / "t")))
    assert sum(chunk.num_positions for chunk in reader.iter_chunks()) == 7


def test_loading_does_not_import_pandas(tmp_path):
    save_trace(make_trace([3, 4], step_times=make_step_times()), tmp_path / "t")
    code = (
        "import sys; from svsim.trace.file import load_trace; load_trace(sys.argv[1]); "
        "print([m for m in ('pandas', 'torch', 'plotly', 'numba', 'scipy') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "t")], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == "[]"


def test_creation_date_follows_source_date_epoch(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert creation_date() == "1970-01-02"
    for wrong in ("yesterday", "1e400", "9" * 30):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
            creation_date()
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert len(creation_date()) == len("2026-01-01")
