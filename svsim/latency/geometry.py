"""Shapes of transformer models: what a pass has to read and multiply."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.errors import LatencyError, printable
from svsim.latency.gated_delta_net import GatedDeltaNet
from svsim.latency.head_shape import HeadKind, HeadShape, head_kind
from svsim.latency.latent_attention import LatentAttention
from svsim.latency.model_config import config_of, head_shape, model_shape
from svsim.latency.names import WrittenName, closest_names, same_shape, written_name
from svsim.latency.precision import BYTES_OF, BYTES_PER_VALUE, Dtype, KvDtype
from svsim.latency.recurrent_layers import RecurrentLayers
from svsim.latency.sliding_window import WindowedLayers

MODELS_SOURCE = "written by hand after config.json of each repository on huggingface.co"


@dataclass(frozen=True, slots=True)
class ModelGeometry:
    """A decoder-only transformer with grouped-query or latent attention, or a hybrid with recurrent layers.

    intermediate_size: of the MLP, or of one expert; num_experts 0 means a dense model.
    shared_intermediate_size: of the experts that every token passes, together; num_dense_layers: the
    layers of a mixture that have an MLP of dense_intermediate_size instead.
    latent: sizes of multi-head latent attention; num_kv_heads and head_size then play no part.
    weight_dtype: of the layers' matrices, and then of their inputs; embeddings, logits and all other
    activations stay 16-bit. kv_dtype: of the KV cache.
    attention_dtype, dense_dtype: of attention and recurrence, of shared experts and dense layers, where they
    differ from weight_dtype (gpt-oss).
    recurrent: the layers that have a recurrence instead of attention; has_output_gate: attention's
    output is multiplied with a projection of the same size.
    window: the attention layers that see the last tokens alone. value_head_size: of values, if it is not
    head_size; shares_key_value: values are the keys' projection.
    mlp_matrices: 3 with a gate (gate, up, down), 2 without. expert_input_size: of routed experts that work
    on a projection of the hidden vector; 0: on itself.
    num_mixer_only_layers, num_mlp_only_layers: without an MLP, without attention or recurrence (Nemotron-H).
    num_other_parameters: outside layers and vocabulary, in memory but not read by a pass (learned positions).
    head: of a drafting head (``head_shape.py``); its parameters are its own alone, so that embeddings and
    logits shared with the target count for nothing in memory.
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
    kv_dtype: KvDtype = "bf16"
    shared_intermediate_size: int = 0
    num_dense_layers: int = 0
    dense_intermediate_size: int = 0
    latent: LatentAttention | None = None
    recurrent: RecurrentLayers | None = None
    has_output_gate: bool = False
    head: HeadShape | None = None
    mlp_matrices: int = 3
    window: WindowedLayers | None = None
    value_head_size: int = 0
    shares_key_value: bool = False
    expert_input_size: int = 0
    num_mixer_only_layers: int = 0
    num_mlp_only_layers: int = 0
    num_other_parameters: int = 0
    attention_dtype: Dtype | None = None
    dense_dtype: Dtype | None = None

    @classmethod
    def from_config_file(cls, path: str | Path) -> "ModelGeometry":
        """Read a Hugging Face ``config.json`` (data only); the name is ``_name_or_path`` or the folder.

        Files that say a checkpoint's quantization are looked for beside it.
        """
        config, file = config_of(Path(path))
        return cls.from_config(config, file.resolve().parent.name, where=str(file))

    @classmethod
    def from_config(
        cls, config: object, name: str, where: str | None = None, head: HeadKind | None = None
    ) -> "ModelGeometry":
        """From a parsed ``config.json``; ``architectures`` lists the ones that are known.

        head: read it as this drafting head; None: as what the file says it is. LatencyError, one line, for
        what cannot be read.
        """
        where = name if where is None else where
        if not isinstance(config, Mapping):
            raise LatencyError(f"{where}: a model configuration must be a JSON object")
        kind = head or head_kind(config)
        shape = model_shape(config, where, is_head=kind is not None)
        known_as = printable(config.get("_name_or_path") or name, 80)
        made = head_shape(config, where, kind, shape["hidden_size"]) if kind else None
        return cls(name=known_as, head=made, **shape)

    @property
    def num_attention_layers(self) -> int:
        """Layers with attention, windowed or not, and so with a KV cache."""
        recurrent = self.recurrent.num_layers if self.recurrent else 0
        return self.num_layers - recurrent - self.num_mlp_only_layers

    @property
    def num_full_layers(self) -> int:
        """Layers whose attention sees all of the context."""
        return self.num_attention_layers - (self.window.num_layers if self.window else 0)

    @property
    def num_mixture_layers(self) -> int:
        """Layers with the regular MLP (of a mixture: with experts)."""
        return self.num_layers - self.num_dense_layers - self.num_mixer_only_layers

    @property
    def num_blocks(self) -> int:
        """Mixers and MLPs of all layers, each with its norm and its all-reduce."""
        return 2 * self.num_layers - self.num_mixer_only_layers - self.num_mlp_only_layers

    @property
    def windowed(self) -> "ModelGeometry":
        """The model with the windowed layers' heads in all attention layers; itself without a window."""
        if self.window is None:
            return self
        return replace(
            self,
            num_heads=self.window.num_heads or self.num_heads,
            num_kv_heads=self.window.num_kv_heads or self.num_kv_heads,
            head_size=self.window.head_size or self.head_size,
            value_head_size=self.window.value_head_size or self.value_head_size,
            shares_key_value=False,
            window=None,
        )

    @property
    def kv_head_values(self) -> int:
        """Values of one token's key and value of one head."""
        return self.head_size + (self.value_head_size or self.head_size)

    @property
    def query_width(self) -> int:
        """Values of one token's queries, and of their output gate where there is one."""
        return self.num_heads * self.head_size * (2 if self.has_output_gate else 1)

    @property
    def output_width(self) -> int:
        """Values that the output projection reads."""
        return self.num_heads * (self.value_head_size or self.head_size)

    @property
    def projected_kv_head_values(self) -> int:
        """Values that the key and value projections make per head."""
        return self.head_size if self.shares_key_value else self.kv_head_values

    @property
    def attention_weights_per_layer(self) -> int:
        """Weights of the query (and gate), key, value and output projections of a full attention layer."""
        if self.latent:
            heads = self.num_heads * self.latent.head_weights(self.hidden_size)
            return self.latent.shared_weights(self.hidden_size) + heads
        kv = self.num_kv_heads * self.projected_kv_head_values
        return self.hidden_size * (self.query_width + self.output_width + kv)

    @property
    def fusion_weights(self) -> int:
        """Weights of a head's fusion layer and of what its first layer reads beside; 0 for a model."""
        if self.head is None:
            return 0
        widened = self.query_width + 2 * self.num_kv_heads * self.head_size
        return self.head.fused_size * self.hidden_size + self.head.side_input_size * widened

    @property
    def mixer_weights(self) -> int:
        """Weights of all layers' attention or recurrence."""
        recurrent = self.recurrent
        weights = recurrent.num_layers * recurrent.weights_per_layer(self.hidden_size) if recurrent else 0
        weights += self.num_full_layers * self.attention_weights_per_layer
        if self.window:
            weights += self.window.num_layers * self.windowed.attention_weights_per_layer
        return weights

    @property
    def expert_weights(self) -> int:
        """Weights of one routed expert."""
        return self.mlp_matrices * (self.expert_input_size or self.hidden_size) * self.intermediate_size

    @property
    def mlp_weights_per_layer(self) -> int:
        """Weights of gate, up and down projections; in a mixture of all routed experts and the router."""
        if not self.num_experts:
            return self.mlp_weights(self.intermediate_size)
        projections = 2 * self.hidden_size * self.expert_input_size
        return self.num_experts * (self.expert_weights + self.hidden_size) + projections

    def mlp_weights(self, intermediate_size: int) -> int:
        """Weights of one MLP of that size."""
        return self.mlp_matrices * self.hidden_size * intermediate_size

    @property
    def num_parameters(self) -> int:
        """Weights without norms and biases (below 0.1 % of most models)."""
        if self.head:
            copies = 0 if self.head.kind.shares_logits else 1
        else:
            copies = 1 if self.has_tied_embeddings else 2
        vocabulary = copies * self.vocabulary_size * self.hidden_size
        return self.num_layer_parameters + self.fusion_weights + vocabulary + self.num_other_parameters

    @property
    def dense_weights(self) -> int:
        """Weights of all shared experts and of the MLPs in a mixture's dense layers."""
        shared = self.num_mixture_layers * self.mlp_weights(self.shared_intermediate_size)
        return shared + self.num_dense_layers * self.mlp_weights(self.dense_intermediate_size)

    @property
    def num_layer_parameters(self) -> int:
        """Weights of all layers: what ``weight_dtype`` is about."""
        return self.mixer_weights + self.num_mixture_layers * self.mlp_weights_per_layer + self.dense_weights

    @property
    def mixer_dtype(self) -> Dtype:
        """Precision of attention's and recurrence's matrices."""
        return self.attention_dtype or self.weight_dtype

    @property
    def dense_mlp_dtype(self) -> Dtype:
        """Precision of shared experts and dense layers' MLPs."""
        return self.dense_dtype or self.weight_dtype

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        outside = self.num_parameters - self.num_layer_parameters
        parts = {self.mixer_dtype: self.mixer_weights}
        for dtype, weights in (
            (self.dense_mlp_dtype, self.dense_weights),
            (self.weight_dtype, self.num_mixture_layers * self.mlp_weights_per_layer),
        ):
            parts[dtype] = parts.get(dtype, 0) + weights
        layers = sum(weights * BYTES_OF[dtype] for dtype, weights in parts.items())
        return round(layers) + outside * BYTES_PER_VALUE

    @property
    def kv_bytes_per_token(self) -> int:
        """KV-cache bytes of one token over all attention layers, all heads together; out of the window of
        windowed layers ``kv_bytes`` knows less."""
        return round(self._cached_values(1.0) * BYTES_OF[self.kv_dtype])

    def kv_bytes(self, context_tokens: float) -> float:
        """KV-cache bytes of one sequence: windowed layers keep their window."""
        return self._cached_values(context_tokens) * BYTES_OF[self.kv_dtype]

    def _cached_values(self, tokens: float) -> float:
        one = self.latent.cached_values if self.latent else self.num_kv_heads * self.kv_head_values
        values = self.num_full_layers * one * tokens
        if self.window:
            seen = min(tokens, self.window.window_tokens)
            if self.latent is None:
                one = self.windowed.num_kv_heads * self.windowed.kv_head_values
            values += self.window.num_layers * one * seen
        return values

    def expected_active_experts(self, num_tokens: ArrayLike) -> NDArray[np.float64]:
        """Distinct experts that ``num_tokens`` tokens choose in a layer, if all are equally likely."""
        miss = 1.0 - self.num_experts_per_token / self.num_experts
        return np.asarray(self.num_experts * (1.0 - miss ** np.asarray(num_tokens, np.float64)))


# Parts of a preset that are objects themselves: field, and what its key in the file makes of it.
_PARTS: Mapping[str, tuple[str, Callable[..., Any]]] = {
    "latent": ("latent", LatentAttention),
    "gated_delta_net": ("recurrent", GatedDeltaNet),
    "window": ("window", WindowedLayers),
}


@cache
def model_presets() -> Mapping[str, ModelGeometry]:
    """Known models by short name; ``model_geometry`` also finds them by repository name."""
    return {short_name: _preset(short_name) for short_name in _entries()}


@cache
def _entries() -> Mapping[str, Mapping[str, Any]]:
    text = resources.files("svsim.latency").joinpath("models.json").read_text("utf-8")
    entries: Mapping[str, Mapping[str, Any]] = json.loads(text)["models"]
    return entries


@cache
def _preset(short_name: str) -> ModelGeometry:
    """From keys of its config.json, or field by field."""
    entry = _entries()[short_name]
    repository = entry["repository"]
    if "config" in entry:
        return ModelGeometry.from_config(entry["config"], repository)
    fields = {key: value for key, value in entry.items() if key not in ("repository", "also", *_PARTS)}
    parts = {field: part(**entry[key]) for key, (field, part) in _PARTS.items() if key in entry}
    return ModelGeometry(name=repository, **fields, **parts)


@cache
def _names() -> Mapping[str, str]:
    """Short name of a preset by every name it goes by, exact ones before those of the same shape."""
    written: list[tuple[str, str]] = []
    for short_name, entry in _entries().items():
        for repository in (entry["repository"], *entry.get("also", ())):
            plain = written_name(repository).plain
            written += [(plain, short_name), (plain.rpartition("/")[2], short_name)]
        written.append((short_name, short_name))
    found: dict[str, str] = {}
    for name, short_name in [*written, *((same_shape(name), short_name) for name, short_name in written)]:
        found.setdefault(name, short_name)
    return found


def model_geometry(name: str) -> ModelGeometry:
    """A preset by short or repository name, else LatencyError with the closest.

    Endings of training, chat and date are ignored (``-Instruct``, ``-2507``); those of a quantized checkpoint
    (``-FP8``, ``-AWQ``, ``-quantized.w4a16`` ...) set the precision of its weights.
    """
    wanted, known = written_name(name), _names()
    for plain in (wanted.plain, wanted.plain.rpartition("/")[2]):
        short_name = known.get(plain) or known.get(same_shape(plain))
        if short_name:
            return _in_precision(_preset(short_name), wanted, name)
    near = closest_names(same_shape(wanted.plain.rpartition("/")[2]), _entries())
    raise LatencyError(f"no preset for model {printable(name, 80)}; {near} Or give its config.json")


def _in_precision(preset: ModelGeometry, wanted: WrittenName, name: str) -> ModelGeometry:
    if wanted.weights is None:
        return preset
    if wanted.weights == preset.weight_dtype:  # the checkpoint itself, whose other parts may keep 16 bits
        return replace(preset, name=printable(name, 80), kv_dtype=wanted.kv or preset.kv_dtype)
    return replace(
        preset,
        name=printable(name, 80),
        weight_dtype=wanted.weights,
        attention_dtype=None,
        dense_dtype=None,
        kv_dtype=wanted.kv or preset.kv_dtype,
    )


def find_model(text: str) -> ModelGeometry:
    """What a person writes for a model: a ``config.json``, its folder, or a name."""
    if Path(text).exists():
        return ModelGeometry.from_config_file(text)
    if text.endswith(".json") or text.startswith((".", "/", "~")):
        raise LatencyError(
            f"no file {printable(text, 80)}; expected a config.json, its folder, or a model's name"
        )
    return model_geometry(text)


def told_geometry(model: object, role: str) -> ModelGeometry | None:
    """Shape of a model as a trace's metadata tell it: its geometry, else its name; None without either.

    Raises LatencyError for a name or a shape that is not known.
    """
    if not isinstance(model, Mapping) or model.get("drafter", "model") != "model":
        return None
    name, geometry = str(model.get("name", role)), model.get("geometry")
    return ModelGeometry.from_config(geometry, name) if geometry else model_geometry(name)
