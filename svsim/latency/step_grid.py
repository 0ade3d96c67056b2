"""The pass shapes of a modelled step-time table: fine where stairs are, coarse elsewhere."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from svsim.latency.pass_work import MAX_GRAPH_TOKENS, graph_padded

Floats = NDArray[np.float64]

NUM_SEQUENCES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
QUERIES_PER_SEQUENCE = tuple(range(1, 10))
MEAN_CONTEXTS = (128, 256, 512, 1024, 2048, 4096, 8192)
LONG_CONTEXTS = (16384, 32768)
STAIR_CONTEXTS = (128, 1024, 4096)
# Above the captured graphs: spacing of total tokens, and the tile edges (n and n + 1) shown exactly.
EAGER_SPACING, TILE = 32, 256
PROMPT_TOKENS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
NUM_PROMPTS = (1, 2, 4, 8)
CHUNK_TOKENS, CHUNK_CONTEXTS = (256, 512, 1024, 2048), (1024, 4096)


class PassShapes(NamedTuple):
    """Shapes of N passes, float64 [N] each; tokens and KV are sums over the sequences."""

    num_sequences: Floats
    num_new_tokens: Floats
    num_kv_tokens: Floats


def standard_shapes() -> PassShapes:
    """Decoding, verification of up to 9 tokens a sequence, every graph edge, prompts and chunks."""
    most = NUM_SEQUENCES[-1] * QUERIES_PER_SEQUENCE[-1]
    rows = [
        (b, b * q, b * context)
        for b in NUM_SEQUENCES
        for q in QUERIES_PER_SEQUENCE
        for context in MEAN_CONTEXTS
        if q in {1, 5, 9} or context in STAIR_CONTEXTS
    ]
    rows += [(b, b, b * context) for b in NUM_SEQUENCES for context in LONG_CONTEXTS]
    for n in _stair_edges(most):
        b = next(b for b in NUM_SEQUENCES if b * QUERIES_PER_SEQUENCE[-1] >= n)
        rows += [(b, n, b * context) for context in STAIR_CONTEXTS]
    rows += [(b, b * n, 0) for b in NUM_PROMPTS for n in PROMPT_TOKENS if b * n <= PROMPT_TOKENS[-1]]
    rows += [(1, n, context) for n in CHUNK_TOKENS for context in CHUNK_CONTEXTS]
    columns = np.array(sorted(set(rows)), np.float64).T
    return PassShapes(*columns)


def _stair_edges(most: int) -> list[int]:
    """Both sides of every graph edge up to the largest graph, then a grid with the tile edges."""
    last_of_graph = {int(n) for n in graph_padded(np.arange(1, MAX_GRAPH_TOKENS + 1))}
    graphs = {n for last in last_of_graph for n in (last, last + 1)}
    eager = set(range(MAX_GRAPH_TOKENS + EAGER_SPACING, most + 1, EAGER_SPACING))
    tiles = {n for last in range(MAX_GRAPH_TOKENS, most + 1, TILE) for n in (last, last + 1)}
    return sorted(n for n in graphs | eager | tiles if n <= most)
