"""Layers whose attention sees a window of the last tokens (Mistral, arXiv 2310.06825; Gemma; gpt-oss).

Such a layer's cache stops growing at the window: servers free what has left it (vLLM's hybrid cache
manager). Chunked attention (Llama 4) sees at most its chunk and is priced as a window of that size, an upper
bound.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WindowedLayers:
    """A model's layers with a window.

    window_tokens: a query sees at most so many tokens, itself included. num_heads, num_kv_heads, head_size,
    value_head_size: where they differ from the full layers'; 0: as there (Gemma 4 and MiMo-V2 differ).
    """

    num_layers: int
    window_tokens: int
    num_heads: int = 0
    num_kv_heads: int = 0
    head_size: int = 0
    value_head_size: int = 0
