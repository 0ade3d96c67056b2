"""Number formats of weights and KV caches."""

from collections.abc import Mapping
from typing import Literal

# Of weights, and of the inputs they are multiplied with. bf16 stands for float16 too; fp8: one scale per
# tensor or channel, fp8_block: per block of 128 x 128 weights (DeepSeek-V3); nvfp4: an 8-bit scale per 16.
Dtype = Literal["bf16", "fp8", "fp8_block", "int8", "nvfp4"]
KvDtype = Literal["bf16", "fp8"]
BYTES_OF: Mapping[Dtype, float] = {"bf16": 2, "fp8": 1, "fp8_block": 1, "int8": 1, "nvfp4": 9 / 16}
# Of all other values: embeddings, logits, activations.
BYTES_PER_VALUE = 2
