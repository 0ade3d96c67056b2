"""A user's CSV against the replay, and every way it can be wrong."""

from pathlib import Path

import pytest
from support.small_traces import StairLatency, independent_trace

from svsim import api
from svsim.errors import InputError, SvsimError
from svsim.validation.bench import compare_with_bench, read_bench

TRACE = independent_trace(60, 7, seed=2)
SIGNALS = tuple(TRACE.observable.signals)
METHODS = ("td", "sd:k=3", "sd:k=7", "sv:k=7", "sv-lossless:k=7")
BATCHES = (1, 4, 16)


@pytest.fixture(scope="module")
def rows():
    return api.replay(TRACE, methods=METHODS, batch_sizes=BATCHES, latency=StairLatency(), jobs=1).rows


def bench_of(tmp_path: Path, lines: list[str], header: str = "method,batch,tok_s") -> Path:
    path = tmp_path / "bench.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def text_of(rows, change=lambda row: row.goodput_tok_s) -> list[str]:
    # sv-lossless without the option that the trace decides about
    labels = {row.label: row.label.replace(",unseen=similarity", "") for row in rows}
    return [f'"{labels[row.label]}",{row.batch_size},{change(row)!r}' for row in rows]


def test_a_perfect_prediction_has_no_error(tmp_path: Path, rows) -> None:
    bench = read_bench(bench_of(tmp_path, text_of(rows)), 7, SIGNALS)
    assert [m.name for m in bench.methods] == ["td", "sd", "sd", "sv", "sv-lossless"]
    assert bench.batch_sizes == BATCHES
    found = compare_with_bench(rows, bench).accuracy
    assert len(found.rows) == len(METHODS) * len(BATCHES)
    assert found.summary()["goodput_error_worst"] == 0.0 and found.summary()["regret_worst"] == 0.0
    assert found.summary()["crossover_grid_steps_worst"] == 0.0


def test_known_errors_come_back(tmp_path: Path, rows) -> None:
    """Measured speculation is 10 % slower than predicted, target-only decoding as predicted."""

    def slower(row):
        return row.goodput_tok_s if row.method == "td" else 0.9 * row.goodput_tok_s

    measured = read_bench(bench_of(tmp_path, text_of(rows, slower)), 7, SIGNALS)
    found = compare_with_bench(rows, measured).accuracy
    assert all(r.speedup_vs_td_error == pytest.approx(1 / 0.9 - 1) for r in found.rows if r.label != "td")
    assert all(r.speedup_vs_sd_error == pytest.approx(0) for r in found.rows if r.label.startswith("sv"))


def test_repeats_are_averaged_and_other_columns_ignored(tmp_path: Path) -> None:
    path = bench_of(tmp_path, ["a, td, 4, 90", "b, td, 4, 110", ""], "note, method, batch, tok_s")
    bench = read_bench(path, 7)
    assert bench.repeats_tok_s == {("td", 4): (90.0, 110.0)}
    predicted = api.replay(TRACE, methods=["td"], batch_sizes=[4], latency=StairLatency(), jobs=1).rows
    (row,) = compare_with_bench(predicted, bench).accuracy.rows
    assert row.measured_tok_s == 100.0 and row.measured_standard_error == pytest.approx(10.0)


def test_what_was_not_predicted_is_named(tmp_path: Path, rows) -> None:
    bench = read_bench(bench_of(tmp_path, ["sd:k=5,4,100"]), 7)
    with pytest.raises(InputError, match=r"sd:k=5 at batch 4 was not predicted"):
        compare_with_bench(rows, bench)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "holds no result"),
        (["td,4"], r"bench.csv, line 2: 2 cells, expected 3"),
        (["sv:k=7,stop=first-drop,4,100"], r"bench.csv, line 2: 4 cells.*quote"),
        (["td,zero,100"], r'bench.csv, line 2: batch is "zero", expected a whole number'),
        (["td,0,100"], 'batch is "0"'),
        (["td,²,100"], "batch is"),
        (["td,99999,100"], r"expected a whole number in 1\.\.4,096"),
        (["td,4,fast"], 'tok_s is "fast", expected a number'),
        (["td,4,nan"], 'tok_s is "nan"'),
        (["td,4,inf"], 'tok_s is "inf"'),
        (["td,4,-3"], 'tok_s is "-3"'),
        (["magic,4,100"], r"bench.csv, line 2: unknown method 'magic'"),
        (["sd:k=x,4,100"], r"bench.csv, line 2: sd: k=x is not a whole number"),
        (["oracle:k=7,4,100"], "is a bound"),
        (["\x1b[31mtd,4,100"], "unknown method"),
    ],
)
def test_bad_rows_are_one_line(tmp_path: Path, lines: list[str], expected: str) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        read_bench(bench_of(tmp_path, lines), 7)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty; expected a header and rows"),
        (b"batch,tok_s\n1,2\n", "column method is missing"),
        (b"method,batch\ntd,4\n", "column tok_s is missing"),
        (b"method,batch,tok_s,batch\n", "column batch appears twice"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b'method,batch,tok_s\n"td' + b"x" * 200_000 + b'",1,2\n', "not CSV"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "bench.csv"
    path.write_bytes(data)
    with pytest.raises(SvsimError, match=expected) as caught:
        read_bench(path, 7)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_bench(tmp_path / "none.csv", 7)
