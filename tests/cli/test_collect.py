"""``svsim capture`` and ``svsim calibrate`` through the command line, on the CPU, tiny."""

import json

import pytest
from support.command_line import svsim_json, svsim_process, svsim_refuses, svsim_run

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "torch_dtype": "float32",
}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    return path


def test_calibrate_writes_a_table_that_replay_prices_with(config, tmp_path):
    pytest.importorskip("torch", reason="calibrate needs the extra capture")
    table = tmp_path / "cpu.parquet"
    done = svsim_process(
        "calibrate", "--target", config, "--draft", config, "--device", "cpu", "--dtype", "float32", "--k", 2,
        "--sequences", "1,4", "--contexts", "16,64", "--repeats", 2, "--seconds-per-model", 3, "--out", table,
        "--json", "-",
    )  # fmt: skip
    assert json.loads(done.stdout)["num_rows"] > 10  # a slow machine may tell its progress on stderr
    trace = tmp_path / "t.parquet"
    svsim_run("synth", "--num-requests", 40, "--num-speculative-tokens", 2, "--prompt-tokens", "20:0.2",
              "--output-tokens", "20:0.2", "--out", trace)  # fmt: skip
    replay = ["replay", trace, "--latency", table, "--out-of-range", "extrapolate"]
    rows = svsim_json(*replay, "--method", "sd:k=2", "--batch", "2")["rows"]
    assert rows[0]["latency_source"] == "measured" and rows[0]["goodput_tok_s"] > 0


def test_calibrate_says_what_the_table_is_worth(config, tmp_path):
    pytest.importorskip("torch", reason="calibrate needs the extra capture")
    said = svsim_run(
        "calibrate", "--target", config, "--device", "cpu", "--k", 2, "--sequences", "1,4", "--layers", 1,
        "--contexts", "16,64", "--repeats", 2, "--held-out", 4, "--out", tmp_path / "cpu.parquet",
    ).stdout  # fmt: skip
    assert "step times of cpu" in said
    assert "note: target: 1 of 2 layers timed and scaled up" in said
    assert "target: error on 4 shapes that are not in the table: median" in said


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["calibrate", "--out", "x.parquet"], "no model"),
        (["calibrate", "--target", "nowhere", "--device", "cpu", "--out", "x.parquet"], "nowhere"),
        (["calibrate", "--target", "Llama-3.1-8B", "--sequences", "a", "--out", "x.parquet"], "whole number"),
        (["calibrate", "--target", "Llama-3.1-8B", "--device", "tpu", "--out", "x.parquet"], "--device"),
        (["calibrate", "--target", "Llama-3.1-8B", "--out", "/nonexistent/x.parquet"], "cannot be written"),
        (["calibrate", "--target", "Llama-3.1-8B", "--overlap", "4", "--out", "x.parquet"], "name all three"),
        (["capture", "--out", "x.parquet"], "Missing option"),
        (["capture", "--target", "nowhere", "--draft", "nowhere", "--companion", "nowhere", "--prompts",
          "missing.txt", "--device", "cpu", "--out", "x.parquet"], "missing.txt"),
    ],
)  # fmt: skip
def test_bad_usage_is_one_line(args, says, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="capture and calibrate need the extra capture")
    monkeypatch.chdir(tmp_path)
    assert says in svsim_refuses(*args)
    assert not (tmp_path / "x.parquet").exists()
