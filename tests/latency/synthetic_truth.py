"""A synthetic GPU with a known answer: graph padding, tile stairs, attention, noise.

Invented numbers in the range of a 70B target on four GPUs; nothing here was measured.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def true_seconds(sequences: Floats, tokens: Floats, kv: Floats, pairs_s: float = 1.2e-11) -> Floats:
    """Weights read once, tokens padded to graphs of 8, matrix tiles of 64, KV read or query-key work."""
    padded = np.where(tokens <= 8, 2 ** np.ceil(np.log2(np.maximum(tokens, 1))), 8 * np.ceil(tokens / 8))
    curve = 10.8e-3 + 6e-6 * padded + 0.4e-3 * np.ceil(padded / 64) + 3e-6 * np.maximum(padded - 300, 0)
    read = 18e-9 * kv + 2e-6 * sequences
    return curve + np.maximum(read, pairs_s * tokens * (kv / sequences + tokens / sequences / 2))


def grid_of_shapes() -> tuple[Floats, Floats, Floats]:
    """Decoding and verification at batch 1 .. 256, and prefills of one sequence: [N] each."""
    rows = [
        (b, b * q, b * context)
        for b in (1, 2, 4, 8, 16, 32, 64, 128, 256)
        for q in (1, 2, 3, 4, 5, 6, 7, 8, 9)
        for context in (128, 512, 1024, 2048, 4096, 8192)
    ]
    rows += [(b, n, b * 1024) for b in (1, 16) for n in range(16, 520, 3)]
    rows += [(1, n, 0) for n in (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)]
    return tuple(np.array(column, np.float64) for column in zip(*rows, strict=True))  # type: ignore[return-value]


def table(
    shapes: tuple[Floats, Floats, Floats], seconds: Floats, role: str = "target"
) -> dict[str, NDArray[np.generic]]:
    """Step-time columns of one role on ``synthetic_gpu``, tp = 4."""
    num = len(seconds)
    return {
        "role": np.full(num, role, object),
        "hardware": np.full(num, "synthetic_gpu", object),
        "tensor_parallel": np.full(num, 4, np.int32),
        "num_sequences": shapes[0].astype(np.int32),
        "num_new_tokens": shapes[1].astype(np.int32),
        "num_kv_tokens": shapes[2].astype(np.int64),
        "seconds": seconds,
        "source": np.full(num, "synthetic", object),
    }
