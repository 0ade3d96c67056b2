"""Number formats of weights and KV caches."""

from collections.abc import Mapping
from typing import Literal

# Of weights, and of the inputs they are multiplied with. bf16 stands for float16 too; fp8: one scale per
# tensor or channel, fp8_block: per block of 128 x 128 weights (DeepSeek-V3); nvfp4: an 8-bit scale per 16.
# Weights alone, multiplied with 16-bit inputs: int4 (AWQ, GPTQ, w4a16: a 16-bit scale and a 4-bit zero per
# 128; int4_group32: per 32), int8_weights (w8a16), nvfp4_weights, mxfp4 (gpt-oss: an 8-bit scale per 32).
Dtype = Literal[
    "bf16",
    "fp8",
    "fp8_block",
    "int8",
    "nvfp4",
    "mxfp4",
    "int4",
    "int4_group32",
    "int8_weights",
    "nvfp4_weights",
]
KvDtype = Literal["bf16", "fp8"]
BYTES_OF: Mapping[Dtype, float] = {
    "bf16": 2,
    "fp8": 1,
    "fp8_block": 1,
    "int8": 1,
    "nvfp4": 9 / 16,
    "mxfp4": 17 / 32,
    "int4": (4 + 20 / 128) / 8,
    "int4_group32": (4 + 20 / 32) / 8,
    "int8_weights": 1 + 2 / 128,
    "nvfp4_weights": 9 / 16,
}
# Weights that are widened to 16 bits before they are multiplied.
WEIGHT_ONLY: frozenset[Dtype] = frozenset({"mxfp4", "int4", "int4_group32", "int8_weights", "nvfp4_weights"})
# Of all other values: embeddings, logits, activations.
BYTES_PER_VALUE = 2
