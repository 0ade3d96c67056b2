"""Checkpoints in the forms people have: GGUF files and packages give the folder's own numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_captures import settings_for

from svsim.errors import InputError
from svsim.trace.file import load_trace
from svsim.trace_capture.capture import capture
from svsim.trace_capture.checkpoints import find_checkpoint, load_weights

gguf = pytest.importorskip("gguf", reason="the extra capture brings gguf")

NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(folder: Path, path: Path) -> None:
    """The Llama model of a folder as one GGUF file of float32 numbers, as llama.cpp lays it out."""
    model = load_weights(str(folder), "cpu", "float32")
    config, writer = model.config, gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, folder, config)
    for name, value in model.state_dict().items():
        writer.add_tensor(_gguf_name(name), np.ascontiguousarray(_as_llama_cpp(name, value, config)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: Any, folder: Path, config: Any) -> None:
    spec = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = {v: k for k, v in spec["model"]["vocab"].items()}
    vocabulary |= {t["id"]: t["content"] for t in spec["added_tokens"]}
    special = {t["id"] for t in spec["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([vocabulary[i] for i in range(len(vocabulary))])
    writer.add_token_types([3 if i in special else 1 for i in range(len(vocabulary))])
    writer.add_token_merges([" ".join(pair) for pair in spec["model"]["merges"]])
    writer.add_eos_token_id(config.eos_token_id)


def _gguf_name(name: str) -> str:
    fixed = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem = name.removesuffix(".weight")
    if stem in fixed:
        return f"{fixed[stem]}.weight"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{NAMES[rest]}.weight"


def _as_llama_cpp(name: str, value: torch.Tensor, config: Any) -> np.ndarray:
    """llama.cpp rotates neighbouring channels: rows of q and k come in another order."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    found = value.float().numpy()
    for key, num in heads.items():
        if key in name:
            rows, width = found.shape
            return found.reshape(num, 2, rows // num // 2, width).swapaxes(1, 2).reshape(rows, width)
    return found


@pytest.fixture(scope="module")
def gguf_target(triplet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny-F32.gguf"
    write_gguf(triplet / "target", path)
    return path


def test_a_gguf_file_and_its_folder_give_the_trace_of_the_model(
    triplet: Path, gguf_target: Path, tmp_path: Path
) -> None:
    expected = tmp_path / "folder.parquet"
    capture(settings_for(triplet, expected))
    of_folder = load_trace(expected)
    for target in (gguf_target, gguf_target.parent):
        out = tmp_path / "x.parquet"
        capture(settings_for(triplet, out, target=str(target)))
        found = load_trace(out)
        about = found.metadata.models["target"]
        assert (about["name"], about["dequantized_from"]) == ("tiny-F32.gguf", "F32")
        assert len(about["file_digest"]) == len(about["digest"]) == 32
        assert np.array_equal(found.target.num_accepted, of_folder.target.num_accepted)
        for name in ("similarity", "draft_prob"):
            assert np.array_equal(found.observable.signals[name], of_folder.observable.signals[name])


def test_without_a_companion_its_signals_are_not_recorded(triplet: Path, tmp_path: Path) -> None:
    whole, pair = tmp_path / "whole.parquet", tmp_path / "pair.parquet"
    capture(settings_for(triplet, whole))
    report = capture(settings_for(triplet, pair, companion=None))
    of_three, of_two = load_trace(whole), load_trace(pair)
    assert set(of_two.observable.signals) == {"draft_prob", "draft_entropy", "draft_rank"}
    assert set(of_two.metadata.models) == {"target", "draft"}
    assert set(report.rule_bias) == {"draft_prob>=0.2", "draft_prob>=0.5"}
    assert np.array_equal(of_two.target.num_accepted, of_three.target.num_accepted)
    assert np.array_equal(of_two.observable.signals["draft_prob"], of_three.observable.signals["draft_prob"])


def test_a_package_is_looked_into_and_never_imported(
    gguf_target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_small_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "model.gguf").write_bytes(gguf_target.read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    found = find_checkpoint("some-small-model")
    assert (found.gguf, found.label) == (package / "model.gguf", "model.gguf")


BAD = {
    "absent.gguf": "absent.gguf: no such file or folder; expected a local folder or hub id",
    "text.gguf": r"text.gguf: not a GGUF file \(it does not begin with GGUF\)",
    "weights.bin": "weights.bin: a .bin file; expected a local folder",
    "cut.gguf": "cut.gguf: no (tokenizer|model) could be read",
    "two": r"two: holds 2 GGUF files \(a.gguf, b.gguf\); name one of them",
    "x-00002-of-00003.gguf": "a later part of a split GGUF file",
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_checkpoint_is_refused(
    name: str, gguf_target: Path, triplet: Path, tmp_path: Path
) -> None:
    for file in ("text.gguf", "weights.bin"):
        (tmp_path / file).write_text("hello, world")
    (tmp_path / "cut.gguf").write_bytes(gguf_target.read_bytes()[:20_000])
    (tmp_path / "x-00002-of-00003.gguf").write_bytes(b"GGUF")
    (tmp_path / "two").mkdir()
    for file in ("a", "b"):
        (tmp_path / "two" / f"{file}.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match=BAD[name]) as caught:
        capture(settings_for(triplet, tmp_path / "x.parquet", target=str(tmp_path / name)))
    assert "\n" not in str(caught.value)
