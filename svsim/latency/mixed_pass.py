"""Passes that hold decoding sequences and chunks of prompts together.

A scheduler's step runs both in one pass: the weights are read once, every group of sequences pays its own
attention (``pass_costs.py``). Four laws hold for every source (``tests/contracts/test_mixed_passes.py``):
without chunks a mixed pass is ``predict_s`` of the rest; one chunk alone is ``predict_s`` of a prompt;
together they take at least as long as the longest of them, at most as long as one after the other; more
work never costs less. The third is imposed where fitted numbers would break it: an engine can always run
one after the other.
"""

from collections.abc import Collection
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.errors import LatencyError
from svsim.latency.context_costs import MANY_QUERIES
from svsim.latency.model import LatencyModel
from svsim.latency.pass_costs import PassCosts
from svsim.latency.pass_work import graph_padded, logit_rows
from svsim.latency.shape import MOST, Role, StepShape

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@runtime_checkable
class MixedLatencyModel(LatencyModel, Protocol):
    """A latency model that also knows how sequences of different kinds share a pass."""

    def predict_mixed_s(
        self, decode: StepShape, chunk_tokens: ArrayLike, chunk_kv: ArrayLike
    ) -> NDArray[np.float64]:
        """Seconds of each mixed pass, float64 [...].

        decode:       the decoding (or verifying) sequences of each pass, [...]; with 0 sequences, tokens
                      and KV there are none. Its share of layers and its ``num_logit_tokens`` are the whole
                      pass's: 1 per prompt that ends, none of other chunks. None: each group as a pass of
                      its own.
        chunk_tokens: new tokens of each chunk, [..., C]; 0: no chunk.
        chunk_kv:     KV tokens that each chunk finds in the cache, [..., C].
        """
        ...

    def attention_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass that depend on contexts (attention, recurrent states), float64.

        What is left of ``predict_s`` does not change with KV tokens. Engines whose verification attention
        is dearer than one query per sequence multiply it.
        """
        ...

    def pass_costs(self, role: Role) -> PassCosts:
        """The terms of a role's pass, for sheets (``mixed_sheet.py``)."""
        ...


@runtime_checkable
class ScalesPrompts(Protocol):
    """A latency model of an engine whose prompts cost other seconds than ``pass_costs`` say."""

    @property
    def prompt_factor(self) -> float:
        """On what chunks of prompts add to the target's pass."""
        ...


class MixedPass(NamedTuple):
    """Groups of sequences that run in one pass, float64 [..., G] each; one that is not has 0 sequences.

    Group 0 decodes (or verifies); the others are chunks of one sequence each.
    """

    sequences: Floats
    tokens: Floats
    kv: Floats

    @classmethod
    def of(
        cls,
        decode: StepShape,
        chunk_tokens: ArrayLike,
        chunk_kv: ArrayLike,
        roles: Collection[Role],
        priced_by: str,
    ) -> "MixedPass":
        """Checked: LatencyError if the role is not priced, or counts are impossible or do not broadcast."""
        decode.checked(roles, priced_by, least_sequences=0)
        tokens, kv = (np.atleast_1d(np.asarray(values, np.float64)) for values in (chunk_tokens, chunk_kv))
        _refuse("chunk_tokens", tokens)
        _refuse("chunk_kv", kv)
        group = decode.broadcast()
        said = np.zeros(()) if decode.logit_tokens is None else decode.logit_tokens
        try:
            tokens, kv = np.broadcast_arrays(tokens, kv)
            passes = np.broadcast_shapes(group[0].shape, decode.layers.shape, said.shape, tokens.shape[:-1])
        except ValueError:
            raise LatencyError(
                f"chunk_tokens {tokens.shape}, chunk_kv {kv.shape} do not broadcast with the group's "
                f"{group[0].shape}; expected chunks [..., C] beside a group [...]"
            ) from None
        if ((group[0] == 0) & (group[1] + group[2] > 0)).any():
            raise LatencyError("a group of 0 sequences with tokens; expected num_sequences >= 1, or none")
        is_run = tokens > 0

        def joined(one: Floats, chunks: Floats) -> Floats:
            many = np.broadcast_to(chunks, (*passes, chunks.shape[-1]))
            return np.concatenate([np.broadcast_to(one, passes)[..., None], many], axis=-1)

        return cls(
            joined(group[0], is_run.astype(np.float64)),
            joined(group[1], tokens),
            joined(group[2], np.where(is_run, kv, 0.0)),
        )

    @property
    def is_run(self) -> Bools:
        """Which groups there are, [..., G]."""
        return self.sequences > 0


def predict_mixed_s(model: MixedLatencyModel, decode: StepShape, mixed: MixedPass) -> NDArray[np.float64]:
    """``MixedLatencyModel.predict_mixed_s`` of any model, from its ``pass_costs`` and ``predict_s``."""
    costs = model.pass_costs(decode.role)
    layers_s = _layers_s(costs, decode.role, mixed)
    if costs.head_s is None:
        return between(decode.layers * layers_s, parts_of(model, decode, mixed))
    by_rule_s = costs.head_s(_rule_rows(costs.row_rule, mixed))
    if costs.holds_head:
        layers_s = np.maximum(layers_s - by_rule_s, 0.0)
    if decode.logit_tokens is None:
        return between(decode.layers * layers_s + by_rule_s, parts_of(model, decode, mixed))
    layers_s = between(decode.layers * layers_s, parts_of(model, decode, mixed, without_head=True))
    return np.asarray(layers_s + costs.head_s(graph_padded(decode.logit_tokens)))


def parts_of(
    model: LatencyModel, decode: StepShape, mixed: MixedPass, *, without_head: bool = False
) -> Floats:
    """Seconds of each group as a pass of its own, float64 [..., G]; 0 where there is none."""
    is_run = mixed.is_run
    share = np.broadcast_to(decode.layers[..., None], is_run.shape)[is_run]
    sequences, tokens, kv = (values[is_run] for values in mixed)
    shape = StepShape(decode.role, sequences, tokens, kv, share, 0 if without_head else None)
    parts_s = np.zeros(is_run.shape)
    parts_s[is_run] = model.predict_s(shape)
    return parts_s


def between(together_s: Floats, parts_s: Floats) -> Floats:
    """Not below the longest part, not above their sum, float64 [...]."""
    return np.asarray(np.clip(together_s, parts_s.max(-1), parts_s.sum(-1)))


def attention_s(model: MixedLatencyModel, shape: StepShape) -> NDArray[np.float64]:
    """``MixedLatencyModel.attention_s`` of any model, from its ``pass_costs``."""
    sequences, tokens, kv = shape.checked(model.roles, model.hardware)
    costs, quantities = model.pass_costs(shape.role), (sequences, tokens, kv / sequences)
    if costs.box:
        quantities = costs.box.inside(shape.role, quantities)
    return np.asarray(shape.layers * costs.context.seconds(*quantities))


def _layers_s(costs: PassCosts, role: Role, mixed: MixedPass) -> Floats:
    """Everything but a head that is told apart, float64 [...]."""
    is_run, tokens = mixed.is_run, mixed.tokens
    # an empty pass, which costs nothing in the end, is priced as one token
    total, sequences = np.maximum(tokens.sum(-1), 1.0), np.where(is_run, mixed.sequences, 1.0)
    context = mixed.kv / sequences
    if costs.box:
        asked = sequences, np.broadcast_to(total[..., None], is_run.shape), context
        sequences, all_tokens, context = costs.box.inside(role, asked, is_run)
        total = all_tokens.max(-1)
    context_s = np.where(is_run, costs.context.seconds(sequences, tokens, context), 0.0).sum(-1)
    fitted_rows = np.minimum(tokens, MANY_QUERIES * mixed.sequences).sum(-1)
    return np.asarray(costs.token_s(total) + costs.row_s * fitted_rows + context_s)


def _rule_rows(rule: Role, mixed: MixedPass) -> Floats:
    """Rows of logits that the role needs of all groups, float64 [...]."""
    rows = logit_rows(rule, mixed.sequences, graph_padded(mixed.tokens)).sum(-1)
    if rule is Role.DRAFT:
        return np.asarray(rows)
    return np.asarray(np.minimum(rows, graph_padded(mixed.tokens.sum(-1))))


def _refuse(name: str, values: Floats) -> None:
    # `not (min >= 0)` also catches NaN
    if values.size and not (values.min() >= 0 and values.max() <= MOST):
        bad = values[~((values >= 0) & (values <= MOST))].flat[0]
        raise LatencyError(f"{name} = {bad:g}; expected finite numbers >= 0")
