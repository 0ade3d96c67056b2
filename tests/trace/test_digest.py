"""The digest over metadata and step times: what was changed behind svsim's back is noticed."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.trace_examples import assert_same_trace, make_step_times, make_trace

from svsim.errors import TraceError
from svsim.trace.digest import digest_of
from svsim.trace.file import TraceReader, load_trace, save_trace


def rewritten(path, change):
    """The file with ``change(stored)`` as its key-value metadata, written by pyarrow alone."""
    table = pq.read_table(path)
    stored = {k.decode(): v for k, v in pq.read_metadata(path).metadata.items() if k != b"ARROW:schema"}
    with pq.ParquetWriter(path, table.schema.remove_metadata()) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(change(stored))
    return path


@pytest.fixture
def file(tmp_path):
    save_trace(make_trace([5, 3], 2, step_times=make_step_times()), tmp_path / "t")
    return tmp_path / "t"


def test_a_rewritten_file_with_the_same_facts_is_read(file):
    before = load_trace(file)
    assert_same_trace(load_trace(rewritten(file, dict)), before)


@pytest.mark.parametrize("without", ["svsim.step_times", None])
def test_other_facts_are_refused(file, without):
    def change(stored):
        if without:
            return {key: value for key, value in stored.items() if key != without}
        return {**stored, "svsim": stored["svsim"].replace(b'"coherent"', b'"stepwise"')}

    with pytest.raises(TraceError, match=r"are not those that were written \(svsim.digest\)"):
        TraceReader(rewritten(file, change))


def test_files_without_a_digest_are_read(file):
    rewritten(file, lambda stored: {k: v for k, v in stored.items() if k != "svsim.digest"})
    assert load_trace(file).step_times is not None


def test_a_fact_cannot_move_between_the_keys():
    assert digest_of({"svsim": b"ab"}) != digest_of({"svsim": b"a", "svsim.step_times": b"b"})
    assert digest_of({"svsim": b"a", "svsim.step_times": b""}) != digest_of({"svsim": b"a"})


def test_a_column_renamed_in_one_of_the_two_schemas_is_noticed(file):
    data = file.read_bytes()
    at = data.rindex(b"similarity")  # Parquet's own schema, or a column chunk's path
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    places = [i for i in range(start, len(data)) if data.startswith(b"similarity", i)]
    assert at in places
    refused = 0
    for place in places:
        file.write_bytes(data[:place] + b"similaritz" + data[place + 10 :])
        try:
            assert "similarity" in load_trace(file).observable.signals
        except TraceError:
            refused += 1
    assert refused > 0


def test_a_broken_arrow_schema_is_noticed(file):
    def change(stored):
        schema = pa.schema([("other", pa.int32())])
        import base64

        return {**stored, "ARROW:schema": base64.b64encode(schema.serialize().to_pybytes())}

    data = pq.read_table(file)
    with pq.ParquetWriter(file, data.schema.remove_metadata(), store_schema=False) as writer:
        writer.write_table(data)
        writer.add_key_value_metadata(change({"svsim": b"{}"}))
    with pytest.raises(TraceError):
        TraceReader(file)
