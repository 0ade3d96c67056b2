"""What kernels reach of a data sheet's peaks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Efficiencies:
    """Shares of the data sheet's peaks that kernels reach, and fixed times.

    Fitted by ``calibration/fit_roofline.py`` (mean absolute log error) to decoding and verification
    passes priced from kernel measurements: H100, H200, A100, B200 and L40S, 0.5B to 405B. Errors of
    level and slope on GPUs and models left out of the fit: ``calibration/README.md``.

    memory:       matrix products with few tokens, element-wise work.
    arithmetic:   matrix products with thousands of tokens.
    crossing:     exponent m of (memory^m + arithmetic^m)^(1/m) seconds: neither overlaps the other
                  perfectly, and between the two regimes a kernel is slower than either bound.
    tile_tokens:  matrix products compute whole tiles of so many tokens: stairs in arithmetic (the fit over
                  all GPUs finds none beyond those of graph padding).
    experts:      of a mixture: what its grouped kernels reach of the above, per byte and operation.
    attention:    reading the KV cache.
    interconnect: large all-reduces (bytes that cross one GPU's links / their peak).
    product_s:    launch, ramp and tail of each matrix product inside a captured graph.
    kernel_s:     launch and ramp of each element-wise kernel.
    attention_s:  the same for one layer's attention, which runs in several stages.
    all_reduce_s: an all-reduce of a few kilobytes, in one shot: every GPU reads all others' messages.
    widened_...:  memory, arithmetic and crossing of weights that are widened to 16 bits before they are
                  multiplied (Marlin kernels of 4-bit Llama-3.1-8B in vLLM 0.24 on A100, 1 to 360 tokens:
                  github.com/manojarulmurugan/SpecDecoding-Study-vLLM-SGLang).
    two_shot_s:   what an all-reduce takes longer in two shots (reduce-scatter, all-gather), which send less.
    """

    memory: float = 0.810
    arithmetic: float = 0.822
    crossing: float = 1.62
    tile_tokens: int = 1
    experts: float = 0.94
    attention: float = 0.850
    interconnect: float = 0.50
    product_s: float = 7.1e-6
    kernel_s: float = 0.59e-6
    attention_s: float = 4.8e-6
    all_reduce_s: float = 5.5e-6
    two_shot_s: float = 3.5e-6
    widened_memory: float = 0.70
    widened_arithmetic: float = 0.50
    widened_crossing: float = 1.2
