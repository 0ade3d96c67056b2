"""Multi-head latent attention (MLA; DeepSeek-V2, arXiv 2405.04434): shapes and work.

The cache holds one latent vector and one rotary key per token, shared by all heads. Decoding and
verification attend to it directly (*absorbed*: queries are mapped into the latent space, every head
reads the same vectors); a prompt may instead *expand* it to the keys and values of every head, which
takes fewer operations per query and key but one expansion per cached token.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Sizes of one layer's latent attention.

    query_rank: of the compressed queries, 0 if they are projected in one step; kv_rank: of the cached
    latent; rope_size: of the cached rotary key; nope_size, value_size: of a head's other key part and
    of its value.
    """

    query_rank: int
    kv_rank: int
    rope_size: int
    nope_size: int
    value_size: int

    @property
    def cached_values(self) -> int:
        """Values per token in the cache of a layer, on every GPU."""
        return self.kv_rank + self.rope_size

    def shared_weights(self, hidden_size: int) -> int:
        """Weights of the down projections, which every GPU holds whole."""
        return hidden_size * (self.query_rank + self.cached_values)

    def head_weights(self, hidden_size: int) -> int:
        """Weights per head: query, key and value up projections, output."""
        queries = (self.query_rank or hidden_size) * (self.nope_size + self.rope_size)
        return queries + self.kv_rank * (self.nope_size + self.value_size) + self.value_size * hidden_size

    @property
    def absorbed_flop_per_pair(self) -> int:
        """Per head, query and cached token: scores over the cached vector, sums over the latent."""
        return 2 * (self.cached_values + self.kv_rank)

    @property
    def expanded_flop_per_pair(self) -> int:
        """The same over a head's own keys and values."""
        return 2 * (self.nope_size + self.rope_size + self.value_size)

    @property
    def expansion_flop_per_token(self) -> int:
        """Per head and cached token: its key and value from the latent."""
        return 2 * self.kv_rank * (self.nope_size + self.value_size)
