"""A synthetic GPU with a known answer: graph padding, tile stairs, attention, noise.

Invented numbers in the range of a 70B target on four GPUs; nothing here was measured.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Shapes = tuple[Floats, Floats, Floats]


def true_seconds(sequences: Floats, tokens: Floats, kv: Floats, pair_s: float = 1.6e-9) -> Floats:
    """Weights read once, tokens padded to graphs of 8, matrix tiles of 64, KV read or query-key work."""
    padded = np.where(tokens <= 8, 2 ** np.ceil(np.log2(np.maximum(tokens, 1))), 8 * np.ceil(tokens / 8))
    curve = 10.8e-3 + 6e-6 * padded + 0.4e-3 * np.ceil(padded / 64) + 3e-6 * np.maximum(padded - 300, 0)
    read = 18e-9 * kv + 2e-6 * sequences
    return curve + np.maximum(read, pair_s * tokens * (kv + tokens / 2) / sequences)


def grid_of_shapes() -> Shapes:
    """Decoding and verification at batch 1 .. 256, and prefills of one sequence: [N] each."""
    rows = [
        (b, b * q, b * context)
        for b in (1, 2, 4, 8, 16, 32, 64, 128, 256)
        for q in (1, 2, 3, 4, 5, 6, 7, 8, 9)
        for context in (128, 512, 1024, 2048, 4096, 8192)
    ]
    rows += [(b, n, b * 1024) for b in (8, 64) for n in range(64, 520, 3)]
    rows += [(1, n, 0) for n in (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)]
    sequences, tokens, kv = np.array(rows, np.float64).T
    return sequences, tokens, kv


def scattered_shapes(rng: np.random.Generator, num: int) -> Shapes:
    """Random batches, verification lengths and contexts: hardly any quantity occurs twice."""
    sequences = rng.integers(1, 257, num).astype(np.float64)
    tokens = np.round(sequences * rng.uniform(1, 9, num))
    return sequences, tokens, np.round(sequences * rng.uniform(100, 8000, num))


def table(shapes: Shapes, seconds: Floats, role: str = "target", tp: int = 4) -> dict[str, NDArray[Any]]:
    """Step-time columns of one role on ``synthetic_gpu``."""
    num = len(seconds)
    return {
        "role": np.full(num, role, object),
        "hardware": np.full(num, "synthetic_gpu", object),
        "tensor_parallel": np.full(num, tp, np.int32),
        "num_sequences": shapes[0].astype(np.int32),
        "num_new_tokens": shapes[1].astype(np.int32),
        "num_kv_tokens": shapes[2].astype(np.int64),
        "seconds": seconds,
        "source": np.full(num, "synthetic", object),
    }


def joined(*tables: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The rows of several tables."""
    return {name: np.concatenate([part[name] for part in tables]) for name in tables[0]}
