import json
from pathlib import Path

import pytest

from svsim.errors import LatencyError
from svsim.latency.geometry import ModelGeometry, find_model, model_geometry, model_presets
from svsim.latency.pass_work import ModelOnGpus

# Parameters in billions as the model cards (or the safetensors index) print them.
PUBLISHED_PARAMETERS = {
    "llama-3.1-8b": 8.030, "llama-3.1-70b": 70.554, "llama-3.1-405b": 405.85, "llama-3.2-1b": 1.2358,
    "llama-3.2-3b": 3.2127, "qwen2.5-0.5b": 0.49403, "qwen2.5-1.5b": 1.5437, "qwen2.5-3b": 3.0859,
    "qwen2.5-7b": 7.6156, "qwen2.5-14b": 14.770, "qwen2.5-32b": 32.764, "qwen2.5-72b": 72.706,
    "qwen3-0.6b": 0.59605, "qwen3-4b": 4.0225, "qwen3-8b": 8.1907, "qwen3-14b": 14.768,
    "qwen3-32b": 32.762, "qwen3-30b-a3b": 30.532, "mixtral-8x7b": 46.703, "llama-2-7b": 6.7384,
    "llama-2-13b": 13.016, "codellama-34b": 33.744, "tinyllama-1.1b": 1.1000, "llama-160m": 0.16242,
    "llama-68m": 0.06803, "deepseek-v3": 671.03, "deepseek-v2": 235.74, "deepseek-v2-lite": 15.706,
    "kimi-k2": 1026.4,
}  # fmt: skip

LLAMA_CONFIG = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "tie_word_embeddings": False, "rope_scaling": {"rope_type": "llama3"},
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_presets_have_the_published_number_of_parameters(name: str) -> None:
    billions = model_geometry(name).num_parameters / 1e9
    assert billions == pytest.approx(PUBLISHED_PARAMETERS[name], rel=1e-3)  # norms and biases are left out


def test_kv_bytes_per_token() -> None:
    assert model_geometry("llama-3.1-70b").kv_bytes_per_token == 327_680  # 80 layers * 8 heads * 128 * 2 * 2
    assert model_geometry("llama-2-7b").kv_bytes_per_token == 524_288


def test_a_latent_cache_is_the_same_on_every_gpu() -> None:
    """576 values per token and layer (arXiv 2412.19437), whatever the number of heads or GPUs."""
    v3 = model_geometry("deepseek-ai/DeepSeek-V3")
    assert v3.kv_bytes_per_token == 61 * 576 * 2
    assert {ModelOnGpus(v3, tp).kv_bytes_per_token for tp in (1, 8)} == {61 * 576 * 2}
    # what all GPUs hold beyond one copy: the down projections, in 8 bits
    eight = 8 * ModelOnGpus(v3, 8).weight_bytes - ModelOnGpus(v3, 1).weight_bytes
    assert eight == pytest.approx(7 * 61 * 7168 * (1536 + 576))


def test_presets_are_found_by_many_names() -> None:
    names = (
        "llama-3.1-70b",
        "meta-llama/Llama-3.1-70B",
        "meta-llama/Meta-Llama-3.1-70B-Instruct",
        "Llama-3.1-70B",
    )
    assert len({model_geometry(name) for name in names}) == 1
    assert model_geometry("Qwen/Qwen2.5-72B-Instruct").num_layers == 80
    assert len({preset.name for preset in model_presets().values()}) == len(model_presets())
    with pytest.raises(LatencyError, match=r"no preset for model llama-3.1-7b; did you mean .*llama-3.1-70b"):
        model_geometry("llama-3.1-7b")


@pytest.mark.parametrize(
    ("name", "preset", "weights", "gigabytes"),
    [
        ("meta-llama/Llama-3.1-70B-Instruct", "llama-3.1-70b", "bf16", 141.1),
        ("Qwen/Qwen3-32B-FP8", "qwen3-32b", "fp8_block", 34.3),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", "qwen2.5-72b", "int4", 41.5),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", "qwen2.5-7b", "int8_weights", 8.8),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", "llama-3.1-8b", "int8", 9.1),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", "llama-3.1-8b", "fp8", 9.1),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507-FP8", "qwen3-30b-a3b", "fp8_block", 31.2),
        ("Qwen3-235B-A22B-Thinking-2507", "qwen3-235b-a22b", "bf16", 470.2),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral-7b", "bf16", 14.5),
        ("mistralai/Mistral-7B-Instruct-v0.1", "mistral-7b-v0.1", "bf16", 14.5),
        ("mistralai/Mixtral-8x22B-Instruct-v0.1", "mixtral-8x22b", "bf16", 281.2),
        ("openai/gpt-oss-120b", "gpt-oss-120b", "mxfp4", 65.2),
        ("unsloth/gpt-oss-20b-BF16", "gpt-oss-20b", "bf16", 41.8),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-v3", "fp8_block", 672.9),
        ("moonshotai/Kimi-K2-Thinking", "kimi-k2.5", "int4_group32", 609.8),
    ],
)
def test_names_of_repositories(name: str, preset: str, weights: str, gigabytes: float) -> None:
    """Chat, date and owner do not matter; the ending of a quantized checkpoint sets its precision."""
    found, known = model_geometry(name), model_presets()[preset]
    assert found.weight_dtype == weights and found.num_parameters == known.num_parameters
    assert found.weight_bytes / 1e9 == pytest.approx(gigabytes, rel=3e-3)


def test_an_fp8_cache_in_a_name() -> None:
    assert model_geometry("amd/Llama-3.1-70B-Instruct-FP8-KV").kv_dtype == "fp8"


def test_what_a_person_writes_for_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_CONFIG))
    for text in (str(tmp_path), str(tmp_path / "config.json"), "meta-llama/Llama-3.1-8B-Instruct"):
        assert find_model(text).num_parameters == model_geometry("llama-3.1-8b").num_parameters
    for text in ("./missing/config.json", str(tmp_path / "x.json")):
        with pytest.raises(LatencyError, match=r"no file .*; expected a config.json, its folder, or a model"):
            find_model(text)
    with pytest.raises(LatencyError, match=r"no preset for model mixtral-9x9b; did you mean mixtral-8x\d+b"):
        find_model("mixtral-9x9b")


def test_config_json(tmp_path: Path) -> None:
    folder = tmp_path / "my-llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA_CONFIG))
    preset = model_geometry("llama-3.1-8b")
    for path in (folder, folder / "config.json"):
        read = ModelGeometry.from_config_file(path)
        assert read.name == "my-llama"
        assert read.num_parameters == preset.num_parameters
        assert read.kv_bytes_per_token == preset.kv_bytes_per_token


def test_config_defaults() -> None:
    """Without num_key_value_heads and head_dim the model is multi-head with hidden / heads."""
    config = {k: v for k, v in LLAMA_CONFIG.items() if k != "num_key_value_heads"}
    geometry = ModelGeometry.from_config(config, "x")
    assert (geometry.num_kv_heads, geometry.head_size) == (32, 128)
    nested = ModelGeometry.from_config({"text_config": config, "vision_config": {}}, "x")
    assert nested == geometry


def test_config_of_a_mixture() -> None:
    config = LLAMA_CONFIG | {"num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000}
    geometry = ModelGeometry.from_config(config, "mixtral")
    assert geometry.num_parameters == model_geometry("mixtral-8x7b").num_parameters
    assert geometry.expected_active_experts([0, 1]) == pytest.approx([0, 2])
    assert 7.9 < geometry.expected_active_experts(1000) <= 8


DEEPSEEK_V2_LITE_CONFIG = {
    "hidden_size": 2048, "intermediate_size": 10944, "num_attention_heads": 16, "num_hidden_layers": 27,
    "num_key_value_heads": 16, "vocab_size": 102400, "kv_lora_rank": 512, "q_lora_rank": None,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 64,
    "n_shared_experts": 2, "num_experts_per_tok": 6, "moe_intermediate_size": 1408,
    "first_k_dense_replace": 1, "moe_layer_freq": 1,
}  # fmt: skip


def test_config_of_latent_attention_and_shared_experts() -> None:
    preset = model_geometry("deepseek-v2-lite")
    read = ModelGeometry.from_config(DEEPSEEK_V2_LITE_CONFIG, preset.name)
    assert read == preset
    block_scaled = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    assert ModelGeometry.from_config(DEEPSEEK_V2_LITE_CONFIG | block_scaled, "x").weight_dtype == "fp8_block"
    qwen = LLAMA_CONFIG | {
        "num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632, "mlp_only_layers": [0], "decoder_sparse_step": 1,
    }  # fmt: skip
    mixture = ModelGeometry.from_config(qwen, "x")
    assert (mixture.shared_intermediate_size, mixture.num_dense_layers) == (5632, 1)
    assert mixture.dense_intermediate_size == LLAMA_CONFIG["intermediate_size"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0"),
        ({"vocab_size": "128256"}, "vocab_size = 128256; expected a whole number"),
        ({"num_attention_heads": True}, "num_attention_heads = True"),
        ({"intermediate_size": 1e3}, "intermediate_size = 1000.0"),
        ({"kv_lora_rank": 512}, "qk_rope_head_dim is missing"),
        ({"kv_lora_rank": "x"}, "kv_lora_rank = x; expected a whole number"),
        ({"mamba_d_state": 128}, "state-space layers, which is not modelled; measure its step times"),
        ({"linear_attn_config": {"num_heads": 32}}, "Kimi delta attention"),
        ({"index_topk": 2048}, "sparse attention"),
        ({"num_experts": 8, "num_experts_per_tok": 2, "decoder_sparse_step": 0}, "decoder_sparse_step = 0"),
        (
            {"num_experts": 8, "num_experts_per_tok": 2, "first_k_dense_replace": -1},
            "first_k_dense_replace = -1",
        ),
        ({"num_experts": 8}, "num_experts_per_tok is missing"),
    ],
)
def test_bad_configs(changes: dict[str, object], message: str) -> None:
    with pytest.raises(LatencyError, match=message):
        ModelGeometry.from_config(LLAMA_CONFIG | changes, "bad")


def test_fp8_checkpoints() -> None:
    fp8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
    geometry = ModelGeometry.from_config(LLAMA_CONFIG | {"quantization_config": fp8}, "x")
    assert (geometry.weight_dtype, geometry.kv_dtype) == ("fp8", "bf16")
    preset = model_geometry("llama-3.1-8b")
    embeddings = 2 * 128256 * 4096
    assert geometry.weight_bytes == preset.num_parameters - embeddings + 2 * embeddings
    group = {
        "weights": {"type": "float", "num_bits": 8},
        "input_activations": {"type": "float", "num_bits": 8},
    }
    packed = {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": group},
        "kv_cache_scheme": {"type": "float", "num_bits": 8},
    }
    geometry = ModelGeometry.from_config(LLAMA_CONFIG | {"quantization_config": packed}, "x")
    assert (geometry.weight_dtype, geometry.kv_dtype) == ("fp8", "fp8")
    assert geometry.kv_bytes_per_token == preset.kv_bytes_per_token // 2
    for method in ("awq", "gptq", None, 3):
        with pytest.raises(LatencyError, match="is not modelled"):
            ModelGeometry.from_config(LLAMA_CONFIG | {"quantization_config": {"quant_method": method}}, "x")


@pytest.mark.parametrize("content", ["", "[1]", "null", "{", "[" * 100_000])
def test_files_that_are_no_configs(content: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(LatencyError, match=r"config\.json") as caught:
        ModelGeometry.from_config_file(path)
    assert "\n" not in str(caught.value)
