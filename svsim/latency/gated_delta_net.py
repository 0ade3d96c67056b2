"""Gated delta networks (GDN; arXiv 2412.06464): the recurrent layers of hybrid models, shapes and work.

Such a layer keeps one matrix per value head and sequence instead of a cache that grows: every token
decays it, corrects it along its key and reads it with its query. Decoding reads and writes the whole
*state*; a prompt goes through it in chunks. Qwen3-Next and Qwen3.5 have three such layers for one of
attention.

A rejected token has changed the state, so speculation has to keep the states before it. vLLM keeps one
state per draft position: a verification of q tokens reads one state and writes q, and a sequence holds
1 + K of them (``MambaSpec.num_speculative_blocks``; described in vllm-project/vllm#49887).
"""

from dataclasses import dataclass

from svsim.latency.precision import BYTES_PER_VALUE


@dataclass(frozen=True, slots=True)
class GatedDeltaNet:
    """Sizes of a model's recurrent layers.

    num_key_heads, key_head_size: of queries and of keys; num_value_heads, value_head_size: of values, of
    the output gate and of the state; kernel_size: tokens of the causal convolution before the recurrence;
    state_value_bytes: of one value of the state (4: float32, 2: 16 bits).
    """

    num_layers: int
    num_key_heads: int
    num_value_heads: int
    key_head_size: int
    value_head_size: int
    kernel_size: int
    state_value_bytes: int

    @property
    def value_width(self) -> int:
        """Values of one token over all heads: the output projection's input."""
        return self.num_value_heads * self.value_head_size

    @property
    def convolved_width(self) -> int:
        """Queries, keys and values of one token: what the convolution mixes over time."""
        return 2 * self.num_key_heads * self.key_head_size + self.value_width

    @property
    def projected_width(self) -> int:
        """Queries, keys, values and output gate of one token, from one matrix product."""
        return self.convolved_width + self.value_width

    @property
    def num_split_heads(self) -> int:
        """Key heads, which tensor parallelism divides."""
        return self.num_key_heads

    @property
    def num_gates(self) -> int:
        """Decay and writing strength of every value head, from another product."""
        return 2 * self.num_value_heads

    def weights_per_layer(self, hidden_size: int) -> int:
        """Input projections, convolution and output projection of one layer."""
        projections = hidden_size * (self.projected_width + self.num_gates + self.value_width)
        return projections + self.kernel_size * self.convolved_width

    @property
    def state_bytes_per_layer(self) -> int:
        """One sequence's recurrent state in one layer."""
        return self.value_width * self.key_head_size * self.state_value_bytes

    def chunked_flop_per_token(self, chunk_tokens: int) -> int:
        """A prompt's token in one layer: with the state (read by query and by key, updated) and with the
        other tokens of its chunk (keys by queries and keys, values by those two)."""
        with_state = 6 * self.key_head_size * self.value_head_size
        with_chunk = 4 * chunk_tokens * (self.key_head_size + self.value_head_size)
        return self.num_value_heads * (with_state + with_chunk)

    def bytes_per_sequence(self, num_speculative_tokens: int) -> int:
        """All layers' states of one sequence: 1 + K copies of the recurrent state and of the tokens that the
        convolution may still need (16 bits each), as vLLM's pages hold them."""
        convolution = self.convolved_width * (self.kernel_size - 1 + num_speculative_tokens) * BYTES_PER_VALUE
        return self.num_layers * (1 + num_speculative_tokens) * (self.state_bytes_per_layer + convolution)
