"""A decoder of any geometry with random weights, built to be timed.

Attention reads the KV cache of each sequence once: the query heads that share a KV head, and the new
tokens of a sequence, are folded into one block of queries, and one fused kernel runs over keys and
values (flash attention on a GPU). New tokens of a sequence see each other without a causal mask: at
most K + 1 of the columns, the same bytes and arithmetic up to rounding. Prompts are causal.

Not here: quantized weights, the all-reduce of tensor parallelism.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from svsim.calibration.feed_forward import DenseMlp, FeedForward, Mixture, require_grouped_products
from svsim.calibration.fused_ops import fused_ops
from svsim.calibration.pass_layout import PassLayout
from svsim.errors import InputError
from svsim.latency.geometry import ModelGeometry

WEIGHT_SCALE = 0.02


def shard(geometry: ModelGeometry, tensor_parallel: int) -> ModelGeometry:
    """What one of ``tensor_parallel`` GPUs computes: its heads, its part of the vocabulary and of the MLP
    (of every expert, in a mixture)."""
    is_hybrid = (
        geometry.recurrent or geometry.has_output_gate or geometry.num_blocks < 2 * geometry.num_layers
    )
    is_unlike = geometry.latent or geometry.window or geometry.value_head_size or geometry.mlp_matrices != 3
    if is_unlike or is_hybrid or geometry.shared_intermediate_size or geometry.num_dense_layers:
        raise InputError(
            f"{geometry.name}: latent attention, windows, MLPs without gate, shared experts and dense layers "
            "of a mixture, recurrent layers and output gates cannot be timed; price it with `latency` "
            "database or roofline"
        )
    for dtype, what in ((geometry.weight_dtype, "weights"), (geometry.kv_dtype, "KV cache")):
        if dtype != "bf16":
            raise InputError(
                f"{geometry.name}: {dtype} {what} cannot be timed; leave quantization_config out of its "
                "config.json to time 16 bits, or price it with `latency=database`"
            )
    if geometry.num_heads % tensor_parallel or geometry.intermediate_size % tensor_parallel:
        raise InputError(
            f"{geometry.name}: {geometry.num_heads} heads and an MLP of {geometry.intermediate_size} "
            f"cannot be cut into {tensor_parallel} equal shards; choose another degree"
        )
    return replace(
        geometry,
        num_heads=geometry.num_heads // tensor_parallel,
        num_kv_heads=-(-geometry.num_kv_heads // tensor_parallel),
        intermediate_size=geometry.intermediate_size // tensor_parallel,
        vocabulary_size=-(-geometry.vocabulary_size // tensor_parallel),
    )


@dataclass(frozen=True, slots=True)
class _Layer:
    norm_before: Tensor
    query_key_value: Tensor
    output: Tensor
    norm_between: Tensor
    feed_forward: FeedForward
    keys: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True)
class _Indices:
    """Row numbers that carry packed tokens into attention and back; see ``RandomDecoder.prepare``."""

    embedding: Tensor
    cosine: Tensor
    sine: Tensor
    cache_rows: Tensor
    fold: Tensor
    unfold: Tensor


class RandomDecoder:
    """``num_layers`` layers of a (sharded) geometry, its embedding and its output head.

    max_cache_tokens: KV tokens (context and new, over all sequences) of the largest pass.
    """

    def __init__(
        self,
        geometry: ModelGeometry,
        num_layers: int,
        max_cache_tokens: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
        seed: int = 0,
    ) -> None:
        if geometry.num_experts:
            require_grouped_products(geometry.name, device, dtype)
        self.geometry, self.device, self.dtype = geometry, device, dtype
        self.ops = fused_ops(device, dtype)
        self._generator = torch.Generator(device).manual_seed(seed)
        hidden, head = geometry.hidden_size, geometry.head_size
        heads, kv_heads = geometry.num_heads, geometry.num_kv_heads
        self.layers = [
            _Layer(
                norm_before=self._random(hidden, scale=1.0),
                query_key_value=self._random((heads + 2 * kv_heads) * head, hidden),
                output=self._random(hidden, heads * head),
                norm_between=self._random(hidden, scale=1.0),
                feed_forward=self._feed_forward(),
                # one more row takes what padding rows write
                keys=self._random(kv_heads * max_cache_tokens + 1, head, scale=1.0),
                values=self._random(kv_heads * max_cache_tokens + 1, head, scale=1.0),
            )
            for _ in range(num_layers)
        ]
        self.embedding = self._random(geometry.vocabulary_size, hidden)
        self.head = self.embedding if geometry.has_tied_embeddings else self._random(*self.embedding.shape)
        self.last_norm = self._random(hidden, scale=1.0)

    def _random(self, *shape: int, scale: float = WEIGHT_SCALE) -> Tensor:
        # zeros would flatter: some matrix units run faster on them
        weights = torch.empty(shape, device=self.device, dtype=self.dtype)
        return weights.normal_(0.0, scale, generator=self._generator)

    def _feed_forward(self) -> FeedForward:
        hidden, inner = self.geometry.hidden_size, self.geometry.intermediate_size
        num = self.geometry.num_experts
        if num == 0:
            return DenseMlp(self._random(2 * inner, hidden), self._random(hidden, inner))
        return Mixture(
            self._random(num, hidden),
            self._random(num, 2 * inner, hidden),
            self._random(num, hidden, inner),
            self.geometry.num_experts_per_token,
        )

    def num_experts_touched(self, indices: _Indices) -> float:
        """Distinct experts that a pass reads, mean over the layers of a mixture; padding rows route too."""
        embedded = functional.embedding(indices.embedding, self.embedding)
        mixtures = [x.feed_forward for x in self.layers if isinstance(x.feed_forward, Mixture)]
        return float(np.mean([mixture.num_touched(embedded) for mixture in mixtures]))

    def prepare(self, layout: PassLayout) -> _Indices:
        """Index tensors of a pass, laid out once before it is timed."""
        sequence, offset = layout.places()
        geometry, kv_heads = self.geometry, self.geometry.num_kv_heads
        depth = layout.context + layout.longest
        is_real = sequence < layout.num_sequences
        heads = np.arange(kv_heads)
        row_of = (np.where(is_real, sequence, 0)[:, None] * kv_heads + heads) * depth
        cache_rows = np.where(
            is_real[:, None], row_of + (layout.context + offset)[:, None], len(self.layers[0].keys) - 1
        )
        # block of a sequence and KV head: `longest` rows of its grouped query heads, padded with row 0
        block = (np.where(is_real, sequence, 0)[:, None] * kv_heads + heads) * layout.longest + offset[
            :, None
        ]
        fold = np.zeros(layout.num_sequences * kv_heads * layout.longest, np.int64)
        packed = np.arange(layout.padded_tokens)[:, None] * kv_heads + heads
        fold[block[is_real]] = packed[is_real]
        group = geometry.num_heads // kv_heads
        place = (np.where(is_real, sequence, 0) * layout.longest + offset)[:, None, None] * group
        unfold = (place + np.arange(group)) * kv_heads + heads[:, None]
        angles = np.outer(
            layout.context + offset,
            1e4 ** -(np.arange(geometry.head_size // 2) * 2 / geometry.head_size),
        )
        tokens = np.random.default_rng(0).integers(0, geometry.vocabulary_size, layout.padded_tokens)

        def put(values: Any, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.as_tensor(values, device=self.device).to(dtype)

        return _Indices(
            embedding=put(tokens),
            cosine=put(np.cos(angles), self.dtype),
            sine=put(np.sin(angles), self.dtype),
            cache_rows=put(cache_rows.ravel()),
            fold=put(fold),
            unfold=put(unfold.ravel()),
        )

    def forward(self, layout: PassLayout, indices: _Indices) -> Tensor:
        """Hidden states [padded_tokens, H] after the layers; the new keys and values are in the cache."""
        embedded = residual = functional.embedding(indices.embedding, self.embedding)
        x = torch.zeros_like(residual)
        for layer in self.layers:
            x, residual = self.ops.add_norm(x, residual, layer.norm_before)
            x = functional.linear(self._attend(x, layer, layout, indices), layer.output)
            x, residual = self.ops.add_norm(x, residual, layer.norm_between)
            x = layer.feed_forward(x, embedded, self.ops)
        return x + residual

    def _attend(self, x: Tensor, layer: _Layer, layout: PassLayout, indices: _Indices) -> Tensor:
        geometry, num = self.geometry, len(x)
        kv_heads, head = geometry.num_kv_heads, geometry.head_size
        sizes = [geometry.num_heads, kv_heads, kv_heads]
        projected = functional.linear(x, layer.query_key_value).view(num, sum(sizes), head)
        query, key, value = torch.split(projected, sizes, 1)
        query = self.ops.rotate(query, indices.cosine, indices.sine)
        key = self.ops.rotate(key, indices.cosine, indices.sine)
        if layout.is_prompt:
            return self._attend_prompts(query, key, value, layout)
        layer.keys.index_copy_(0, indices.cache_rows, key.view(-1, head))
        layer.values.index_copy_(0, indices.cache_rows, value.reshape(-1, head))
        folded = query.view(num * kv_heads, -1).index_select(0, indices.fold)
        depth = layout.context + layout.longest
        with fused_attention(self.device):
            mixed = functional.scaled_dot_product_attention(
                folded.view(layout.num_sequences, kv_heads, -1, head),
                self._cache(layer.keys, layout.num_sequences, depth),
                self._cache(layer.values, layout.num_sequences, depth),
            )
        # flash attention returns [sequences, queries, heads, head size] in memory: no copy here
        rows = mixed.transpose(1, 2).reshape(-1, head)
        return rows.index_select(0, indices.unfold).view(num, -1)

    def _attend_prompts(self, query: Tensor, key: Tensor, value: Tensor, layout: PassLayout) -> Tensor:
        """Causal attention of prompts of one length, without context."""
        num, length = layout.num_sequences, layout.longest
        real = slice(0, num * length)
        q, k, v = [t[real].view(num, length, -1, t.shape[-1]).transpose(1, 2) for t in (query, key, value)]
        with fused_attention(self.device):
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        rows = mixed.transpose(1, 2).reshape(num * length, -1)
        return functional.pad(rows, (0, 0, 0, len(query) - num * length))

    def _cache(self, store: Tensor, num_sequences: int, depth: int) -> Tensor:
        """The first rows of a layer's cache as [sequences, KV heads, depth, head size]."""
        kv_heads, head = self.geometry.num_kv_heads, self.geometry.head_size
        rows = num_sequences * kv_heads * depth
        return store[:rows].view(num_sequences, kv_heads, depth, head)

    def logits(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Logits [R, V] of the chosen rows of the hidden states."""
        chosen = hidden.index_select(0, rows)
        normed, _ = self.ops.add_norm(chosen, torch.zeros_like(chosen), self.last_norm)
        return functional.linear(normed, self.head)


def fused_attention(device: torch.device) -> AbstractContextManager[Any]:
    """Flash attention on a GPU (it splits long contexts over the multiprocessors); a CPU has one kernel."""
    if device.type != "cuda":
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    make: Callable[..., AbstractContextManager[Any]] = sdpa_kernel
    return make([SDPBackend.FLASH_ATTENTION])
