"""What a Hugging Face ``config.json`` says about a model's shape, key by key."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from svsim.errors import LatencyError, printable
from svsim.latency.gated_delta_net import GatedDeltaNet
from svsim.latency.head_shape import DFLASH_FEATURES, EAGLE3_FEATURES, HeadKind, HeadShape
from svsim.latency.latent_attention import LatentAttention
from svsim.latency.precision import BYTES_PER_VALUE, Dtype, KvDtype

# Keys of layers that are not described here.
UNSUPPORTED_KEYS = {
    "index_topk": "sparse attention",
    "intermediate_size_mlp": "Llama 4's mixture",
    "linear_attn_config": "Kimi delta attention",
    "mamba_d_state": "state-space layers",
    "mamba_num_heads": "state-space layers",
    "ssm_cfg": "state-space layers",
    "ssm_state_size": "state-space layers",
}
# Values of ``mamba_ssm_dtype``: bytes of one value of a recurrent state.
STATE_VALUE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
FULL_ATTENTION_INTERVAL = 4


class Experts(NamedTuple):
    """A mixture's shape; all 0 for a dense model (see ``ModelGeometry``)."""

    num_experts: int = 0
    num_experts_per_token: int = 0
    shared_intermediate_size: int = 0
    num_dense_layers: int = 0
    dense_intermediate_size: int = 0


def refuse_unsupported(config: Mapping[str, Any], where: str) -> None:
    """LatencyError if the model has layers that are not modelled."""
    for key, what in UNSUPPORTED_KEYS.items():
        if config.get(key):
            raise LatencyError(
                f"{where}: {key} means {what}, which is not modelled; measure its step times and give them "
                "with `latency=FILE`"
            )


def head_layers(config: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The configuration of a head's layers: speculators nest it, vLLM's EAGLE too."""
    for key in ("transformer_layer_config", "model"):
        nested = config.get(key)
        if nested is not None:
            if not isinstance(nested, Mapping):
                raise LatencyError(f"{where}: {key} = {printable(nested, 40)}; expected a JSON object")
            return nested
    return config


def head_shape(config: Mapping[str, Any], where: str, kind: HeadKind, hidden_size: int) -> HeadShape:
    """What a head reads of its target; the target's hidden size is the head's own if it is not told."""
    target_size = count(config, where, "target_hidden_size", default=hidden_size)
    if kind in (HeadKind.EAGLE, HeadKind.MTP):
        return HeadShape(kind, hidden_size + target_size)
    dflash = config.get("dflash_config")
    for place in (dflash if isinstance(dflash, Mapping) else {}, config):
        features = place.get("target_layer_ids", place.get("eagle_aux_hidden_state_layer_ids"))
        if isinstance(features, list) and features:
            num_features = len(features)
            break
    else:
        num_features = DFLASH_FEATURES if kind is HeadKind.DFLASH else EAGLE3_FEATURES
    return HeadShape(kind, num_features * target_size, 0 if kind is HeadKind.DFLASH else hidden_size)


def latent_attention(config: Mapping[str, Any], where: str) -> LatentAttention | None:
    """MLA, where the configuration has it."""
    if not config.get("kv_lora_rank"):
        return None
    return LatentAttention(
        query_rank=count(config, where, "q_lora_rank", default=0),
        kv_rank=count(config, where, "kv_lora_rank"),
        rope_size=count(config, where, "qk_rope_head_dim"),
        nope_size=count(config, where, "qk_nope_head_dim"),
        value_size=count(config, where, "v_head_dim"),
    )


def gated_delta_net(config: Mapping[str, Any], where: str) -> GatedDeltaNet | None:
    """The recurrent layers of a hybrid (Qwen3-Next, Qwen3.5), where the configuration has them.

    A state whose precision is not told has the model's 16 bits, as vLLM keeps it.
    """
    if not config.get("linear_num_key_heads"):
        return None
    dtype = config.get("mamba_ssm_dtype")
    if dtype is not None and dtype not in STATE_VALUE_BYTES:
        raise LatencyError(
            f"{where}: mamba_ssm_dtype = {printable(dtype, 40)}; expected one of "
            f"{', '.join(STATE_VALUE_BYTES)}"
        )
    return GatedDeltaNet(
        num_layers=_num_recurrent_layers(config, where),
        num_key_heads=count(config, where, "linear_num_key_heads"),
        num_value_heads=count(config, where, "linear_num_value_heads"),
        key_head_size=count(config, where, "linear_key_head_dim"),
        value_head_size=count(config, where, "linear_value_head_dim"),
        kernel_size=count(config, where, "linear_conv_kernel_dim"),
        state_value_bytes=BYTES_PER_VALUE if dtype is None else STATE_VALUE_BYTES[dtype],
    )


def _num_recurrent_layers(config: Mapping[str, Any], where: str) -> int:
    """Layers that ``layer_types`` calls linear_attention; without it, all but every 4th (or so)."""
    num_layers, kinds = count(config, where, "num_hidden_layers"), config.get("layer_types")
    if kinds is None:
        interval = count(config, where, "full_attention_interval", default=FULL_ATTENTION_INTERVAL)
        return num_layers - num_layers // interval
    known = ("full_attention", "linear_attention")
    if not isinstance(kinds, list) or len(kinds) != num_layers or any(kind not in known for kind in kinds):
        raise LatencyError(
            f"{where}: layer_types: expected {num_layers} names, each one of {', '.join(known)}"
        )
    return kinds.count("linear_attention")


def experts(config: Mapping[str, Any], where: str) -> Experts:
    """Routed and shared experts, and the layers without."""
    num_experts = count(config, where, "num_experts", "num_local_experts", "n_routed_experts", default=0)
    if not num_experts:
        return Experts()
    for key in ("moe_layer_freq", "decoder_sparse_step"):
        if config.get(key, 1) != 1:
            raise LatencyError(
                f"{where}: {key} = {printable(config[key], 20)} means dense layers between mixtures, "
                "which are not modelled; measure its step times and give them with `latency=FILE`"
            )
    shared = count(config, where, "n_shared_experts", default=0)
    dense = config.get("mlp_only_layers")
    num_dense = len(dense) if isinstance(dense, list) else _whole(config, where, "first_k_dense_replace")
    return Experts(
        num_experts,
        count(config, where, "num_experts_per_tok"),
        count(config, where, "shared_expert_intermediate_size", default=0)
        or shared * count(config, where, "moe_intermediate_size", default=0),
        num_dense,
        count(config, where, "intermediate_size") if num_dense else 0,
    )


def weight_dtype(config: Mapping[str, Any], where: str) -> Dtype:
    """From ``quantization_config``: FP8 weights (of fp8, fbgemm_fp8, compressed-tensors), or none."""
    quantization = config.get("quantization_config")
    if not isinstance(quantization, Mapping):
        return "bf16"
    method = quantization.get("quant_method")
    groups = quantization.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, Mapping) else None
    weights = first.get("weights") if isinstance(first, Mapping) else None
    is_fp8_group = isinstance(weights, Mapping) and (weights.get("type"), weights.get("num_bits")) == (
        "float",
        8,
    )
    if method in ("fp8", "fbgemm_fp8") or (method == "compressed-tensors" and is_fp8_group):
        return "fp8_block" if quantization.get("weight_block_size") else "fp8"
    raise LatencyError(
        f"{where}: quantization {printable(method, 40)} is not modelled (fp8 weights are); "
        "measure its step times, or leave quantization_config out for 16-bit weights"
    )


def kv_dtype(config: Mapping[str, Any]) -> KvDtype:
    """From ``quantization_config.kv_cache_scheme`` (compressed-tensors): FP8, or 16-bit."""
    quantization = config.get("quantization_config")
    scheme = quantization.get("kv_cache_scheme") if isinstance(quantization, Mapping) else None
    is_fp8 = isinstance(scheme, Mapping) and (scheme.get("type"), scheme.get("num_bits")) == ("float", 8)
    return "fp8" if is_fp8 else "bf16"


def count(config: Mapping[str, Any], where: str, *keys: str, default: int | None = None) -> int:
    """The first of ``keys`` present, a whole number >= 1."""
    for key in keys:
        if config.get(key) is not None:
            return _whole(config, where, key, least=1)
    if default is None:
        raise LatencyError(f"{where}: key {keys[0]} is missing; expected a Hugging Face config.json")
    return default


def _whole(config: Mapping[str, Any], where: str, key: str, least: int = 0) -> int:
    """A whole number >= ``least``; 0 where the key is missing."""
    value = config.get(key)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10**9:
        raise LatencyError(f"{where}: {key} = {printable(value, 40)}; expected a whole number >= {least}")
    return value
