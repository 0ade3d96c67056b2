"""Recurrent layers other than gated delta networks: state spaces, linear attention, short convolutions.

All keep a state of fixed size per sequence instead of a cache that grows; ``GatedDeltaNet`` says how
speculation keeps earlier states. ``RecurrentLayers`` is what pricing and memory read of any kind.

Mamba: arXiv 2312.00752; Mamba-2: arXiv 2405.21060; lightning attention (MiniMax-01): arXiv 2501.08313; gated
short convolutions (LFM2): arXiv 2511.23404.
"""

from dataclasses import dataclass
from typing import Protocol

from svsim.latency.precision import BYTES_PER_VALUE


class RecurrentLayers(Protocol):
    """A model's recurrent layers, sizes of one."""

    @property
    def num_layers(self) -> int: ...
    @property
    def num_split_heads(self) -> int:
        """Heads (or channels) that tensor parallelism divides."""
        ...

    @property
    def convolved_width(self) -> int:
        """Values of one token that a convolution mixes over time; 0 without one."""
        ...

    @property
    def state_bytes_per_layer(self) -> int:
        """One sequence's recurrent state in one layer."""
        ...

    def weights_per_layer(self, hidden_size: int) -> int:
        """Weights of one layer's matrices."""
        ...

    def chunked_flop_per_token(self, chunk_tokens: int) -> int:
        """A prompt's token in one layer, beyond the projections."""
        ...

    def bytes_per_sequence(self, num_speculative_tokens: int) -> int:
        """All layers' states of one sequence, with 1 + K copies to go back to."""
        ...


def stored_bytes(layers: RecurrentLayers, kernel_size: int, num_speculative_tokens: int) -> int:
    """1 + K copies of the state and of the tokens that the convolution may still need, as in vLLM's pages."""
    kept = max(kernel_size - 1 + num_speculative_tokens, 0)
    convolution = layers.convolved_width * kept * BYTES_PER_VALUE
    return layers.num_layers * (1 + num_speculative_tokens) * (layers.state_bytes_per_layer + convolution)


@dataclass(frozen=True, slots=True)
class StateSpace:
    """Mamba layers: a state of ``state_size`` values per channel of the inner width.

    num_heads x head_size: the inner width; num_groups: of keys and queries (B and C) that heads share.
    time_step_rank: of Mamba-1's low-rank time step, which has no heads (num_heads channels of size 1);
    0: Mamba-2, a time step per head.
    """

    num_layers: int
    num_heads: int
    head_size: int
    num_groups: int
    state_size: int
    kernel_size: int
    time_step_rank: int = 0
    state_value_bytes: int = 4

    @property
    def inner_width(self) -> int:
        """Channels of the recurrence."""
        return self.num_heads * self.head_size

    @property
    def num_split_heads(self) -> int:
        """Heads that tensor parallelism divides; of Mamba-1 its channels."""
        return self.num_heads

    @property
    def convolved_width(self) -> int:
        """Channels; in Mamba-2 beside them the groups' B and C."""
        groups = 0 if self.time_step_rank else 2 * self.num_groups * self.state_size
        return self.inner_width + groups

    def weights_per_layer(self, hidden_size: int) -> int:
        """Projections, convolution, and Mamba-1's time step, B, C and decays."""
        inner = self.inner_width
        shared = self.kernel_size * self.convolved_width + inner * hidden_size
        if self.time_step_rank:
            selected = inner * (2 * self.time_step_rank + 2 * self.state_size) + inner * self.state_size
            return hidden_size * 2 * inner + selected + shared
        return hidden_size * (inner + self.convolved_width + self.num_heads) + shared

    @property
    def state_bytes_per_layer(self) -> int:
        """One sequence's state in one layer."""
        return self.inner_width * self.state_size * self.state_value_bytes

    def chunked_flop_per_token(self, chunk_tokens: int) -> int:
        """State read and updated; within a chunk, products of queries, keys and values."""
        return 4 * self.inner_width * self.state_size + 2 * chunk_tokens * (
            self.num_groups * self.state_size + self.inner_width
        )

    def bytes_per_sequence(self, num_speculative_tokens: int) -> int:
        """See ``RecurrentLayers``."""
        return stored_bytes(self, self.kernel_size, num_speculative_tokens)


@dataclass(frozen=True, slots=True)
class LinearAttention:
    """Lightning attention: queries, keys, values and an output gate; the state is a matrix per head."""

    num_layers: int
    num_heads: int
    head_size: int
    state_value_bytes: int = 4

    @property
    def num_split_heads(self) -> int:
        """Heads."""
        return self.num_heads

    @property
    def convolved_width(self) -> int:
        """None is convolved."""
        return 0

    def weights_per_layer(self, hidden_size: int) -> int:
        """Queries, keys, values, gate and output."""
        return 5 * hidden_size * self.num_heads * self.head_size

    @property
    def state_bytes_per_layer(self) -> int:
        """One sequence's state in one layer."""
        return self.num_heads * self.head_size**2 * self.state_value_bytes

    def chunked_flop_per_token(self, chunk_tokens: int) -> int:
        """State read and updated; within a chunk, scores and sums."""
        return 4 * self.num_heads * self.head_size * (self.head_size + chunk_tokens)

    def bytes_per_sequence(self, num_speculative_tokens: int) -> int:
        """See ``RecurrentLayers``."""
        return stored_bytes(self, 1, num_speculative_tokens) if self.num_layers else 0


@dataclass(frozen=True, slots=True)
class ShortConvolution:
    """Gated convolutions over the last ``kernel_size`` tokens of ``width`` channels; no other state."""

    num_layers: int
    width: int
    kernel_size: int

    @property
    def num_split_heads(self) -> int:
        """Channels."""
        return self.width

    @property
    def convolved_width(self) -> int:
        """All channels."""
        return self.width

    def weights_per_layer(self, hidden_size: int) -> int:
        """Input with two gates, convolution, output."""
        return 4 * hidden_size * self.width + self.kernel_size * self.width

    @property
    def state_bytes_per_layer(self) -> int:
        """None beside the convolution's tokens."""
        return 0

    def chunked_flop_per_token(self, chunk_tokens: int) -> int:
        """The convolution and its gates."""
        return 2 * self.width * (self.kernel_size + 2)

    def bytes_per_sequence(self, num_speculative_tokens: int) -> int:
        """See ``RecurrentLayers``."""
        return stored_bytes(self, self.kernel_size, num_speculative_tokens)
