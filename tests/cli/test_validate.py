"""``svsim validate``: a user's own results, hardware in the loop, and a triplet that generates."""

import csv
import json
from importlib.util import find_spec

import pytest
from support.command_line import svsim_json, svsim_process, svsim_refuses, svsim_run
from support.small_traces import LINEAR, independent_trace

from svsim.cli.app import cli
from svsim.errors import SvsimError
from svsim.spelling import method_label
from svsim.trace.file import save_trace


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("validate")
    save_trace(independent_trace(60, 8, seed=1), folder / "trace.parquet")
    save_trace(independent_trace(60, 3, seed=1), folder / "short.parquet")
    (folder / "linear.json").write_text(json.dumps(LINEAR))
    for role, hidden in (("target", 32), ("draft", 16), ("companion", 24)):
        shape = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
        config = {"hidden_size": hidden, "num_hidden_layers": 2, "vocab_size": 61, **shape}
        (folder / role).mkdir()
        (folder / role / "config.json").write_text(json.dumps(config))
    return folder


def args(files, bench):
    return ["validate", files / "trace.parquet", "--latency", files / "linear.json", "--bench", bench]


def test_a_perfect_prediction_has_no_error_and_a_scaled_one_only_a_common_error(files, tmp_path):
    run = ("replay", files / "trace.parquet", "--latency", files / "linear.json", "--batch", "1,8")
    rows = svsim_json(*run)["rows"]
    bench = tmp_path / "bench.csv"
    for factor in (1.0, 0.9):
        lines = [
            f"{method_label(r['method'], r['params'])},{r['batch_size']},{factor * r['goodput_tok_s']!r}"
            for r in rows
        ]
        bench.write_text("\n".join(["method,batch,tok_s", *lines]))
        summary = svsim_json(*args(files, bench))["validation"]["summary"]
        assert summary["goodput_error_mean"] == pytest.approx(1 / factor - 1, abs=1e-9)
        assert summary["speedup_error_mean"] == pytest.approx(0, abs=1e-9)
        assert summary["regret_worst"] == 0


def test_the_terminal_shows_errors_beside_targets(files, tmp_path):
    bench = tmp_path / "bench.csv"
    bench.write_text("method,batch,tok_s\ntd,8,500\nsd:k=5,8,900\n")
    page = tmp_path / "errors.html"
    text = svsim_process(*args(files, bench), "--report", page).stdout
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


needs_torch = pytest.mark.skipif(
    find_spec("torch") is None or find_spec("transformers") is None,
    reason="torch and transformers are not installed; pip install 'svsim[capture]' runs real models",
)


def loop(files, *more):
    models = [word for role in ("target", "draft", "companion") for word in (f"--{role}", files / role)]
    methods = ("--method", "td", "--method", "sd:k=3", "--method", "sv:k=3")
    sizes = ("--batch", "1,4", "--steps", "2", "--repeats", "3", "--calibration-seconds", "20")
    return [
        "validate",
        files / "short.parquet",
        "--loop",
        *models,
        *methods,
        "--device",
        "cpu",
        *sizes,
        *more,
    ]


@needs_torch
def test_hardware_in_the_loop_calibrates_runs_and_reports(files, tmp_path):
    outputs = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "html")}
    table = tmp_path / "table.parquet"
    text = svsim_run(
        *loop(files, "--table", table), "--json", outputs["json"], "--csv", outputs["csv"], "--report",
        outputs["html"],
    ).stdout  # fmt: skip
    for words in ("goodput, mean error", "re-timed", "Recommendation", "timed again beside the loop"):
        assert words in text, words
    document = json.loads(outputs["json"].read_text())
    assert document["kind"] == "hardware in the loop" and document["latency_table"] == str(table)
    cells = {(row["method"].partition(":")[0], row["batch_size"]) for row in document["rows"]}
    assert cells == {(name, size) for name in ("td", "sd", "sv") for size in (1, 4)}
    assert document["retest"]["num_shapes"] > 0 and document["retimed"] is not None
    with outputs["csv"].open() as file:
        rows = list(csv.DictReader(file))
    assert [float(r["measured_step_s"]) for r in rows] == [r["measured_step_s"] for r in document["rows"]]
    assert "machine&#x27;s drift" in outputs["html"].read_text()
    # the table is used as it is the next time; without a companion model sv is left out
    written = table.read_bytes()
    pair = ("--target", files / "target", "--draft", files / "draft", "--table", table, "--device", "cpu")
    again = tmp_path / "again.json"
    svsim_run(
        "validate", files / "short.parquet", "--loop", *pair, "--batch", "4", "--steps", "2",
        "--repeats", "3", "--json", again,
    )  # fmt: skip
    assert table.read_bytes() == written
    assert [row["method"] for row in json.loads(again.read_text())["rows"]] == ["td", "sd:k=3"]


@needs_torch
def test_a_triplet_generates(tmp_path):
    from svsim.training.triplet import TripletSettings, train_triplet

    folder = tmp_path / "triplet"
    train_triplet(TripletSettings(folder, size="test", max_steps=10, num_prompts=16, device="cpu"))
    out = tmp_path / "live.json"
    svsim_run(
        "validate", "--live", folder, "--device", "cpu", "--batch", "2", "--k", "3", "--max-requests", "12",
        "--output-tokens", "6", "--repeats", "2", "--texts", "40", "--report", tmp_path / "live.html",
        "--json", out,
    )  # fmt: skip
    document = json.loads(out.read_text())
    assert [row["method"] for row in document["live_rows"]] == ["td", "sd:k=3"]
    assert document["live_rows"][0]["law"] is None and document["live_rows"][1]["law"]["p_value"] > 1e-3
    assert document["batch_size"] == 2 and document["num_output_tokens"] == 6
    assert "Acceptance and the law of the text" in (tmp_path / "live.html").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["T"], "one of them; got none of them"),
        (["T", "--loop", "--bench", "b.csv"], "got --bench and --loop"),
        (["T", "--live", "DIR"], "--live captures its own trace"),
        (["--loop"], "--loop needs a TRACE"),
        (["T", "--loop", "--texts", "9"], "--texts does not go with --loop"),
        (["T", "--bench", "b.csv", "--device", "cpu"], "--device does not go with --bench"),
        (["T", "--loop"], "give --target MODEL"),
        (["T", "--loop", "--target", "no-such-model", "--device", "cpu"], "no-such-model"),
        (["T", "--loop", "--target", "M", "--device", "cpu", "--batch", "x"], "--batch x: expected whole"),
        (["T", "--loop", "--target", "M", "--device", "cpu", "--repeats", "2"], "num_repeats = 2"),
        (["T", "--loop", "--target", "M", "--device", "cpu", "--seconds", "nan"], "--seconds nan"),
        (["T", "--loop", "--target", "M", "--device", "cpu", "--method", "sd:k=3"], "sd:k=3 needs a draft"),
        (["T", "--loop", "--target", "M", "--device", "cpu", "--method", "oracle:k=3"], "bound"),
        (["T", "--loop", "--target", "M", "--device", "cpu", "--batch", "500"], "500"),
        (["T", "--loop", "--target", "M", "--device", "cpu", "--report", "-"], "--report - is no file"),
        (["--live", "DIR", "--batch", "1,2"], "one batch size"),
        (["--live", "DIR", "--device", "cpu"], "DIR"),
    ],
)
@needs_torch
def test_bad_usage_is_one_line(files, tmp_path, words, says):
    places = {"T": files / "trace.parquet", "M": files / "target", "DIR": tmp_path / "DIR"}
    with pytest.raises(SvsimError) as refused:
        cli.main(["validate", *(str(places.get(word, word)) for word in words)], standalone_mode=False)
    assert says in str(refused.value) and "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


@needs_torch
def test_no_gpu_is_one_line_and_the_cpu_is_used_only_when_asked_for(files):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    says = svsim_refuses("validate", files / "trace.parquet", "--loop", "--target", files / "target")
    assert says.startswith("no CUDA device found") and "cpu" in says
