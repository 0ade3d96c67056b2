"""One forward pass to be timed: which sequence computes how many tokens behind which context."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svsim.latency.pass_work import graph_padded

Index = NDArray[np.int64]

# queries of one sequence up to this many share one attention tile; longer ones are prompts
MAX_DECODE_QUERIES = 16


@dataclass(frozen=True, slots=True)
class PassLayout:
    """New tokens of every sequence, all behind the same number of KV tokens.

    num_new_tokens:     per sequence, each at least 1.
    context:            KV tokens of every sequence before this pass.
    """

    num_new_tokens: tuple[int, ...]
    context: int

    @classmethod
    def spread(cls, num_sequences: int, total_tokens: int, context: int) -> "PassLayout":
        """``total_tokens`` as evenly as possible over the sequences, the longer ones first."""
        each, extra = divmod(total_tokens, num_sequences)
        return cls((each + 1,) * extra + (each,) * (num_sequences - extra), context)

    @classmethod
    def skewed(cls, num_sequences: int, longest: int, context: int) -> "PassLayout":
        """Half the sequences verify ``longest`` tokens, the others one: as ragged as it gets."""
        num_long = num_sequences // 2
        return cls((longest,) * num_long + (1,) * (num_sequences - num_long), context)

    @property
    def num_sequences(self) -> int:
        return len(self.num_new_tokens)

    @property
    def total_tokens(self) -> int:
        """New tokens over all sequences."""
        return sum(self.num_new_tokens)

    @property
    def num_kv_tokens(self) -> int:
        """KV tokens read, over all sequences."""
        return self.num_sequences * self.context

    @property
    def longest(self) -> int:
        """Most new tokens of one sequence."""
        return max(self.num_new_tokens)

    @property
    def is_prompt(self) -> bool:
        """Whether the pass reads prompts: many tokens of each sequence and no context."""
        return self.longest > MAX_DECODE_QUERIES

    @property
    def padded_tokens(self) -> int:
        """Rows the captured graph computes (engines pad to the next captured size)."""
        return int(graph_padded(self.total_tokens))

    def places(self) -> tuple[Index, Index]:
        """Sequence and offset in it of every computed row, int64 [padded_tokens] each.

        Padding rows count as sequence ``num_sequences``, offset 0.
        """
        counts = np.array(self.num_new_tokens)
        sequence = np.repeat(np.arange(self.num_sequences), counts)
        offset = np.arange(self.total_tokens) - np.repeat(np.cumsum(counts) - counts, counts)
        padding = np.full(self.padded_tokens - self.total_tokens, self.num_sequences)
        return np.concatenate([sequence, padding]), np.concatenate([offset, np.zeros_like(padding)])
