"""Configurations as repositories have them: what they mean, and what is refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from svsim.errors import LatencyError
from svsim.latency.draft_heads import draft_head
from svsim.latency.geometry import ModelGeometry
from svsim.latency.hardware import data_sheet
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape
from tests.support.shared_data import shared

DENSE: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
    "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip


def read(config: dict[str, Any]) -> ModelGeometry:
    return ModelGeometry.from_config(config, "model")


# Public models, in billions of parameters: what their cards say.
CASES = {
    "starcoder2-15b": 15.96, "nemotron-mini-4b": 4.19, "gemma-2-9b": 9.24, "gemma-2-27b": 27.23,
    "gemma-3-27b-it": 27.0, "ernie-4.5-21b-a3b": 21.83, "falcon-40b": 41.3, "gpt-oss-120b-noquant": 116.8,
    "minimax-hf": 456.1, "minimax-text-01": 456.1, "qwen1.5-moe-a2.7b": 14.3, "qwen2.5-32b-awq": 32.76,
    "eagle3-llama3.1-8b": 0.425, "redhat-eagle3-speculator": 0.425, "deepseek-v3-nextn": 11.6,
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_configurations_that_users_gave(name: str) -> None:
    model = ModelGeometry.from_config_file(shared("cases", "configs", f"{name}.json"))
    assert model.num_parameters / 1e9 == pytest.approx(CASES[name], rel=3e-3)


@pytest.mark.parametrize(
    ("name", "weights", "kv", "gigabytes"),
    [
        ("qwen2.5-32b-modelopt-fp8", "fp8", "fp8", 34.3),
        ("qwen2.5-32b-fp8-dynamic", "fp8", "bf16", 34.3),
        ("qwen2.5-32b-nvfp4-ct", "nvfp4", "bf16", 20.7),
        ("qwen2.5-32b-awq", "int4", "bf16", 19.3),
        ("qwen2.5-32b-w8a8-int8", "int8", "bf16", 34.3),
        ("gpt-oss-120b-noquant", "bf16", "bf16", 233.6),
    ],
)
def test_precisions_that_users_gave(name: str, weights: str, kv: str, gigabytes: float) -> None:
    model = ModelGeometry.from_config_file(shared("cases", "configs", f"{name}.json"))
    assert (model.weight_dtype, model.kv_dtype) == (weights, kv)
    assert model.weight_bytes / 1e9 == pytest.approx(gigabytes, rel=5e-3)


def test_linear_attention_keeps_no_cache() -> None:
    for name in ("minimax-hf", "minimax-text-01"):
        model = ModelGeometry.from_config_file(shared("cases", "configs", f"{name}.json"))
        assert model.kv_bytes_per_token == 40_960


def test_heads_that_users_gave() -> None:
    for name in ("eagle3-llama3.1-8b", "redhat-eagle3-speculator"):
        head = draft_head(None, config=shared("cases", "configs", f"{name}.json"))
        assert (head.kind, head.geometry.vocabulary_size) == ("eagle3", 32000)
    layer = draft_head(None, config=shared("cases", "configs", "deepseek-v3-nextn.json"))
    assert (layer.kind, layer.geometry.num_layers) == ("mtp", 1)
    with pytest.raises(LatencyError, match="contradicting keys: first_k_dense_replace = 3 dense layers, but"):
        draft_head(None, config=shared("cases", "configs", "deepseek-v3-one-layer-k3.json"))


# Shapes and sizes as commonly quoted for these models, written down before they were compared; not looked up.
FAMOUS: dict[str, tuple[dict[str, Any], float]] = {
    "phi-2": ({
        "model_type": "phi", "hidden_size": 2560, "intermediate_size": 10240, "num_attention_heads": 32,
        "num_hidden_layers": 32, "vocab_size": 51200, "tie_word_embeddings": False}, 2.78),
    "gpt2-xl": ({
        "model_type": "gpt2", "n_embd": 1600, "n_head": 25, "n_layer": 48, "n_positions": 1024,
        "vocab_size": 50257}, 1.558),
    "falcon-7b": ({
        "model_type": "falcon", "hidden_size": 4544, "num_attention_heads": 71, "num_hidden_layers": 32,
        "vocab_size": 65024, "multi_query": True}, 6.92),
    "gemma-3-4b": ({
        "model_type": "gemma3", "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
            "num_hidden_layers": 34, "sliding_window": 1024}}, 3.88),
    "gemma-3-1b": ({
        "model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912, "head_dim": 256,
        "num_attention_heads": 4, "num_key_value_heads": 1, "num_hidden_layers": 26, "vocab_size": 262144,
        "sliding_window": 512, "sliding_window_pattern": 6}, 1.0),
    "gemma-4-26b-a4b": ({
        "model_type": "gemma4", "text_config": {
            "model_type": "gemma4_text", "hidden_size": 2816, "intermediate_size": 2112, "head_dim": 256,
            "moe_intermediate_size": 704, "num_experts": 128, "top_k_experts": 8, "enable_moe_block": True,
            "num_attention_heads": 16, "num_key_value_heads": 8, "num_hidden_layers": 30,
            "global_head_dim": 512, "num_global_key_value_heads": 2, "attention_k_eq_v": True,
            "hidden_size_per_layer_input": 0, "sliding_window": 1024, "vocab_size": 262144}}, 25.2),
    "llama-4-maverick": ({
        "model_type": "llama4", "text_config": {
            "model_type": "llama4_text", "hidden_size": 5120, "intermediate_size": 8192,
            "intermediate_size_mlp": 16384, "interleave_moe_layer_step": 2, "num_local_experts": 128,
            "num_experts_per_tok": 1, "num_attention_heads": 40, "num_key_value_heads": 8,
            "num_hidden_layers": 48, "head_dim": 128, "vocab_size": 202048}}, 400.0),
    "qwen3-coder-480b": ({
        "model_type": "qwen3_moe", "hidden_size": 6144, "intermediate_size": 8192, "head_dim": 128,
        "moe_intermediate_size": 2560, "num_attention_heads": 96, "num_key_value_heads": 8,
        "num_hidden_layers": 62, "num_experts": 160, "num_experts_per_tok": 8, "decoder_sparse_step": 1,
        "shared_expert_intermediate_size": 0, "mlp_only_layers": [], "vocab_size": 151936}, 480.2),
    "glm-4.5-air": ({
        "model_type": "glm4_moe", "hidden_size": 4096, "intermediate_size": 10944, "head_dim": 128,
        "moe_intermediate_size": 1408, "num_attention_heads": 96, "num_key_value_heads": 8,
        "num_hidden_layers": 46, "n_routed_experts": 128, "n_shared_experts": 1, "num_experts_per_tok": 8,
        "first_k_dense_replace": 1, "vocab_size": 151552}, 106.8),
    "mimo-v2-flash": ({
        "model_type": "mimo_v2_flash", "hidden_size": 4096, "intermediate_size": 16384, "head_dim": 192,
        "v_head_dim": 128, "moe_intermediate_size": 2048, "num_attention_heads": 64,
        "num_key_value_heads": 4, "swa_num_attention_heads": 64, "swa_num_key_value_heads": 8,
        "swa_head_dim": 192, "swa_v_head_dim": 128, "sliding_window_size": 128, "num_hidden_layers": 48,
        "hybrid_layer_pattern": [int(i > 0 and (i + 1) % 6 > 0) for i in range(48)],
        "moe_layer_freq": [0] + [1] * 47, "n_routed_experts": 256, "n_shared_experts": None,
        "num_experts_per_tok": 8, "vocab_size": 152576, "tie_word_embeddings": False}, 309.0),
    "jamba-mini": ({
        "model_type": "jamba", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_key_value_heads": 8, "num_hidden_layers": 32, "num_experts": 16, "num_experts_per_tok": 2,
        "attn_layer_offset": 4, "attn_layer_period": 8, "expert_layer_offset": 1, "expert_layer_period": 2,
        "mamba_d_conv": 4, "mamba_d_state": 16, "mamba_dt_rank": 256, "mamba_expand": 2,
        "vocab_size": 65536, "tie_word_embeddings": False}, 51.6),
    "nemotron-nano-9b-v2": ({
        "model_type": "nemotron_h", "hidden_size": 4480, "intermediate_size": 15680, "head_dim": 128,
        "num_attention_heads": 40, "num_key_value_heads": 8, "num_hidden_layers": 56,
        "hybrid_override_pattern": "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-",
        "mamba_num_heads": 128, "mamba_head_dim": 80, "n_groups": 8, "ssm_state_size": 128,
        "conv_kernel": 4, "vocab_size": 131072, "tie_word_embeddings": False}, 8.89),
    "lfm2-1.2b": ({
        "model_type": "lfm2", "hidden_size": 2048, "block_ff_dim": 12288, "block_auto_adjust_ff_dim": True,
        "block_ffn_dim_multiplier": 1.0, "block_multiple_of": 256, "conv_L_cache": 3,
        "full_attn_idxs": [2, 5, 8, 10, 12, 14], "num_attention_heads": 32, "num_key_value_heads": 8,
        "num_hidden_layers": 16, "vocab_size": 65536}, 1.17),
    "mamba-2.8b": ({
        "model_type": "mamba", "hidden_size": 2560, "num_hidden_layers": 64, "state_size": 16,
        "conv_kernel": 4, "expand": 2, "time_step_rank": 160, "vocab_size": 50280}, 2.77),
    "deepseek-v2-lite": ({
        "model_type": "deepseek_v2", "hidden_size": 2048, "intermediate_size": 10944,
        "num_attention_heads": 16, "num_hidden_layers": 27, "num_key_value_heads": 16, "vocab_size": 102400,
        "kv_lora_rank": 512, "q_lora_rank": None, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
        "v_head_dim": 128, "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6,
        "moe_intermediate_size": 1408, "first_k_dense_replace": 1, "moe_layer_freq": 1}, 15.71),
}  # fmt: skip


@pytest.mark.parametrize("name", FAMOUS)
def test_famous_models_have_their_published_size(name: str) -> None:
    config, billions = FAMOUS[name]
    assert read(config).num_parameters / 1e9 == pytest.approx(billions, rel=6e-3)


def test_layers_of_famous_models() -> None:
    """Which layers see all of the context, which a window, which keep a state."""
    models = {name: read(config) for name, (config, _) in FAMOUS.items()}

    def layers(name: str) -> tuple[int, int, int]:
        model = models[name]
        windowed = model.window.num_layers if model.window else 0
        return model.num_full_layers, windowed, model.recurrent.num_layers if model.recurrent else 0

    assert layers("gemma-3-4b") == (5, 29, 0)
    assert layers("gemma-4-26b-a4b") == (5, 25, 0)
    assert layers("llama-4-maverick") == (12, 36, 0)
    assert layers("mimo-v2-flash") == (9, 39, 0)
    assert layers("jamba-mini") == (4, 0, 28)
    assert layers("nemotron-nano-9b-v2") == (4, 0, 27)
    assert layers("lfm2-1.2b") == (6, 0, 10)
    assert layers("mamba-2.8b") == (0, 0, 64)
    assert models["nemotron-nano-9b-v2"].num_mixture_layers == 25
    assert models["mimo-v2-flash"].num_dense_layers == 1
    # MiMo: 4 KV heads of 192 + 128 values in full layers, 8 in windows of 128 tokens and the query
    assert models["mimo-v2-flash"].kv_bytes(10_000) == 2 * 320 * (9 * 4 * 10_000 + 39 * 8 * 129)


@pytest.mark.parametrize("name", FAMOUS)
def test_every_kind_of_model_has_a_price_that_grows(name: str) -> None:
    """More context and more sequences never cost less; states cost the same at any context."""
    model = read(FAMOUS[name][0])
    latency = RooflineLatency.of("b200_sxm", 1, model)
    seconds = latency.predict_s(
        StepShape(Role.TARGET, [1, 1, 64, 64], [1, 1, 64, 512], [100, 8000, 6400, 6400])
    )
    assert all(seconds > 0)
    assert seconds[1] > seconds[0] or (name == "mamba-2.8b" and seconds[1] == seconds[0])
    assert seconds[2] > seconds[0] and seconds[3] > seconds[2]
    weights_s = model.weight_bytes / data_sheet("b200_sxm").memory_bytes_per_s
    if not model.num_experts:
        assert 0.5 * weights_s < seconds[0] < 4 * weights_s + 2e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "qwen9"}, 'model_type "qwen9" is no known architecture; did you mean qwen'),
        (
            {"num_heads": 16},
            "contradicting keys: num_attention_heads = 32, num_heads = 16; expected one value",
        ),
        (
            {"num_experts": 8, "n_routed_experts": 16, "num_experts_per_tok": 2},
            "num_experts = 8, n_routed_ex",
        ),
        ({"layer_types": ["full_attention"] * 31}, "expected 32 names .num_hidden_layers., got 31 of them"),
        ({"layer_types": ["linear_attention"] * 32}, "which this model_type is not known to have"),
        ({"layer_types": ["sliding_attention"] * 32}, "has windowed layers, but sliding_window is missing"),
        ({"layer_types": "full"}, "layer_types: expected 32 names"),
        ({"hidden_size": None}, "key hidden_size is missing"),
        ({"vocab_size": 0}, "vocab_size = 0; expected a whole number >= 1"),
        (
            {"model_type": "deepseek_v32", "index_topk": 2048},
            "index_topk means sparse attention, which is not",
        ),
        ({"altup_num_inputs": 4}, "altup_num_inputs means Gemma 3n's alternating updates, which is not mod"),
        (
            {"num_experts": 8, "num_experts_per_tok": 2, "first_k_dense_replace": 33},
            "contradicting keys: first_k_dense_replace = 33 dense layers, but num_hidden_layers = 32",
        ),
        (
            {"num_experts": 8, "num_experts_per_tok": 2, "moe_layer_freq": [0, 1]},
            "moe_layer_freq: expected 32 values .num_hidden_layers., each 0 or 1",
        ),
        ({"num_experts": 8, "num_experts_per_tok": 2, "mlp_only_layers": [40]}, "mlp_only_layers = .40"),
        ({"num_experts": 8, "num_experts_per_tok": 2, "mlp_layer_types": ["x"] * 32}, "mlp_layer_types: exp"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LatencyError, match=message) as caught:
        read(DENSE | changes)
    assert str(caught.value).startswith("model: ") and "\n" not in str(caught.value)


def test_an_absent_key_is_the_classs_default_and_null_is_none() -> None:
    gemma = {
        "model_type": "gemma2", "hidden_size": 3584, "num_hidden_layers": 42, "intermediate_size": 14336,
        "num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 256000,
    }  # fmt: skip
    model = read(gemma)
    assert model.has_tied_embeddings and model.head_size == 256 and model.window is not None
    assert model.window.window_tokens == 4096
    assert read(gemma | {"sliding_window": None}).window is None
    assert not read(gemma | {"tie_word_embeddings": False}).has_tied_embeddings
    assert read(gemma | {"head_dim": None}).head_size == 3584 // 16


def test_windows_that_are_switched_off() -> None:
    """Qwen2.5 has a sliding_window that it does not use; with the switch it is that of the last layers."""
    qwen = DENSE | {"model_type": "qwen2", "sliding_window": 4096, "max_window_layers": 28}
    assert read(qwen | {"use_sliding_window": False}).window is None
    window = read(qwen | {"use_sliding_window": True}).window
    assert window is not None and window.num_layers == 4


def test_nested_configurations_are_read_alone() -> None:
    wrapped = {
        "model_type": "mistral3",
        "text_config": DENSE | {"model_type": "mistral"},
        "vision_config": {},
    }
    assert read(wrapped) == read(DENSE | {"model_type": "mistral"})
    kimi = {
        "model_type": "kimi_k25",
        "text_config": {
            "model_type": "kimi_k2", "hidden_size": 7168, "intermediate_size": 18432,
            "moe_intermediate_size": 2048, "num_hidden_layers": 61, "num_attention_heads": 64,
            "num_key_value_heads": 64, "n_routed_experts": 384, "n_shared_experts": 1,
            "num_experts_per_tok": 8, "first_k_dense_replace": 1, "vocab_size": 163840,
            "quantization_config": {
                "quant_method": "compressed-tensors", "format": "pack-quantized",
                "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
                    "num_bits": 4, "type": "int", "group_size": 32, "strategy": "group"}}},
                "ignore": ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*",
                           "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"],
            },
        },
    }  # fmt: skip
    model = read(kimi)
    assert model.weight_dtype == "int4_group32"
    assert (model.attention_dtype, model.dense_dtype) == ("bf16", "bf16")
    assert model.weight_bytes / 1e9 == pytest.approx(595, rel=0.03)  # the checkpoint's files


def test_a_list_of_nothing_but_attention_is_no_hybrid() -> None:
    """MiniMax-M2 keeps its predecessor's key, with a 1 for every layer."""
    m2 = {
        "model_type": "minimax_m2", "hidden_size": 3072, "intermediate_size": 1536, "num_hidden_layers": 62,
        "num_attention_heads": 48, "num_key_value_heads": 8, "head_dim": 128, "num_local_experts": 256,
        "num_experts_per_tok": 8, "vocab_size": 200064, "attn_type_list": [1] * 62,
    }  # fmt: skip
    assert read(m2).num_full_layers == 62
    with pytest.raises(LatencyError, match="linear or state-space layers, which this model_type is not"):
        read(m2 | {"attn_type_list": [0] + [1] * 61})


def test_sidecars_say_the_precision(tmp_path: Path) -> None:
    """ModelOpt writes hf_quant_config.json beside a config.json that says nothing."""
    (tmp_path / "config.json").write_text(json.dumps(DENSE))
    assert ModelGeometry.from_config_file(tmp_path).weight_dtype == "bf16"
    said = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    sidecar = {"producer": {"name": "modelopt", "version": "0.23"}, "quantization": said}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(sidecar))
    model = ModelGeometry.from_config_file(tmp_path)
    assert (model.weight_dtype, model.kv_dtype) == ("fp8", "fp8")
    (tmp_path / "hf_quant_config.json").write_text("{")
    with pytest.raises(LatencyError, match=r"hf_quant_config\.json"):
        ModelGeometry.from_config_file(tmp_path)
