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

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.errors import LatencyError
from svsim.latency.geometry import BYTES_OF, ModelGeometry
from svsim.latency.hardware import GpuDataSheet, data_sheets
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
    """One model split over ``tensor_parallel`` GPUs. KV heads are replicated if there are too few."""

    geometry: ModelGeometry
    tensor_parallel: int

    def __post_init__(self) -> None:
        if self.geometry.num_heads % self.tensor_parallel:
            raise LatencyError(
                f"{self.geometry.name} has {self.geometry.num_heads} attention heads, which tp="
                f"{self.tensor_parallel} does not divide; choose a tensor_parallel that does"
            )
        kv_heads = self.geometry.num_kv_heads
        if kv_heads % self.tensor_parallel and self.tensor_parallel % kv_heads:
            raise LatencyError(
                f"{self.geometry.name} has {kv_heads} KV heads, which can be neither split over nor copied "
                f"to tp={self.tensor_parallel} GPUs alike; choose a divisor or a multiple of {kv_heads}"
            )

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
    def weight_bytes(self) -> float:
        """Weights on one GPU; replicated KV heads count on each."""
        shape = self.geometry
        replicated = self.num_kv_heads * self.tensor_parallel - shape.num_kv_heads
        extra = 2 * shape.num_layers * shape.hidden_size * shape.head_size * replicated
        return (shape.weight_bytes + extra * BYTES_OF[shape.weight_dtype]) / self.tensor_parallel

    @property
    def kv_bytes_per_token(self) -> int:
        """KV cache of one token over all layers, on one GPU."""
        shape = self.geometry
        return 2 * shape.num_layers * self.num_kv_heads * shape.head_size * BYTES_OF[shape.kv_dtype]


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


def check_precision(gpu: GpuDataSheet, models: Mapping[Role, ModelOnGpus]) -> None:
    """LatencyError if a model multiplies in FP8 and the GPU has no such matrix units."""
    for model in models.values():
        if model.geometry.weight_dtype == "fp8" and gpu.fp8_flop_per_s is None:
            able = ", ".join(name for name, sheet in data_sheets().items() if sheet.fp8_flop_per_s)
            raise LatencyError(
                f"{model.geometry.name} has fp8 weights, but {gpu.name} has no fp8 matrix units; "
                f"take the 16-bit model, or one of {able}"
            )


def models_on_gpus(
    target: ModelGeometry,
    draft: ModelGeometry | None,
    companion: ModelGeometry | None,
    tensor_parallel: int,
) -> dict[Role, ModelOnGpus]:
    """The target on ``tensor_parallel`` GPUs, draft and companion on one."""
    models = {Role.TARGET: ModelOnGpus(target, tensor_parallel)}
    if draft is not None:
        models[Role.DRAFT] = ModelOnGpus(draft, 1)
    if companion is not None:
        models[Role.COMPANION] = ModelOnGpus(companion, 1)
    return models
