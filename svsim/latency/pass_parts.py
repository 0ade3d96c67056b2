"""The separable parts of one model's pass: what a kernel database has to be asked for.

A pass of B sequences with n new tokens (padded to N) behind a mean context c takes
``token_s[N] + row_s[logit rows] + attention``, where attention is ``read_s[B, c]`` (each sequence's KV
cache read once by one query) and, with more than ``free_queries`` (32) new tokens q per sequence, at
least ``prompt_s[B, q, c]``. A few hundred numbers so tell the seconds of every shape of a table, whatever
the model's role.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from svsim.errors import LatencyError
from svsim.latency.pass_work import MAX_LOGIT_ROWS_PER_SEQUENCE, graph_padded, logit_rows
from svsim.latency.shape import Role
from svsim.latency.step_grid import PassShapes

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class MissingKernelError(LatencyError):
    """The database has no measurement of a kernel that the pass needs."""


class PartKeys(NamedTuple):
    """What the parts are known for, int64, sorted: tokens [N], rows [M], reads [J, 2], prompts [P, 3]."""

    tokens: Counts
    rows: Counts
    reads: Counts
    prompts: Counts

    @classmethod
    def of(cls, shapes: PassShapes, free_queries: int = MAX_LOGIT_ROWS_PER_SEQUENCE) -> "PartKeys":
        """All that passes of these shapes need, in any role."""
        sequences = shapes.num_sequences
        padded, reads, prompts = _keys(shapes)
        rows = np.concatenate([logit_rows(role, sequences, padded) for role in Role])
        is_prompt = prompts[:, 1] > free_queries
        return cls(
            np.unique(padded).astype(np.int64),
            np.unique(rows).astype(np.int64),
            np.unique(reads, axis=0),
            np.unique(prompts[is_prompt], axis=0),
        )


@dataclass(frozen=True, slots=True)
class PassParts:
    """Seconds of each part, float64 [N], [M], [J], [P], in the order of ``keys``.

    kernels: where they were measured, for people (``vLLM 0.24.0``). free_queries: see the module's words.
    """

    keys: PartKeys
    token_s: Floats
    row_s: Floats
    read_s: Floats
    prompt_s: Floats
    kernels: str
    free_queries: int = MAX_LOGIT_ROWS_PER_SEQUENCE

    def seconds(self, role: Role, shapes: PassShapes) -> Floats:
        """Seconds of passes whose parts are all known, float64 [shapes]; sampling is not in them."""
        padded, reads, prompts = _keys(shapes)
        rows = logit_rows(role, shapes.num_sequences, padded)
        attention_s = self.read_s[_places(self.keys.reads, reads)]
        is_prompt = prompts[:, 1] > self.free_queries
        if is_prompt.any():
            prompt_s = self.prompt_s[_places(self.keys.prompts, prompts[is_prompt])]
            attention_s[is_prompt] = np.maximum(attention_s[is_prompt], prompt_s)
        token_s = self.token_s[np.searchsorted(self.keys.tokens, padded)]
        return np.asarray(token_s + self.row_s[np.searchsorted(self.keys.rows, rows)] + attention_s)


def _keys(shapes: PassShapes) -> tuple[Floats, Counts, Counts]:
    """Padded tokens [N]; (sequences, context) [N, 2]; (sequences, queries, context) [N, 3]."""
    sequences, tokens, kv = shapes
    queries, context = np.ceil(tokens / sequences), np.round(kv / sequences)
    reads = np.stack([sequences, context], axis=1).astype(np.int64)
    return graph_padded(tokens), reads, np.stack([sequences, queries, context], axis=1).astype(np.int64)


def _places(known: Counts, asked: Counts) -> Counts:
    """Where each asked row stands in the sorted known rows."""
    index = {tuple(row): place for place, row in enumerate(known.tolist())}
    return np.array([index[tuple(row)] for row in asked.tolist()], np.int64)
