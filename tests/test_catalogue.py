"""``svsim methods``, ``svsim hardware`` and ``svsim models``."""

import io
import json

from rich.console import Console
from support.command_line import svsim_json, svsim_process, svsim_refuses

from svsim.catalogue import method_entries
from svsim.decoding.drafters import DRAFTER_NAMES
from svsim.decoding.presets import PRESETS
from svsim.report.catalogue_tables import print_drafters, print_methods

CONFIG = {
    "hidden_size": 2048, "intermediate_size": 768, "num_attention_heads": 16, "num_hidden_layers": 4,
    "num_key_value_heads": 4, "vocab_size": 1000, "num_experts": 8, "num_experts_per_tok": 2,
}  # fmt: skip


def test_methods_list_options_with_defaults_and_domains():
    entries = {entry["method"]: entry for entry in svsim_json("methods")["methods"]}
    assert list(entries) == list(PRESETS)
    sv = entries["sv"]
    assert sv["options"]["k"] == 7
    assert sv["option_domains"]["k"] == {"type": "integer", "at_least": 1, "at_most": 255}
    assert sv["option_domains"]["stop"] == {"type": "word", "words": ["argmax", "first-drop"]}
    assert entries["svip"]["option_domains"]["h"] == {"type": "number", "at_least": 0.0, "at_most": 10.0}
    assert "64-3/128-1" in entries["vllm-ladder"]["option_domains"]["ladder"]["form"]
    assert sv["needs"] == ["similarity", "companion_accept"] and sv["runs_companion"]
    assert entries["disco"]["needs"] == ["draft_prob"] and not entries["disco"]["learns_from_profile"]
    assert entries["oracle-belief"]["needs"] == ["accept_prob"] and entries["oracle-belief"]["is_bound"]
    assert entries["ead"]["needs"] == ["draft_entropy", "target_entropy"]
    for entry in entries.values():
        assert set(entry["options"]) == set(entry["option_domains"])
        assert entry["lossless"] in ("lossless", "lossless-greedy-only", "lossy")
        assert entry["why"] and entry["source"]


def test_drafters_say_what_they_are_and_cost():
    entries = {entry["drafter"]: entry for entry in svsim_json("methods")["drafters"]}
    assert list(entries) == list(DRAFTER_NAMES)
    passes = {name: entry["passes"] for name, entry in entries.items()}
    assert passes == {
        "model": "k", "eagle": "k", "eagle3": "k", "mtp": "k", "dflash": "1", "peagle": "1", "ngram": "0",
        "none": "0",
    }  # fmt: skip
    heads = {"eagle", "eagle3", "mtp", "dflash", "peagle"}
    assert {name for name, entry in entries.items() if entry["has_own_shape"]} == heads
    assert {name for name, entry in entries.items() if entry["reads_again"]} == heads - {"dflash", "peagle"}
    console = Console(width=80, record=True, file=io.StringIO())
    print_drafters(list(entries.values()), console)
    text = console.export_text()
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())
    assert all(entry["summary"] in " ".join(text.split()) for entry in entries.values())


def test_methods_are_readable_at_80_columns():
    console = Console(width=80, record=True, file=io.StringIO())
    print_methods(method_entries(), console)
    lines = console.export_text().splitlines()
    assert all(len(line.rstrip()) <= 80 for line in lines)
    for entry in method_entries():
        start = next(i for i, line in enumerate(lines) if line.split()[:1] == [entry["method"]])
        paragraph = " ".join(" ".join(lines[start : start + 14]).split())
        for words in (entry["summary"], f"{entry['lossless']}: {entry['why']}", f"source: {entry['source']}"):
            assert words in paragraph
    assert "unseen=histogram|similarity (histogram where the trace has it)" in " ".join(
        " ".join(lines).split()
    )


def test_hardware_lists_numbers_with_sources():
    entries = {entry["name"]: entry for entry in svsim_json("hardware")["hardware"]}
    h100 = entries["h100_sxm"]
    assert h100["bf16_flop_per_s"] == 989.5e12 and h100["memory_bytes"] == 80 * 2**30
    assert entries["a100_sxm"]["fp8_flop_per_s"] is None and entries["tpu_v5e"]["power_w"] is None
    for entry in entries.values():
        known = {key for key, value in entry.items() if value is not None} - {"name", "sources", "checked"}
        assert known == set(entry["sources"])
    text = svsim_process("hardware", "h100_sxm").stdout
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
    assert "billion weights" in svsim_process("models").stdout


def test_bad_input_is_one_line(tmp_path):
    assert "did you mean h100_sxm" in svsim_refuses("hardware", "h100_sx")
    (tmp_path / "config.json").write_text("{}")
    assert "hidden_size is missing" in svsim_refuses("models", "--config", tmp_path / "config.json")
    assert "no such file" in svsim_refuses("models", "--config", tmp_path / "none.json")
    assert "no price list" in svsim_refuses("hardware", "--prices", tmp_path / "config.json")
