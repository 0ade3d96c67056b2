"""Shapes of transformer models: what a pass has to read and multiply."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.errors import LatencyError, printable
from svsim.latency.json_file import read_json_object
from svsim.latency.names import closest_names

Dtype = Literal["bf16", "fp8"]  # bf16 stands for float16 too
BYTES_OF: Mapping[Dtype, int] = {"bf16": 2, "fp8": 1}
BYTES_PER_VALUE = BYTES_OF["bf16"]
MODELS_SOURCE = "config.json of each repository on huggingface.co, read 2025"
# config.json keys of layers this module does not describe
UNSUPPORTED_KEYS = {
    "kv_lora_rank": "multi-head latent attention",
    "n_shared_experts": "shared experts",
    "shared_expert_intermediate_size": "shared experts",
    "linear_num_key_heads": "linear attention",
    "mamba_d_state": "state-space layers",
    "ssm_cfg": "state-space layers",
}


@dataclass(frozen=True, slots=True)
class ModelGeometry:
    """A decoder-only transformer with (grouped-query) attention and gated MLPs.

    intermediate_size: of the MLP, or of one expert; num_experts 0 means a dense model.
    weight_dtype: of the layers' matrices, and then of their inputs (w8a8); embeddings, logits and all
    other activations stay 16-bit. kv_dtype: of the KV cache.
    """

    name: str
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    intermediate_size: int
    vocabulary_size: int
    has_tied_embeddings: bool = False
    num_experts: int = 0
    num_experts_per_token: int = 0
    weight_dtype: Dtype = "bf16"
    kv_dtype: Dtype = "bf16"

    @classmethod
    def from_config_file(cls, path: str | Path) -> "ModelGeometry":
        """Read a Hugging Face ``config.json`` (data only); the name is ``_name_or_path`` or the folder."""
        path = Path(path)
        path = path / "config.json" if path.is_dir() else path
        config = read_json_object(path, "a Hugging Face config.json")
        return cls.from_config(config, path.resolve().parent.name, where=str(path))

    @classmethod
    def from_config(cls, config: object, name: str, where: str | None = None) -> "ModelGeometry":
        """From the parsed ``config.json`` of any Llama-like model (Llama, Qwen, Mistral, Mixtral ...).

        Sliding windows are taken as full attention: an upper bound.
        """
        where = name if where is None else where
        if not isinstance(config, Mapping):
            raise LatencyError(f"{where}: a model configuration must be a JSON object")
        nested = config.get("text_config")
        text = nested if isinstance(nested, Mapping) else config
        for key, what in UNSUPPORTED_KEYS.items():
            if text.get(key):
                raise LatencyError(
                    f"{where}: {key} means {what}, which is not modelled; measure its step times"
                )
        num_heads = _count(text, where, "num_attention_heads")
        hidden_size = _count(text, where, "hidden_size")
        num_experts = _count(text, where, "num_experts", "num_local_experts", default=0)
        is_mixture = num_experts > 0
        mlp_keys = ("moe_intermediate_size", "intermediate_size") if is_mixture else ("intermediate_size",)
        return cls(
            name=printable(config.get("_name_or_path") or name, 80),
            num_layers=_count(text, where, "num_hidden_layers"),
            hidden_size=hidden_size,
            num_heads=num_heads,
            num_kv_heads=_count(text, where, "num_key_value_heads", default=num_heads),
            head_size=_count(text, where, "head_dim", default=hidden_size // num_heads),
            intermediate_size=_count(text, where, *mlp_keys),
            vocabulary_size=_count(text, where, "vocab_size"),
            has_tied_embeddings=bool(
                text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))
            ),
            num_experts=num_experts,
            num_experts_per_token=_count(text, where, "num_experts_per_tok") if is_mixture else 0,
            weight_dtype=_weight_dtype(config, where),
            kv_dtype=_kv_dtype(config),
        )

    @property
    def attention_weights_per_layer(self) -> int:
        """Weights of the query, key, value and output projections."""
        return self.hidden_size * self.head_size * 2 * (self.num_heads + self.num_kv_heads)

    @property
    def mlp_weights_per_layer(self) -> int:
        """Weights of gate, up and down projections; over all experts, with the router, in a mixture."""
        one = 3 * self.hidden_size * self.intermediate_size
        return one * self.num_experts + self.hidden_size * self.num_experts if self.num_experts else one

    @property
    def num_parameters(self) -> int:
        """Weights without norms and biases (below 0.1 % of a model)."""
        embeddings = self.vocabulary_size * self.hidden_size * (1 if self.has_tied_embeddings else 2)
        return self.num_layer_parameters + embeddings

    @property
    def num_layer_parameters(self) -> int:
        """Weights of all layers: what ``weight_dtype`` is about."""
        return self.num_layers * (self.attention_weights_per_layer + self.mlp_weights_per_layer)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        outside = self.num_parameters - self.num_layer_parameters
        return self.num_layer_parameters * BYTES_OF[self.weight_dtype] + outside * BYTES_PER_VALUE

    @property
    def kv_bytes_per_token(self) -> int:
        """KV-cache bytes of one token over all layers, on all GPUs together."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_size * BYTES_OF[self.kv_dtype]

    def expected_active_experts(self, num_tokens: ArrayLike) -> NDArray[np.float64]:
        """Distinct experts that ``num_tokens`` tokens choose in a layer, if all are equally likely."""
        miss = 1.0 - self.num_experts_per_token / self.num_experts
        return np.asarray(self.num_experts * (1.0 - miss ** np.asarray(num_tokens, np.float64)))


@cache
def model_presets() -> Mapping[str, ModelGeometry]:
    """Known models by short name; ``model_geometry`` also finds them by repository name."""
    data = json.loads(resources.files("svsim.latency").joinpath("models.json").read_text("utf-8"))
    presets = {}
    for short_name, entry in data["models"].items():
        fields = {key: value for key, value in entry.items() if key != "repository"}
        presets[short_name] = ModelGeometry(name=entry["repository"], **fields)
    return presets


def model_geometry(name: str) -> ModelGeometry:
    """A preset by short or repository name (an ``-Instruct`` ending is ignored), else LatencyError."""
    presets = model_presets()
    wanted = _plain(name)
    for short_name, preset in presets.items():
        if wanted in {_plain(short_name), _plain(preset.name), _plain(preset.name).split("/")[-1]}:
            return preset
    raise LatencyError(
        f"no preset for model {printable(name, 80)}; {closest_names(wanted, presets)} Or give its config.json"
    )


def _weight_dtype(config: Mapping[str, Any], where: str) -> Dtype:
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
        return "fp8"
    raise LatencyError(
        f"{where}: quantization {printable(method, 40)} is not modelled (fp8 weights are); "
        "measure its step times, or leave quantization_config out for 16-bit weights"
    )


def _kv_dtype(config: Mapping[str, Any]) -> Dtype:
    """From ``quantization_config.kv_cache_scheme`` (compressed-tensors): FP8, or 16-bit."""
    quantization = config.get("quantization_config")
    scheme = quantization.get("kv_cache_scheme") if isinstance(quantization, Mapping) else None
    is_fp8 = isinstance(scheme, Mapping) and (scheme.get("type"), scheme.get("num_bits")) == ("float", 8)
    return "fp8" if is_fp8 else "bf16"


def _plain(name: str) -> str:
    plain = name.strip().lower().replace("meta-llama-", "llama-")
    for ending in ("-instruct", "-chat", "-chat-hf", "-hf"):
        plain = plain.removesuffix(ending)
    return plain


def _count(config: Mapping[str, Any], where: str, *keys: str, default: int | None = None) -> int:
    """The first of ``keys`` present, a whole number >= 1."""
    for key in keys:
        value = config.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**9:
            raise LatencyError(f"{where}: {key} = {printable(value, 40)}; expected a whole number >= 1")
        return value
    if default is None:
        raise LatencyError(f"{where}: key {keys[0]} is missing; expected a Hugging Face config.json")
    return default
