"""Models that a caller names: over those of the trace, on every command that prices."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.command_line import svsim_json, svsim_refuses
from support.small_traces import independent_trace

import svsim
from svsim.errors import InfeasibleError, InputError, LatencyError
from svsim.model_choice import ModelChoice, named_model
from svsim.trace.file import save_trace

CONFIG = {
    "_name_or_path": "somebody/small",
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
}
NAMES = {
    "target": {"name": "meta-llama/Llama-3.1-70B-Instruct"},
    "draft": {"name": "meta-llama/Llama-3.2-1B-Instruct"},
    "companion": {"name": "meta-llama/Llama-3.2-3B-Instruct"},
}
NAMELESS = independent_trace(40, 4, seed=2)
NAMED = replace(NAMELESS, metadata=replace(NAMELESS.metadata, models=NAMES))
ON_L40S = {"latency": "roofline", "hardware": "l40s", "batch_sizes": [4], "methods": ["td", "sd:k=2"]}


@pytest.fixture
def config(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def speeds(trace, **models):
    table = svsim.replay(trace, **ON_L40S, **models)
    return {row.label: row.goodput_tok_s for row in table.rows}, table


def test_a_trace_without_names_works_once_models_are_named(config):
    with pytest.raises(LatencyError, match="does not name its target model"):
        speeds(NAMELESS)
    by_preset, table = speeds(NAMELESS, target="llama-3.1-8b", draft="llama-3.2-1b")
    assert by_preset["sd:k=2"] > by_preset["td"] > 0
    assert table.trace["models"]["target"] == {"name": "meta-llama/Llama-3.1-8B"}
    assert table.config["target"] == "llama-3.1-8b" and "companion" not in table.config
    by_folder, _ = speeds(NAMELESS, target="llama-3.1-8b", draft=config)
    by_file, _ = speeds(NAMELESS, target="llama-3.1-8b", draft=config / "config.json")
    assert by_folder == by_file == pytest.approx(by_preset)  # the config is that preset's shape


def test_named_models_stand_in_for_the_traces_and_it_is_said():
    small, table = speeds(NAMED, target="llama-3.1-8b")
    alone, _ = speeds(NAMELESS, target="llama-3.1-8b", draft="llama-3.2-1b")
    assert small == alone
    (note,) = [n for n in table.notes if "acceptance is as recorded" in n]
    assert "meta-llama/Llama-3.1-8B in the place of meta-llama/Llama-3.1-70B-Instruct" in note
    assert table.trace["models"]["companion"] == NAMES["companion"]
    same = svsim.replay(NAMED, **{**ON_L40S, "hardware": "h100_sxm:tp=4"}, target="llama-3.1-70b")
    assert not [n for n in same.notes if "acceptance is as recorded" in n]


def test_memory_is_that_of_the_named_models():
    with pytest.raises(InfeasibleError, match="fit"):
        speeds(NAMED)  # a 70B model on one L40S
    _, table = speeds(NAMED, target="llama-3.1-8b")
    assert all(row.fits_memory for row in table.rows)


def test_a_file_and_memory_give_the_same_rows(tmp_path, config):
    file = tmp_path / "trace.parquet"
    save_trace(NAMED, file)
    assert (
        speeds(file, target="llama-3.1-8b", draft=config)[0]
        == speeds(NAMED, target="llama-3.1-8b", draft=config)[0]
    )


def test_the_command_line_takes_the_same_words(tmp_path, config):
    file = tmp_path / "trace.parquet"
    save_trace(NAMELESS, file)
    models = ["--target", "llama-3.1-8b", "--draft", config, "--companion", config]
    priced = [*models, "--latency", "roofline", "--hardware", "l40s"]
    rows = svsim_json("replay", file, *priced, "--method", "sd:k=2", "--batch", "4")["rows"]
    assert rows[0]["goodput_tok_s"] == speeds(NAMELESS, target="llama-3.1-8b", draft=config)[0]["sd:k=2"]
    assert svsim_json("analytic", file, *priced, "--method", "td", "--batch", "4")["rows"]
    assert svsim_json("info", file, *priced)["slow_steps"]
    assert svsim_json("value", file, *priced, "--k", "2", "--batch", "4")["rows"]
    bench = tmp_path / "bench.csv"
    bench.write_text(f"method,batch,tok_s\ntd,4,100\nsd:k=2,4,{rows[0]['goodput_tok_s']!r}\n")
    found = svsim_json("validate", file, "--bench", bench, *priced)["prediction"]
    assert found["config"]["target"] == "llama-3.1-8b"


def test_measured_step_times_are_of_the_traces_own_models():
    llama = Path(__file__).parent.parent / "traces" / "llama70b.parquet"
    message = svsim_refuses("replay", llama, "--target", "llama-3.1-8b", "--batch", "4")
    assert (
        "--target meta-llama/Llama-3.1-8B: the trace's step times are those of meta-llama/Llama-3.1-70B"
        in message
    )
    assert "--latency database" in message
    assert svsim_json("replay", llama, "--target", "llama-3.1-70b", "--batch", "4", "--method", "td")["rows"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("llama-3.1-9b", "no preset for model llama-3.1-9b"),
        ("", "name is empty"),
        ("missing/config.json", "missing/config.json"),
    ],
)
def test_an_unknown_model_is_one_line(model, message):
    with pytest.raises(InputError, match=message):
        named_model(model)


def test_a_config_that_is_no_model_is_refused_before_the_run(tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"hidden_size": 12}')
    with pytest.raises(LatencyError, match="missing"):
        speeds(NAMELESS, target=file)


def test_nothing_named_changes_nothing():
    assert ModelChoice().over(NAMES) == NAMES and ModelChoice().to_dict() == {}
