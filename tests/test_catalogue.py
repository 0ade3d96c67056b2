"""``svsim hardware`` and ``svsim models``."""

import json

from command_line import svsim_json, svsim_refuses, svsim_run

CONFIG = {
    "hidden_size": 2048, "intermediate_size": 768, "num_attention_heads": 16, "num_hidden_layers": 4,
    "num_key_value_heads": 4, "vocab_size": 1000, "num_experts": 8, "num_experts_per_tok": 2,
}  # fmt: skip


def test_hardware_lists_numbers_with_sources():
    entries = {entry["name"]: entry for entry in svsim_json("hardware")["hardware"]}
    h100 = entries["h100_sxm"]
    assert h100["bf16_flop_per_s"] == 989.5e12 and h100["memory_bytes"] == 80 * 2**30
    assert entries["a100_sxm"]["fp8_flop_per_s"] is None and entries["tpu_v5e"]["power_w"] is None
    for entry in entries.values():
        known = {key for key, value in entry.items() if value is not None} - {"name", "sources"}
        assert known == set(entry["sources"])
    text = svsim_run("hardware", "h100_sxm").stdout
    assert "h100_sxm" in text and "a100" not in text and "NVIDIA H100 Tensor Core GPU data sheet" in text


def test_models_list_derived_sizes(tmp_path):
    entries = {entry["model"]: entry for entry in svsim_json("models")["models"]}
    assert entries["llama-3.1-70b"]["kv_bytes_per_token"] == 327_680
    assert round(entries["llama-3.1-70b"]["weight_bytes"] / 1e9) == 141
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (mine,) = svsim_json("models", "--config", tmp_path)["models"]
    attention, experts = 2048 * 128 * 2 * (16 + 4), 8 * 3 * 2048 * 768 + 2048 * 8
    assert mine["num_parameters"] == 4 * (attention + experts) + 2 * 1000 * 2048
    assert mine["num_experts"] == 8
    assert "billion weights" in svsim_run("models").stdout


def test_bad_input_is_one_line(tmp_path):
    assert "did you mean h100_sxm" in svsim_refuses("hardware", "h100")
    (tmp_path / "config.json").write_text("{}")
    assert "num_attention_heads is missing" in svsim_refuses("models", "--config", tmp_path / "config.json")
    assert "cannot be read" in svsim_refuses("models", "--config", tmp_path / "none.json")
    assert "no price list" in svsim_refuses("hardware", "--prices", tmp_path / "config.json")
