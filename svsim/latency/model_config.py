"""A model's shape from its Hugging Face ``config.json``: the registry's rules, then the file's keys.

The text model of a multimodal configuration is read alone (``text_config`` and its like). A file without a
model_type is read by its keys as a Llama-like model; one whose keys mean layers that are not described here
is refused by name.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from svsim.errors import LatencyError, printable
from svsim.latency.architectures import Architecture, architecture, architectures
from svsim.latency.config_keys import ConfigKeys
from svsim.latency.head_shape import DFLASH_FEATURES, EAGLE3_FEATURES, HeadKind, HeadShape
from svsim.latency.layer_kinds import Mixer, Mlp, layer_words, mixers, mlps
from svsim.latency.layer_readers import latent_attention, recurrent_layers
from svsim.latency.precision import Dtype
from svsim.latency.quantization import SIDECARS, Layout, Precision, precision, with_sidecar
from svsim.latency.sliding_window import WindowedLayers
from svsim.latency.special_shapes import SPECIAL
from svsim.reading import json_object

TEXT_KEYS = ("text_config", "llm_config", "language_config", "thinker_config")
# Multimodal configurations whose nested part need not name its own model_type.
WRAPPERS = {
    "gemma3": "gemma3_text", "gemma4": "gemma4_text", "llama4": "llama4_text", "mistral3": "mistral",
    "kimi_k25": "deepseek_v3", "kimi_vl": "deepseek_v3", "qwen2_vl": "qwen2", "qwen2_5_vl": "qwen2",
    "qwen3_vl": "qwen3", "qwen3_vl_moe": "qwen3_moe", "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text", "glm4v": "glm4", "glm4v_moe": "glm4_moe", "llava": "llama",
    "llava_next": "llama", "pixtral": "mistral",
}  # fmt: skip
# Keys of layers that are not described here.
UNSUPPORTED_KEYS = {
    "index_topk": "sparse attention",
    "linear_attn_config": "Kimi delta attention",
    "ssm_cfg": "state-space layers",
    "cross_attention_layers": "cross attention",
    "altup_num_inputs": "Gemma 3n's alternating updates",
    "compress_rates": "compressed attention",
}
# The same, but of architectures whose recurrent layers are of such a kind.
RECURRENT_KEYS = {
    "mamba_d_state": ("state-space layers", ("mamba", "mamba2")),
    "mamba_num_heads": ("state-space layers", ("mamba2",)),
    "ssm_state_size": ("state-space layers", ("mamba2",)),
    "hybrid_override_pattern": ("a hybrid's layers", ("mamba2",)),
    "conv_L_cache": ("short convolutions", ("short_convolution",)),
}
# Of a head, names of its own that say nothing about its layers.
HEAD_TYPES = ("eagle", "eagle3", "mtp", "nextn", "dflash", "peagle", "speculators", "speculator")


def text_model(config: Mapping[str, Any], where: str) -> tuple[Mapping[str, Any], bool]:
    """The text model's own configuration, and whether it is nested in a multimodal one."""
    for key in TEXT_KEYS:
        nested = config.get(key)
        if isinstance(nested, Mapping):
            inner, _ = text_model(nested, where)
            said = inner.get("model_type") or WRAPPERS.get(str(config.get("model_type")))
            return ({**inner, "model_type": said} if said else inner), True
    return config, False


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
    keys = ConfigKeys(config, where, {}, {})
    target_size = keys.count("target_hidden_size", default=hidden_size)
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


def config_of(path: Path) -> tuple[Mapping[str, Any], Path]:
    """A parsed ``config.json`` (the file or its folder), with the quantization that files beside it tell."""
    file = path / "config.json" if os.path.isdir(path) else path
    what = "a Hugging Face config.json"
    config = json_object(file, what, LatencyError, strict=False)
    beside = [file.with_name(name) for name in SIDECARS]
    told = [json_object(other, what, LatencyError, strict=False) for other in beside if os.path.isfile(other)]
    return with_sidecar(config, told), file


def model_shape(config: Mapping[str, Any], where: str, *, is_head: bool = False) -> dict[str, Any]:
    """Fields of ``ModelGeometry`` (but name and head) from a parsed ``config.json``.

    LatencyError, one line: a key that is missing, impossible or contradicts another; an architecture or a
    quantization that is not known.
    """
    text, is_nested = (head_layers(config, where), False) if is_head else text_model(config, where)
    _refuse(ConfigKeys(text, where, {}, {}), UNSUPPORTED_KEYS)
    rule = _rule(text, where, is_head)
    keys = ConfigKeys(text, where, rule.defaults, rule.keys)
    _refuse_unsupported(keys, rule)
    if not is_nested:
        for name in ("hidden_size", "num_hidden_layers"):
            if not keys.said(name) and not (name == "num_hidden_layers" and _listed_layers(keys)):
                keys.fail(f"key {name} is missing; expected a Hugging Face config.json")
    shape = _sizes(keys, rule)
    shape |= _feed_forward(keys, rule, shape["num_layers"])
    shape |= _mixers(keys, rule, shape["num_layers"])
    shape["has_tied_embeddings"] = _is_tied(config, keys)
    if is_head and config.get("draft_vocab_size") is not None:
        shape["vocabulary_size"] = ConfigKeys(config, where, {}, {}).count("draft_vocab_size")
    if rule.model_type in SPECIAL:
        SPECIAL[rule.model_type](keys, shape)
    layout = Layout(shape["num_layers"], bool(shape["num_experts"]))
    return shape | _precision(precision((config, text), layout, where), shape)


def _precision(found: Precision, shape: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a precision; dense MLPs count where a mixture has any."""
    has_dense = shape["shared_intermediate_size"] or shape["num_dense_layers"]
    dense: Dtype | None = found.dense_dtype if has_dense else None
    return found._asdict() | {"dense_dtype": dense}


def _rule(text: Mapping[str, Any], where: str, is_head: bool) -> Architecture:
    """The architecture of a configuration; of one without model_type, by its keys."""
    said = text.get("model_type")
    is_known = isinstance(said, str) and said in architectures() and said not in HEAD_TYPES
    if is_head and not is_known:
        said = None
    if said is not None:
        return architecture(said, where)
    if text.get("linear_num_key_heads"):
        return replace(architecture("qwen3_next", where), model_type="", defaults={})
    return Architecture(refused={"intermediate_size_mlp": "Llama 4's mixture"})


def _refuse_unsupported(keys: ConfigKeys, rule: Architecture) -> None:
    """LatencyError for keys of layers that the architecture is not known to have."""
    foreign = {key: what for key, (what, kinds) in RECURRENT_KEYS.items() if rule.recurrent not in kinds}
    _refuse(keys, {**foreign, **rule.refused})


def _refuse(keys: ConfigKeys, unsupported: Mapping[str, str]) -> None:
    for key, what in unsupported.items():
        if keys.get(key):
            keys.fail(
                f"{key} means {what}, which is not modelled; measure its step times and give them with "
                "`latency=FILE`"
            )


def _listed_layers(keys: ConfigKeys) -> int:
    """Layers of a list of kinds; 0 without one."""
    listed = keys.get("layer_types") or keys.get("hybrid_override_pattern")
    return len(listed) if isinstance(listed, list | str) else 0


def _sizes(keys: ConfigKeys, rule: Architecture) -> dict[str, Any]:
    """Widths, heads, vocabulary."""
    hidden = keys.count("hidden_size")
    num_heads = 0 if rule.mixer_only else keys.count("num_attention_heads")
    positions = 0
    if rule.positions:
        name, more = rule.positions
        positions = (keys.count(name) + more) * hidden
    return {
        "num_layers": keys.count("num_hidden_layers", default=_listed_layers(keys) or None),
        "hidden_size": hidden,
        "num_heads": num_heads,
        "num_kv_heads": keys.count("num_key_value_heads", default=num_heads),
        "head_size": keys.count("head_dim", default=hidden // num_heads) if num_heads else 0,
        "vocabulary_size": keys.count("vocab_size"),
        "latent": latent_attention(keys),
        "has_output_gate": keys.flag("attn_output_gate", rule.output_gate),
        "mlp_matrices": rule.mlp_matrices,
        "num_other_parameters": positions,
    }


def _feed_forward(keys: ConfigKeys, rule: Architecture, num_layers: int) -> dict[str, Any]:
    """MLPs and mixtures, and which layers have them."""
    shape = dict.fromkeys(
        ("num_experts", "num_experts_per_token", "shared_intermediate_size", "num_dense_layers",
         "dense_intermediate_size", "num_mixer_only_layers"), 0,
    )  # fmt: skip
    dense_size = keys.count(
        "intermediate_size", least=0, default=rule.mlp_per_hidden * keys.count("hidden_size")
    )
    num_experts = keys.optional("num_experts")
    if rule.mixer_only:
        return shape | {"intermediate_size": 0, "num_mixer_only_layers": num_layers}
    words = layer_words(keys, num_layers)
    kinds = mlps(keys, num_layers) if num_experts else [Mlp.DENSE] * num_layers
    if not num_experts and words is not None and any(word in ("mlp", "-") for word in words):
        kinds = mlps(keys, num_layers)
    num_mixtures, num_dense = kinds.count(Mlp.MIXTURE), kinds.count(Mlp.DENSE)
    shape["num_mixer_only_layers"] = kinds.count(Mlp.NONE)
    if not num_experts or not num_mixtures:
        return shape | {"intermediate_size": _needed(keys, dense_size)}
    expert_size = keys.count("moe_intermediate_size", default=dense_size or None)
    shared = keys.get("shared_intermediate_size")
    shared_size = keys.optional("num_shared_experts") * expert_size
    return shape | {
        "num_experts": num_experts,
        "num_experts_per_token": keys.count("num_experts_per_tok"),
        "intermediate_size": expert_size,
        "shared_intermediate_size": shared_size
        if shared is None
        else keys.optional("shared_intermediate_size"),
        "num_dense_layers": num_dense,
        "dense_intermediate_size": _needed(keys, dense_size) if num_dense else 0,
    }


def _needed(keys: ConfigKeys, size: int) -> int:
    if not size:
        keys.fail("key intermediate_size is missing; expected a Hugging Face config.json")
    return size


def _mixers(keys: ConfigKeys, rule: Architecture, num_layers: int) -> dict[str, Any]:
    """Windowed and recurrent layers, and those without either."""
    kinds = mixers(keys, rule, num_layers)
    num_windowed = kinds.count(Mixer.WINDOW)
    tokens = keys.optional(rule.window_key)
    if rule.window_switch and not keys.flag(rule.window_switch):
        tokens = 0
    elif num_windowed and not tokens and keys.said("layer_types"):
        keys.fail(f"contradicting keys: layer_types has windowed layers, but {rule.window_key} is missing")
    return {
        "window": WindowedLayers(num_windowed, tokens) if num_windowed and tokens else None,
        "recurrent": recurrent_layers(keys, rule.recurrent, kinds.count(Mixer.RECURRENT)),
        "num_mlp_only_layers": kinds.count(Mixer.NONE),
    }


def _is_tied(config: Mapping[str, Any], keys: ConfigKeys) -> bool:
    """Whether embeddings and logits are one matrix: the text model's word, else the outer one's, else the
    class's."""
    outer = ConfigKeys(config, keys.where, {}, {})
    for place in (keys, outer):
        if place.said("tie_word_embeddings"):
            return place.flag("tie_word_embeddings")
    return keys.flag("tie_word_embeddings")
