"""The timed decoder computes attention: folded queries and packed rows give the plain answer."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from svsim.calibration.decoder import RandomDecoder, shard
from svsim.calibration.feed_forward import DenseMlp
from svsim.calibration.fused_ops import add_norm, gated, rotate
from svsim.calibration.pass_layout import PassLayout
from svsim.errors import InputError
from svsim.latency.geometry import ModelGeometry, model_geometry

TINY = ModelGeometry("tiny", 2, 32, 4, 2, 8, 48, 61)
CPU = torch.device("cpu")


def decoder(max_cache_tokens: int = 400) -> RandomDecoder:
    return RandomDecoder(TINY, 2, max_cache_tokens, device=CPU, dtype=torch.float32)


def plain_forward(model: RandomDecoder, layout: PassLayout) -> Tensor:
    """One sequence at a time, one head at a time, keys and values of the context as the cache holds them."""
    geometry, head = model.geometry, model.geometry.head_size
    indices = model.prepare(layout)
    sequence, offset = layout.places()
    rows = []
    depth = layout.context + layout.longest
    residual = functional.embedding(indices.embedding, model.embedding)
    x = torch.zeros_like(residual)
    for layer in model.layers:
        x, residual = add_norm(x, residual, layer.norm_before)
        projected = (x @ layer.query_key_value.T).view(len(x), -1, head)
        query, key, value = torch.split(projected, [geometry.num_heads] + 2 * [geometry.num_kv_heads], 1)
        query, key = (rotate(t, indices.cosine, indices.sine) for t in (query, key))
        num = layout.num_sequences * geometry.num_kv_heads * depth
        shape = (layout.num_sequences, geometry.num_kv_heads, depth, head)
        keys, values = layer.keys[:num].clone().view(shape), layer.values[:num].clone().view(shape)
        for row in range(layout.total_tokens):
            keys[sequence[row], :, layout.context + offset[row]] = key[row]
            values[sequence[row], :, layout.context + offset[row]] = value[row]
        rows = []
        for row in range(layout.total_tokens):
            heads = []
            for h in range(geometry.num_heads):
                kv = h // (geometry.num_heads // geometry.num_kv_heads)
                scores = keys[sequence[row], kv] @ query[row, h] / math.sqrt(head)
                heads.append(torch.softmax(scores, 0) @ values[sequence[row], kv])
            rows.append(torch.cat(heads))
        mixed = torch.zeros(len(x), geometry.num_heads * head)
        mixed[: layout.total_tokens] = torch.stack(rows)
        x, residual = add_norm(mixed @ layer.output.T, residual, layer.norm_between)
        assert isinstance(layer.feed_forward, DenseMlp)
        x = gated(x @ layer.feed_forward.gate_up.T) @ layer.feed_forward.down.T
    return (x + residual)[: layout.total_tokens]


@pytest.mark.parametrize(
    "layout",
    [
        PassLayout.spread(3, 3, 10),
        PassLayout.spread(3, 12, 7),
        PassLayout.spread(4, 11, 5),
        PassLayout.skewed(5, 4, 20),
        PassLayout.spread(2, 6, 0),
    ],
    ids=["decode", "verify", "ragged", "skewed", "no-context"],
)
def test_forward_is_attention(layout: PassLayout) -> None:
    model = decoder()
    expected = plain_forward(model, layout)  # the plain loop works on copies of the cache
    found = model.forward(layout, model.prepare(layout))[: layout.total_tokens]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_prompts_are_causal() -> None:
    model, layout = decoder(), PassLayout.spread(2, 40, 0)
    assert layout.is_prompt
    indices = model.prepare(layout)
    before = model.forward(layout, indices)
    indices.embedding[19] = (indices.embedding[19] + 1) % TINY.vocabulary_size  # last token of sequence 0
    after = model.forward(layout, indices)
    torch.testing.assert_close(after[:19], before[:19])
    assert not torch.allclose(after[19], before[19])
    torch.testing.assert_close(after[20:40], before[20:40])


def test_layouts() -> None:
    layout = PassLayout.spread(4, 11, 100)
    assert layout.num_new_tokens == (3, 3, 3, 2)
    assert (layout.total_tokens, layout.padded_tokens, layout.num_kv_tokens) == (11, 16, 400)
    sequence, offset = layout.places()
    np.testing.assert_array_equal(sequence, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 4, 4])
    np.testing.assert_array_equal(offset[:11], [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1])


def test_shards_divide_the_work() -> None:
    whole = model_geometry("llama-3.1-70b")
    part = shard(whole, 4)
    assert part.num_heads * 4 == whole.num_heads
    assert part.num_kv_heads * 4 == whole.num_kv_heads
    assert part.attention_weights_per_layer * 4 == whole.attention_weights_per_layer
    assert part.mlp_weights_per_layer * 4 == whole.mlp_weights_per_layer
    with pytest.raises(InputError, match="cannot be cut into 3 equal shards"):
        shard(whole, 3)
    mixture = model_geometry("qwen3-30b-a3b")
    part = shard(mixture, 4)
    assert (part.num_experts, part.intermediate_size * 4) == (128, mixture.intermediate_size)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_dtype": "fp8"}, "tiny: fp8 weights cannot be timed; leave quantization_config out"),
        ({"kv_dtype": "fp8"}, "tiny: fp8 KV cache cannot be timed; leave quantization_config out"),
        ({"shared_intermediate_size": 8}, "shared experts and dense layers of a mixture"),
        ({"num_dense_layers": 1}, "shared experts and dense layers of a mixture"),
        ({"has_output_gate": True}, "recurrent layers and output gates cannot be timed"),
    ],
)
def test_what_would_be_timed_as_something_else_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        shard(replace(TINY, **changes), 1)
