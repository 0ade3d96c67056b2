"""transformers' own classes, built without memory (on the meta device): what a model holds."""

import dataclasses
import json
import warnings
from dataclasses import dataclass
from typing import Any

import pytest

NUM_LAYERS, NUM_TOKENS = 8, 9000
LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
# Facts that a class's defaults leave open or that make a poor example, by model_type.
FACTS: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [2, 5]},
    "bloom": {"hidden_size": 1024, "n_head": 16},
    "dbrx": {
        "attn_config": {"kv_n_heads": 8, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4},
    },
    "deepseek_v2": {"num_experts_per_tok": 6, "moe_intermediate_size": 1408, "first_k_dense_replace": 1},
    "dots1": {
        "n_routed_experts": 16, "num_experts_per_tok": 4, "n_shared_experts": 2, "first_k_dense_replace": 1,
    },
    "gemma4_text": {
        "enable_moe_block": True, "num_experts": 16, "top_k_experts": 4, "moe_intermediate_size": 704,
        "attention_k_eq_v": True, "num_global_key_value_heads": 2,
    },
    "granitemoehybrid": {"layer_types": ["mamba", "mamba", "attention", "mamba"] * 2},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128, "num_experts": 16, "moe_topk": 2},
    "lfm2": {"full_attn_idxs": [2, 5]},
    "lfm2_moe": {"layer_types": ["conv", "conv", "full_attention", "conv"] * 2},
    "ministral": {"head_dim": 128},
    "mpt": {"max_seq_len": 16384},
    "nemotron": {"num_key_value_heads": 8},
    "nemotron_h": {
        "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"] * 2,
        "moe_latent_size": 1024,
    },
    "phi3": {"sliding_window": 2047},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 4},
    "starcoder2": {"sliding_window": 4096},
}  # fmt: skip
# Text models that transformers wraps, or has under another name, and a class of the same layers.
SAME_LAYERS = {
    "kimi_k2": "deepseek_v3",
    "minimax_text_01": "minimax",
    "bailing_moe_v2": "sarvam_moe",
    "qwen2_vl": "qwen2",
    "qwen2_vl_text": "qwen2",
    "qwen2_5_vl": "qwen2",
    "qwen2_5_vl_text": "qwen2",
    "qwen3_vl_text": "qwen3",
    "qwen3_vl_moe_text": "qwen3_moe",
}


@dataclass(frozen=True)
class Built:
    """A model and the configuration it was built from, as config.json would have it."""

    config: dict[str, Any]
    model: Any

    @property
    def num_parameters(self) -> int:
        """Of all weights, tied ones once."""
        return sum({id(p): p.numel() for p in self.model.parameters()}.values())

    @property
    def num_vocabulary_parameters(self) -> int:
        """Of embeddings and logits."""
        ends = (self.model.get_input_embeddings(), self.model.get_output_embeddings())
        found = {id(p): p.numel() for end in ends if end is not None for p in end.parameters()}
        return sum(found.values())

    def cached_values(self, num_tokens: int = NUM_TOKENS) -> int:
        """Values in the KV cache after a prompt."""
        import torch
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config)
        tokens = torch.zeros((1, num_tokens), dtype=torch.long, device="meta")
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model(input_ids=tokens, use_cache=True, past_key_values=cache)
        layers = [layer for layer in cache.layers if getattr(layer, "keys", None) is not None]
        return sum(layer.keys.numel() + layer.values.numel() for layer in layers)


def build(model_type: str, **facts: Any) -> Built:
    """A causal language model of that ``model_type``: class defaults, fewer layers, ``FACTS``, ``facts``."""
    transformers = pytest.importorskip("transformers", reason="needs transformers (extra capture)")
    kind = SAME_LAYERS.get(model_type, model_type)
    if kind not in transformers.CONFIG_MAPPING:
        pytest.skip(f"this transformers ({transformers.__version__}) does not know {kind}")
    made = transformers.CONFIG_MAPPING[kind]
    known = {field.name for field in dataclasses.fields(made)}
    few = {key: NUM_LAYERS for key in LAYER_KEYS if key in known and kind != "nemotron_h"}
    config = made(**(few | FACTS.get(kind, {}) | facts))
    said = json.loads(json.dumps(config.to_dict(), default=str)) | {"model_type": model_type}
    return Built(said, _on_meta(config))


def _on_meta(config: Any) -> Any:
    import torch
    import transformers

    name = type(config).__name__.removesuffix("Config").removesuffix("Text")
    with torch.device("meta"):
        try:
            return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        except ValueError:  # not every class is in the automatic table
            return getattr(transformers, f"{name}ForCausalLM")(config).to(torch.bfloat16)
