"""Any Hugging Face causal language model as a ``ChainModel``: a cache of B sequences that forgets.

Key and value of a token are stored at the column of its logical position, without padding on the left.
A query sees the columns up to its own position and nothing else, so rejected tokens need no clean-up:
they lie behind every query until they are overwritten.
"""

import hashlib
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from svsim.device.out_of_memory import is_out_of_memory
from svsim.errors import InfeasibleError, InputError

# columns shown to attention come in multiples of this: aligned rows, few distinct shapes
COLUMN_STEP = 16
PREFILL_TOKENS = 256


class PositionCache(Cache):
    """Keys and values [B, heads, capacity, head size] per layer, written at explicit columns."""

    def __init__(self, num_sequences: int, capacity: int) -> None:
        # no layers of the library's own: every method a model calls is defined here
        super().__init__(layers=[])
        self.num_sequences, self.capacity = num_sequences, capacity
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        self.rows, self.columns = torch.empty(0), torch.empty(0)
        self.num_visible, self.is_everything = 0, False

    def aim(self, rows: Tensor, columns: Tensor, num_visible: int) -> None:
        """The next pass is about ``rows`` [N], writes at ``columns`` [N, w], sees the first columns."""
        self.rows, self.columns, self.num_visible = rows, columns, num_visible
        everything = torch.arange(self.num_sequences, device=rows.device)
        self.is_everything = len(rows) == self.num_sequences and torch.equal(rows, everything)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Store [N, heads, w, head size] of one layer; return what the queries may look at."""
        if layer_idx not in self.keys:
            self.keys[layer_idx] = self._empty(key_states)
            self.values[layer_idx] = self._empty(value_states)
        return (
            self._exchange(self.keys[layer_idx], key_states),
            self._exchange(self.values[layer_idx], value_states),
        )

    def _empty(self, states: Tensor) -> Tensor:
        _, num_heads, _, head_size = states.shape
        return states.new_zeros(self.num_sequences, num_heads, self.capacity, head_size)

    def _exchange(self, store: Tensor, states: Tensor) -> Tensor:
        store[self.rows[:, None], :, self.columns] = states.transpose(1, 2)
        visible = store[:, :, : self.num_visible]
        return visible if self.is_everything else visible[self.rows]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Models ask this to number positions; ours are always given explicitly."""
        return 0

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        """Columns of the cache."""
        return self.capacity


class CachedModel:
    """A transformers causal language model that reads chains (see ``coherent_chains.ChainModel``).

    ``vocabulary_size`` cuts the logits: models of one family pad their vocabularies differently.
    """

    def __init__(self, model: Any, vocabulary_size: int) -> None:
        self.model, self.vocabulary_size = model, vocabulary_size
        self.device: torch.device = next(model.parameters()).device
        self.dtype: torch.dtype = next(model.parameters()).dtype
        words = inspect.signature(model.forward).parameters
        self.keeps_last_logits = "logits_to_keep" in words
        # transformers renamed the argument in 5.2x and drops the old name in 5.40
        self.cache_word = "cache" if "cache" in words else "past_key_values"
        self.cache = PositionCache(0, 0)

    def start(self, prompts: Sequence[Sequence[int]], capacity: int) -> None:
        """Empty cache of ``capacity`` tokens per sequence; read the prompts but for their last tokens."""
        capacity = -(-(capacity + 1) // COLUMN_STEP) * COLUMN_STEP
        self.cache = PositionCache(len(prompts), capacity)
        longest = max(map(len, prompts)) - 1
        # behind a short prompt stand zeros: read at columns that its own tokens overwrite later
        padded = torch.zeros(len(prompts), longest, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            padded[row, : len(prompt) - 1] = torch.as_tensor(prompt[:-1])
        padded = padded.to(self.device)
        rows = torch.arange(len(prompts), device=self.device)
        for first in range(0, longest, PREFILL_TOKENS):
            tokens = padded[:, first : first + PREFILL_TOKENS]
            self._forward(rows, tokens, torch.full_like(rows, first), num_logits=1)

    def logits(self, rows: Tensor, tokens: Tensor, first_position: Tensor) -> Tensor:
        """Logits [N, w, V] (the model's own data type) after each token."""
        return self._forward(rows, tokens, first_position, tokens.shape[1])[..., : self.vocabulary_size]

    def digest(self) -> str:
        """A short name for the weights: shape and first values of every parameter."""
        digest = hashlib.blake2b(digest_size=16)
        for name, value in sorted(self.model.named_parameters()):
            head = value.detach().flatten()[:16].float().cpu().numpy()
            digest.update(f"{name}{tuple(value.shape)}".encode() + head.tobytes())
        return digest.hexdigest()

    @torch.inference_mode()
    def _forward(self, rows: Tensor, tokens: Tensor, first_position: Tensor, num_logits: int) -> Tensor:
        positions = first_position[:, None] + torch.arange(tokens.shape[1], device=self.device)
        num_visible = -(-(int(positions.max()) + 1) // COLUMN_STEP) * COLUMN_STEP
        columns = torch.arange(num_visible, device=self.device)
        hidden = columns > positions[:, None, :, None]
        mask = torch.zeros(hidden.shape, dtype=self.dtype, device=self.device)
        mask.masked_fill_(hidden, torch.finfo(self.dtype).min)
        self.cache.aim(rows, positions, num_visible)
        keep = {"logits_to_keep": num_logits} if self.keeps_last_logits else {}
        output = self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            **{self.cache_word: self.cache},
            **keep,
        )
        return output.logits  # type: ignore[no-any-return]


@torch.inference_mode()
def check_reads_chains(cached: CachedModel, name: str) -> None:
    """InputError unless reading in pieces, with rejected tokens in between, gives the plain pass's logits.

    InfeasibleError where memory is too small for even that.

    Guards against architectures that ignore explicit masks or positions, or keep state of their own.
    """
    generator = torch.Generator().manual_seed(0)
    texts = torch.randint(0, cached.vocabulary_size, (2, 12), generator=generator).to(cached.device)
    wrong = torch.randint(0, cached.vocabulary_size, (2, 4), generator=generator).to(cached.device)
    lengths = torch.tensor([5, 8], device=cached.device)
    rows = torch.arange(2, device=cached.device)
    try:
        plain = cached.model(input_ids=texts, use_cache=False).logits[..., : cached.vocabulary_size].float()
        cached.start([texts[r, : lengths[r] + 1].tolist() for r in range(2)], capacity=16)
        cached.logits(rows, wrong, lengths)
        cached.logits(rows[1:], texts[1:, 8:9], lengths[1:])
        tokens = torch.stack([texts[r, lengths[r] : lengths[r] + 4] for r in range(2)])
        # rows in another order than they were started in, as the loop does
        pieces = cached.logits(rows.flip(0), tokens.flip(0), lengths.flip(0)).flip(0).float()
    except Exception as error:  # whatever foreign modelling code raises
        if is_out_of_memory(error):
            raise InfeasibleError(
                f"{name}: not even two short sequences fit into the memory that is left on {cached.device}; "
                "use smaller models or a device with more memory"
            ) from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{name}: this architecture cannot be captured ({reason}); use a causal transformer"
        ) from None
    if torch.isnan(plain).any():
        raise InputError(f"{name}: its logits are not numbers; use another dtype or other weights")
    expected = torch.stack([plain[r, lengths[r] : lengths[r] + 4] for r in range(2)])
    moved = float((pieces - expected).norm() / expected.norm())
    allowed = 1e-3 if cached.dtype == torch.float32 else 5e-2
    if not moved < allowed:
        raise InputError(
            f"{name}: reading this architecture in pieces moves its logits by {moved:.2g} (relative; "
            f"expected below {allowed:g}); it ignores explicit masks or positions: use another model"
        )
