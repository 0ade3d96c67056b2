"""What every modelled source of step times assumes about an engine (vLLM's ways and defaults).

- **CUDA graphs.** A pass of few tokens runs a captured graph and computes the graph's number of
  tokens, so it is priced at the padded number. Captured sizes are 1, 2, 4, then multiples of 8 up to
  256, then of 16 up to 512 (vLLM ``cudagraph_capture_sizes``); larger passes are not padded. Which
  sequences attention reads is not padded.
- **Logits.** The draft needs one row of logits per sequence; the target and the companion one per
  new token, at most 32 per sequence: longer runs of new tokens are prompts.
- **Vocabulary.** After the logits each model makes about six passes over a [rows, vocabulary] float32
  matrix, bound by memory: conversion from 16 bits (1.5), softmax (2), and the selection of a token
  from one matrix (draft: 3 with its noise), of accepted and recovered tokens from p and q with noise
  (target: 3), of S and A from q and c (companion: 2).
- **Host.** Scheduling and bookkeeping outside the GPU cost 1.2 ms per decoding step: the fit of
  vLLM on an H100 by "Speculative Decoding: Performance or Illusion?" (arXiv 2601.11580).
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.errors import LatencyError
from svsim.latency.geometry import ModelGeometry
from svsim.latency.hardware import GpuDataSheet, data_sheets
from svsim.latency.precision import BYTES_OF
from svsim.latency.shape import Role

Floats = NDArray[np.float64]

MAX_GRAPH_TOKENS = 512
MAX_LOGIT_ROWS_PER_SEQUENCE = 32
VOCABULARY_PASSES = 6.0
VOCABULARY_VALUE_BYTES = 4
# Share of the memory bandwidth that those passes reach.
VOCABULARY_MEMORY_EFFICIENCY = 0.78
HOST_OVERHEAD_PER_STEP_S = 1.2e-3


@dataclass(frozen=True, slots=True)
class ModelOnGpus:
    """One model split over ``tensor_parallel`` GPUs. KV heads are replicated if there are too few.

    num_replicas: copies of it all, each of which serves its slice of the batch.
    """

    geometry: ModelGeometry
    tensor_parallel: int
    num_replicas: int = 1

    def __post_init__(self) -> None:
        if self.geometry.num_attention_layers:
            self._check_heads(self.geometry)
        if self.geometry.window:
            self._check_heads(self.geometry.windowed)
        recurrent = self.geometry.recurrent
        if recurrent and recurrent.num_split_heads % self.tensor_parallel:
            raise LatencyError(
                f"{self.geometry.name} has {recurrent.num_split_heads} key heads in recurrent layers, which "
                f"tp={self.tensor_parallel} does not divide; choose a tensor_parallel that does"
            )

    def _check_heads(self, geometry: ModelGeometry) -> None:
        """LatencyError if the heads of an attention layer cannot be shared out."""
        if geometry.num_heads % self.tensor_parallel:
            raise LatencyError(
                f"{geometry.name} has {geometry.num_heads} attention heads, which tp="
                f"{self.tensor_parallel} does not divide; choose a tensor_parallel that does"
            )
        kv_heads = geometry.num_kv_heads
        is_shared = geometry.latent is not None or kv_heads % self.tensor_parallel == 0
        if not is_shared and self.tensor_parallel % kv_heads:
            raise LatencyError(
                f"{geometry.name} has {kv_heads} KV heads, which can be neither split over nor copied "
                f"to tp={self.tensor_parallel} GPUs alike; choose a divisor or a multiple of {kv_heads}"
            )

    @property
    def windowed(self) -> "ModelOnGpus":
        """With the windowed layers' heads in all attention layers."""
        return replace(self, geometry=self.geometry.windowed)

    @property
    def num_heads(self) -> int:
        """Query heads per GPU."""
        return self.geometry.num_heads // self.tensor_parallel

    @property
    def num_kv_heads(self) -> int:
        """KV heads per GPU."""
        return -(-self.geometry.num_kv_heads // self.tensor_parallel)

    @property
    def intermediate_size(self) -> int:
        """Of the MLP (or of one expert), per GPU."""
        return -(-self.geometry.intermediate_size // self.tensor_parallel)

    @property
    def shared_intermediate_size(self) -> int:
        """Of the experts that every token passes, per GPU."""
        return -(-self.geometry.shared_intermediate_size // self.tensor_parallel)

    @property
    def dense_intermediate_size(self) -> int:
        """Of the MLPs in a mixture's dense layers, per GPU."""
        return -(-self.geometry.dense_intermediate_size // self.tensor_parallel)

    @property
    def attention_weights_per_layer(self) -> float:
        """Weights of one attention layer's projections on one GPU; what cannot be split counts on each."""
        shape = self.geometry
        if shape.latent:
            heads = self.num_heads * shape.latent.head_weights(shape.hidden_size)
            return float(shape.latent.shared_weights(shape.hidden_size) + heads)
        split = (shape.query_width + shape.output_width) // self.tensor_parallel
        return float(shape.hidden_size * (split + shape.projected_kv_head_values * self.num_kv_heads))

    @property
    def recurrent_weights_per_layer(self) -> float:
        """Weights of one recurrent layer on one GPU; 0 without such layers."""
        recurrent = self.geometry.recurrent
        weights = recurrent.weights_per_layer(self.geometry.hidden_size) if recurrent else 0
        return weights / self.tensor_parallel

    @property
    def weight_bytes(self) -> float:
        """Weights on one GPU; replicated KV heads and latent projections count on each."""
        shape = self.geometry
        extra = shape.num_full_layers * self._replicated_weights
        if shape.window:
            extra += shape.window.num_layers * self.windowed._replicated_weights
        return shape.weight_bytes / self.tensor_parallel + extra * BYTES_OF[shape.mixer_dtype]

    @property
    def _replicated_weights(self) -> float:
        """What one attention layer's projections here exceed an equal share by."""
        return (
            self.attention_weights_per_layer
            - self.geometry.attention_weights_per_layer / self.tensor_parallel
        )

    @property
    def cached_values_per_layer(self) -> int:
        """Values per token in one layer's cache on one GPU; a latent cache is whole on each."""
        shape = self.geometry
        return shape.latent.cached_values if shape.latent else self.num_kv_heads * shape.kv_head_values

    @property
    def kv_bytes_per_token(self) -> int:
        """KV cache of one token over all attention layers, on one GPU; less out of a window."""
        return round(self.full_kv_bytes_per_token + self.window_kv_bytes_per_token)

    @property
    def full_kv_bytes_per_token(self) -> float:
        """The same of the layers that see all of the context."""
        shape = self.geometry
        return shape.num_full_layers * self.cached_values_per_layer * BYTES_OF[shape.kv_dtype]

    @property
    def window_kv_bytes_per_token(self) -> float:
        """The same of the windowed layers, of a token in the window."""
        window = self.geometry.window
        if window is None:
            return 0.0
        return window.num_layers * self.windowed.cached_values_per_layer * BYTES_OF[self.geometry.kv_dtype]

    def state_bytes_per_sequence(self, num_speculative_tokens: int) -> float:
        """Recurrent states of one sequence on one GPU, with those to go back to; 0 without any."""
        recurrent = self.geometry.recurrent
        return (
            recurrent.bytes_per_sequence(num_speculative_tokens) / self.tensor_parallel if recurrent else 0.0
        )


def graph_padded(tokens: ArrayLike) -> Floats:
    """Tokens computed by the captured graph that runs a pass of ``tokens`` >= 0 tokens."""
    tokens = np.ceil(np.asarray(tokens, np.float64))
    small = np.select([tokens <= 1, tokens <= 2, tokens <= 4], [tokens, 2.0, 4.0], 8.0 * np.ceil(tokens / 8))
    padded = np.where(tokens <= 256, small, 16.0 * np.ceil(tokens / 16))
    return np.asarray(np.where(tokens <= MAX_GRAPH_TOKENS, padded, tokens))


def logit_rows(role: Role, sequences: Floats, tokens: Floats) -> Floats:
    """Rows of logits that a pass computes, before graph padding."""
    if role is Role.DRAFT:
        return sequences
    return np.minimum(tokens, MAX_LOGIT_ROWS_PER_SEQUENCE * sequences)


def row_rule(role: Role, model: ModelOnGpus) -> Role:
    """Whose rule of ``logit_rows`` holds: a head that drafts in one pass needs a row per new token."""
    head = model.geometry.head
    return Role.COMPANION if head and head.kind.is_one_pass else role


def max_free_queries(model: ModelOnGpus) -> int:
    """New tokens per sequence whose attention takes as long as reading the cache: all but a prompt's.

    The heads of latent attention share one cache and are many, so that their arithmetic shows at once; a
    recurrent layer writes a state for every token.
    """
    is_free = model.geometry.latent is None and model.geometry.recurrent is None
    return MAX_LOGIT_ROWS_PER_SEQUENCE if is_free else 1


def check_precision(gpu: GpuDataSheet, models: Mapping[Role, ModelOnGpus]) -> None:
    """LatencyError if the GPU has no matrix units for a model's weights; names the closest that works."""
    for model in models.values():
        shape = model.geometry
        dtypes = (shape.weight_dtype, shape.mixer_dtype, shape.dense_mlp_dtype)
        dtype = next((known for known in dtypes if gpu.flop_per_s(known) is None), shape.weight_dtype)
        if gpu.flop_per_s(dtype) is None:
            here = [known for known in BYTES_OF if gpu.flop_per_s(known) is not None]
            able = [sheet for sheet in data_sheets().values() if sheet.flop_per_s(dtype) is not None]
            closest = min(able, key=lambda sheet: _distance(gpu, sheet))
            raise LatencyError(
                f"{model.geometry.name} has {dtype} weights, but {gpu.name} has no {dtype} matrix units; "
                f"it has {', '.join(here)} (quant=...), and the closest GPU with {dtype} is {closest.name}"
            )


def _distance(one: GpuDataSheet, other: GpuDataSheet) -> float:
    """How unlike two GPUs are: factors between memories and bandwidths, in logs."""
    return abs(math.log(one.memory_bytes / other.memory_bytes)) + abs(
        math.log(one.memory_bytes_per_s / other.memory_bytes_per_s)
    )


def models_on_gpus(
    target: ModelGeometry,
    draft: ModelGeometry | None,
    companion: ModelGeometry | None,
    tensor_parallel: int,
    sharded: Collection[Role] = (),
) -> dict[Role, ModelOnGpus]:
    """The target and the roles ``sharded`` on ``tensor_parallel`` GPUs, the others on one."""
    models = {Role.TARGET: ModelOnGpus(target, tensor_parallel)}
    for role, geometry in ((Role.DRAFT, draft), (Role.COMPANION, companion)):
        if geometry is not None:
            models[role] = ModelOnGpus(geometry, tensor_parallel if role in sharded else 1)
    return models
