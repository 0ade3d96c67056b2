"""Tiny language models with known laws: the next token depends on the two tokens before it."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from svsim.trace_capture.coherent_chains import Triple

Floats = NDArray[np.float64]


class TableModel:
    """P(next | two tokens before) = table [V, V, V]; at a one-token context the older token counts as 0.

    Keeps its own copy of what was read at every position, so that a loop that reads the wrong tokens, or
    at wrong positions, gets wrong probabilities.
    """

    def __init__(self, table: Floats) -> None:
        self.table = table
        self.log_table = torch.as_tensor(np.log(table), dtype=torch.float32)
        self.read = torch.zeros(0, 0, dtype=torch.long)

    def start(self, prompts: Sequence[Sequence[int]], capacity: int) -> None:
        self.read = torch.full((len(prompts), capacity + 1), -(10**6))
        for row, prompt in enumerate(prompts):
            self.read[row, : len(prompt) - 1] = torch.tensor(prompt[:-1], dtype=torch.long)

    def logits(self, rows: Tensor, tokens: Tensor, first_position: Tensor) -> Tensor:
        positions = first_position[:, None] + torch.arange(tokens.shape[1])
        self.read[rows[:, None], positions] = tokens
        older = torch.where(positions > 0, self.read[rows[:, None], (positions - 1).clamp_min(0)], 0)
        return self.log_table[older, tokens]


def random_tables(vocabulary: int, seed: int, closeness: float = 1.0) -> list[Floats]:
    """Target, draft and companion: random laws around a common one."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(vocabulary,) * 3)
    tables = []
    for _ in range(3):
        logits = common + closeness * rng.normal(size=common.shape)
        tables.append(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    return tables


def triple(tables: list[Floats]) -> Triple:
    return Triple(*(TableModel(table) for table in tables))


def sequence_law(table: Floats, prompt: Sequence[int], length: int) -> Floats:
    """Exact probability of every continuation, float64 [V] * length, by the chain rule."""
    vocabulary = len(table)
    law = np.ones(())
    older, last = (prompt[-2] if len(prompt) > 1 else 0), prompt[-1]
    context = [np.array(older), np.array(last)]
    for step in range(length):
        grids = np.meshgrid(*[np.arange(vocabulary)] * step, indexing="ij") if step else []
        before = [*context, *grids]
        law = np.asarray(law)[..., None] * table[before[-2], before[-1]]
    return law
