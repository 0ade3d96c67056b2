"""``svsim validate --bench``: a user's own results against the prediction."""

import pytest
from command_line import svsim_json, svsim_refuses, svsim_run
from small_traces import LINEAR, independent_trace

from svsim.workload.trace_file import save_trace


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    import json

    folder = tmp_path_factory.mktemp("validate")
    save_trace(independent_trace(60, 8, seed=1), folder / "trace.parquet")
    (folder / "linear.json").write_text(json.dumps(LINEAR))
    return folder


def args(files, bench):
    return ["validate", files / "trace.parquet", "--latency", files / "linear.json", "--bench", bench]


def test_a_perfect_prediction_has_no_error_and_a_scaled_one_only_a_common_error(files, tmp_path):
    rows = svsim_json(
        "replay", files / "trace.parquet", "--latency", files / "linear.json", "--batch", "1,8"
    )["rows"]
    bench = tmp_path / "bench.csv"
    spelled = {"td": "td", "sd": "sd:k=5", "sv": "sv:k=7"}
    for factor in (1.0, 0.9):
        lines = [f"{spelled[r['method']]},{r['batch_size']},{factor * r['goodput_tok_s']!r}" for r in rows]
        bench.write_text("\n".join(["method,batch,tok_s", *lines]))
        summary = svsim_json(*args(files, bench))["validation"]["summary"]
        assert summary["goodput_error_mean"] == pytest.approx(1 / factor - 1, abs=1e-9)
        assert summary["speedup_error_mean"] == pytest.approx(0, abs=1e-9)
        assert summary["regret_worst"] == 0


def test_the_terminal_shows_errors_beside_targets(files, tmp_path):
    bench = tmp_path / "bench.csv"
    bench.write_text("method,batch,tok_s\ntd,8,500\nsd:k=5,8,900\n")
    page = tmp_path / "errors.html"
    text = svsim_run(*args(files, bench), "--report", page).stdout
    assert "sd:k=5" in text and "goodput, mean error" in text
    assert "sd:k=5" in page.read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "bench.csv"),
        ("method,batch\ntd,8\n", "tok_s"),
        ("method,batch,tok_s\nfast,8,100\n", "fast"),
        ("method,batch,tok_s\ntd,0,100\n", "batch"),
        ("method,batch,tok_s\ntd,8,nan\n", "tok_s"),
        ("method,batch,tok_s\noracle:k=3,8,100\n", "bound"),
    ],
)
def test_bad_results_are_one_line(files, tmp_path, text, says):
    bench = tmp_path / "bench.csv"
    bench.write_text(text)
    assert says in svsim_refuses(*args(files, bench))
