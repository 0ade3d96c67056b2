"""What a few architectures do unlike all others, as changes of the shape that was read by the common rules.

Each function says what its architecture's own code does (transformers' modeling files).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from svsim.latency.config_keys import ConfigKeys
from svsim.latency.sliding_window import WindowedLayers

Shape = dict[str, Any]


def _falcon(keys: ConfigKeys, shape: Shape) -> None:
    """One KV head (multi-query), unless the new decoder says how many."""
    if keys.flag("new_decoder_architecture") or not keys.flag("multi_query", True):
        return
    shape["num_kv_heads"] = 1


def _gpt_bigcode(keys: ConfigKeys, shape: Shape) -> None:
    """Multi-query by default."""
    shape["num_kv_heads"] = 1 if keys.flag("multi_query", True) else shape["num_heads"]


def _opt(keys: ConfigKeys, shape: Shape) -> None:
    """Embeddings of another width than the layers (OPT-350M) are not modelled."""
    width = keys.count("word_embed_proj_dim", default=shape["hidden_size"])
    if width != shape["hidden_size"]:
        keys.fail(f"word_embed_proj_dim = {width} is not hidden_size = {shape['hidden_size']}: not modelled")


def _mpt(keys: ConfigKeys, shape: Shape) -> None:
    """The MLP's size is a ratio."""
    if keys.get("expansion_ratio") is not None:
        shape["intermediate_size"] = keys.count("expansion_ratio") * shape["hidden_size"]


def _lfm2(keys: ConfigKeys, shape: Shape) -> None:
    """Two thirds of the size told, times a factor, in whole blocks."""
    if not keys.flag("block_auto_adjust_ff_dim", True):
        return
    size = int(2 * keys.count("intermediate_size") / 3)
    factor = keys.get("block_ffn_dim_multiplier")
    size = int((1.0 if factor is None else float(factor)) * size)
    block = keys.count("block_multiple_of", default=256)
    shape["intermediate_size"] = -(-size // block) * block


def _llama4(keys: ConfigKeys, shape: Shape) -> None:
    """One shared expert of an expert's size; dense layers have a size of their own."""
    shape["shared_intermediate_size"] = shape["intermediate_size"]
    if shape["num_dense_layers"]:
        shape["dense_intermediate_size"] = keys.count("intermediate_size_mlp")


def _shared_mlp(keys: ConfigKeys, shape: Shape) -> None:
    """Hunyuan: beside the experts an MLP of their size, once per shared expert."""
    shape["shared_intermediate_size"] = keys.count("intermediate_size")


def _granite_hybrid(keys: ConfigKeys, shape: Shape) -> None:
    """Without experts the shared MLP is the only one."""
    if not shape["num_experts"]:
        shape["intermediate_size"] = keys.count("shared_intermediate_size")
        shape["shared_intermediate_size"] = 0


def _nemotron_h(keys: ConfigKeys, shape: Shape) -> None:
    """Experts may work on a projection of the hidden vector."""
    shape["expert_input_size"] = keys.optional("moe_latent_size") if shape["num_experts"] else 0


def _mimo_v2(keys: ConfigKeys, shape: Shape) -> None:
    """Windowed layers have heads of their own; values are smaller than keys."""
    shape["value_head_size"] = keys.count("v_head_dim", default=shape["head_size"])
    window: WindowedLayers | None = shape["window"]
    if window is None:
        return
    tokens = window.window_tokens
    if keys.get("sliding_window_size") is not None:
        tokens = keys.count("sliding_window_size") + 1
    shape["window"] = replace(
        window,
        window_tokens=tokens,
        num_heads=keys.optional("swa_num_attention_heads"),
        num_kv_heads=keys.count("swa_num_key_value_heads", default=2 * shape["num_kv_heads"]),
        head_size=keys.optional("swa_head_dim"),
        value_head_size=keys.optional("swa_v_head_dim"),
    )


def _gemma4(keys: ConfigKeys, shape: Shape) -> None:
    """Full layers have larger, fewer KV heads, whose values may be their keys; an embedding per layer.

    A mixture's experts stand beside the dense MLP, which every token passes.
    """
    if keys.optional("num_kv_shared_layers") or keys.flag("use_double_wide_mlp"):
        keys.fail("num_kv_shared_layers: layers that share another's KV cache are not modelled")
    full_size, full_kv = _gemma4_full_heads(keys)
    window: WindowedLayers | None = shape["window"]
    if window is not None:
        shape["window"] = replace(window, num_kv_heads=shape["num_kv_heads"], head_size=shape["head_size"])
    shape["head_size"] = full_size
    shape["shares_key_value"] = keys.flag("attention_k_eq_v")
    shape["num_kv_heads"] = full_kv or shape["num_kv_heads"]
    width, layers = keys.optional("hidden_size_per_layer_input"), shape["num_layers"]
    rows = keys.optional("vocab_size_per_layer_input")
    per_layer = (
        rows * width * layers
        + shape["hidden_size"] * width * layers
        + 2 * width * shape["hidden_size"] * layers
    )
    shape["num_other_parameters"] += per_layer
    if shape["num_experts"] and keys.flag("enable_moe_block"):
        shape["shared_intermediate_size"] = keys.count("intermediate_size")
    elif shape["num_experts"]:
        shape |= {
            "num_experts": 0,
            "num_experts_per_token": 0,
            "intermediate_size": keys.count("intermediate_size"),
        }


def _gemma4_full_heads(keys: ConfigKeys) -> tuple[int, int]:
    """Head size and KV heads of full layers: from keys of their own, or the list of exceptions."""
    listed = keys.get("per_layer_config")
    first = next(iter(listed.values()), None) if isinstance(listed, Mapping) else None
    if isinstance(first, Mapping):
        own = ConfigKeys(first, f"{keys.where}: per_layer_config", {}, {})
        return own.count("head_dim", default=keys.count("head_dim")), own.optional("num_key_value_heads")
    kv_heads = keys.optional("num_global_key_value_heads") if keys.flag("attention_k_eq_v") else 0
    return keys.count("global_head_dim", default=512), kv_heads


SPECIAL: Mapping[str, Callable[[ConfigKeys, Shape], None]] = {
    "falcon": _falcon,
    "gpt_bigcode": _gpt_bigcode,
    "opt": _opt,
    "mpt": _mpt,
    "lfm2": _lfm2,
    "llama4_text": _llama4,
    "hunyuan_v1_moe": _shared_mlp,
    "granitemoehybrid": _granite_hybrid,
    "nemotron_h": _nemotron_h,
    "mimo_v2_flash": _mimo_v2,
    "gemma4_text": _gemma4,
}
