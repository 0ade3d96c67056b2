"""Floating-point operations of decoding: who multiplies how much per emitted token.

A pass over n new tokens that read c context tokens each takes 2 n P + 4 n c L h operations: P the weights
that a token meets (layers and output head, the chosen experts of a mixture), L attention layers, h the
width of all query heads. Speculative Verification's table 3 (arXiv 2509.24328) counts what a rule saves of
the target's and what the companion adds.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from svsim.records import RunRecord


class Shape(Protocol):
    """What is read of a model's geometry."""

    @property
    def num_layers(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def num_heads(self) -> int: ...
    @property
    def head_size(self) -> int: ...
    @property
    def vocabulary_size(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def num_experts(self) -> int: ...
    @property
    def num_experts_per_token(self) -> int: ...
    @property
    def num_attention_layers(self) -> int: ...
    @property
    def mixer_weights(self) -> int: ...
    @property
    def mlp_weights_per_layer(self) -> int: ...


@dataclass(frozen=True, slots=True)
class DecodingFlops:
    """Operations per emitted token, by model."""

    draft: float
    companion: float
    target: float

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    def saved_share(self, fixed: "DecodingFlops") -> float:
        """Share of a fixed length's target operations that are saved."""
        return 1.0 - self.target / fixed.target

    def companion_share(self, fixed: "DecodingFlops") -> float:
        """The companion's operations over a fixed length's target operations."""
        return self.companion / fixed.target


def weights_per_token(shape: Shape) -> int:
    """Weights that one token is multiplied with: layers (experts it chooses) and output head."""
    mlp = shape.mlp_weights_per_layer
    if shape.num_experts:
        router = shape.hidden_size * shape.num_experts
        mlp = (mlp - router) // shape.num_experts * shape.num_experts_per_token + router
    layers = shape.mixer_weights + shape.num_layers * mlp
    return layers + shape.vocabulary_size * shape.hidden_size


def pass_flops(shape: Shape, num_new_tokens: float, mean_context_tokens: float) -> float:
    """Operations of a pass over ``num_new_tokens`` that read ``mean_context_tokens`` each."""
    attention = 4.0 * shape.num_attention_layers * shape.num_heads * shape.head_size * mean_context_tokens
    return num_new_tokens * (2.0 * weights_per_token(shape) + attention)


def decoding_flops(
    record: RunRecord, models: Mapping[str, Shape], mean_context_tokens: float, uses_companion: bool
) -> DecodingFlops:
    """Operations per emitted token of a replay; ``models`` by role (target, draft, companion).

    The target computes one token per sequence and step besides the verified ones; draft and companion each
    compute the drafted tokens once (what they owe after a fully accepted chain is left out).
    """
    sums = record.sums
    # whole steps emit what they accept and one token more, also where a request ends within
    steps = float(sums.sequence_steps.sum())
    emitted = float(sums.accepted_tokens.sum()) + steps
    drafted, verified = float(sums.drafted_tokens.sum()), float(sums.verified_tokens.sum())

    def per_token(role: str, tokens: float) -> float:
        return pass_flops(models[role], tokens, mean_context_tokens) / emitted

    return DecodingFlops(
        draft=per_token("draft", drafted) if drafted else 0.0,
        companion=per_token("companion", drafted) if uses_companion else 0.0,
        target=per_token("target", verified + steps),
    )
