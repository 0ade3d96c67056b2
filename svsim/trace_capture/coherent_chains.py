"""The capture loop: one token at a time along speculative sampling's own trajectory.

Words
-----
round      every live sequence moves on by one output position.
chain      the K draft tokens proposed at a position, behind that position's context.
alive      the first token of the last chain was accepted: the chain goes on, shortened by that token
           and extended by ONE freshly drafted token; its scores and coins stay what they were.
fresh      it was rejected (or this is the first position): K new tokens are drafted.
cell       the place (position, depth) of a drawn token in the tables of uniform numbers. A fresh chain
           at position t uses the cells (t, 0..K-1), an extension the cell (t, K-1): no number is ever
           used twice, and none depends on the batch a request ran in.

A chain token is scored once, when it is drafted: its signals, a, its coin and the token that replaces
it if it is the first rejected. Draft and companion see the same context as the target throughout, so a
chain alive at a position was drawn from q given the prefix, whatever the coins were.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from svsim.errors import InputError
from svsim.trace_capture.rule_bias import rule_biases, rules_with
from svsim.trace_capture.sampling import probabilities, propose, verify
from svsim.trace_capture.settings import SamplingSettings
from svsim.trace_capture.signals import OBSERVABLE, OF_DRAFT, TARGET_ONLY, observable_signals, target_truths

# rows of the vocabulary scored at once: bounds the temporaries of the signals to about 1 GiB
MAX_SCORED_ELEMENTS = 2**25
BASE_FIELDS = ("accept_prob", "target_coin")


class ChainModel(Protocol):
    """A causal language model with a cache of B sequences that forgets on demand."""

    def start(self, prompts: Sequence[Sequence[int]], capacity: int) -> None:
        """Read all but the last token of every prompt; at most ``capacity`` tokens per sequence follow."""
        ...

    def logits(self, rows: Tensor, tokens: Tensor, first_position: Tensor) -> Tensor:
        """Logits [N, w, V] after each of ``tokens`` [N, w], read at positions first_position [N] + 0..w-1.

        ``rows`` [N] names the sequences. What was read before at these or later positions is forgotten.
        """
        ...


@dataclass(frozen=True, slots=True)
class Triple:
    """The models of a capture; without a companion its signals are not recorded."""

    target: ChainModel
    draft: ChainModel
    companion: ChainModel | None = None

    @property
    def present(self) -> list[ChainModel]:
        """The models there are."""
        return [model for model in (self.target, self.draft, self.companion) if model is not None]

    def with_companion(self) -> ChainModel:
        """The companion of work that cannot do without one. Raises InputError where there is none."""
        if self.companion is None:
            raise InputError("no companion; expected a third model beside target and draft")
        return self.companion

    @property
    def signal_fields(self) -> tuple[str, ...]:
        """What can be recorded about a drafted token."""
        return (*(OF_DRAFT if self.companion is None else OBSERVABLE), *TARGET_ONLY)


@dataclass(frozen=True, slots=True)
class Uniforms:
    """Numbers in [0, 1) for every cell: float64 [B, T, K] each."""

    drafts: NDArray[np.float64]
    coins: NDArray[np.float64]
    spares: NDArray[np.float64]

    @classmethod
    def draw(
        cls, generators: Sequence[np.random.Generator], num_positions: int, num_speculative_tokens: int
    ) -> "Uniforms":
        """One independent generator per sequence."""
        shape = (3, num_positions, num_speculative_tokens)
        tables = np.stack([generator.random(shape) for generator in generators], axis=1)
        return cls(*tables)

    def first(self, num_sequences: int) -> "Uniforms":
        """The tables of the first sequences only."""
        return Uniforms(self.drafts[:num_sequences], self.coins[:num_sequences], self.spares[:num_sequences])


@dataclass(frozen=True, slots=True)
class ChainRecord:
    """B sequences as recorded; rows beyond ``num_positions[b]`` are unused.

    num_positions [B] int64; emitted_tokens [B, T] int64; num_accepted [B, T] int16;
    columns: name -> float32 [B, T, K]; is_dropped [B]: a model gave NaN, nothing of it may be used;
    bias_total [B, R] and bias_count [B]: sums over positions of each rule's bias.
    """

    num_positions: NDArray[np.int64]
    emitted_tokens: NDArray[np.int64]
    num_accepted: NDArray[np.int16]
    columns: dict[str, NDArray[np.float32]]
    is_dropped: NDArray[np.bool_]
    bias_total: NDArray[np.float64]
    bias_count: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ChainOptions:
    """``with_signals=False`` runs the bare loop (all three models, acceptance only)."""

    sampling: SamplingSettings
    num_speculative_tokens: int
    num_positions: int
    end_tokens: frozenset[int] = frozenset()
    bias_stride: int = 16
    with_signals: bool = True


def record_chains(
    models: Triple,
    prompts: Sequence[Sequence[int]],
    uniforms: Uniforms,
    options: ChainOptions,
    *,
    device: torch.device | None = None,
    on_round: Callable[[int], None] | None = None,
) -> ChainRecord:
    """Generate and record one batch; ``on_round`` is told the positions done so far."""
    capacity = max(map(len, prompts)) + options.num_positions + options.num_speculative_tokens
    for model in models.present:
        model.start(prompts, capacity)
    batch = _Batch(models, prompts, uniforms, options, device or torch.device("cpu"))
    for position in range(options.num_positions):
        if not batch.is_live.any():
            break
        fresh, alive = batch.groups()
        drafted = batch.draft(position, fresh, alive)
        for rows, first_depth, q in ((fresh, 0, drafted.fresh), (alive, batch.num_draft - 1, drafted.alive)):
            if len(rows):
                batch.score(position, rows, first_depth, q)
        batch.record_position(position)
        batch.advance(position)
        if on_round is not None:
            on_round(position + 1)
    return batch.result()


@dataclass(frozen=True, slots=True)
class _Drafted:
    """Draft probabilities of the tokens just drafted: [fresh, K, V] and [alive, 1, V]."""

    fresh: Tensor
    alive: Tensor


class _Batch:
    """The state of B sequences between rounds, all tensors on the device."""

    def __init__(
        self,
        models: Triple,
        prompts: Sequence[Sequence[int]],
        uniforms: Uniforms,
        options: ChainOptions,
        device: torch.device,
    ) -> None:
        num, depth, length = len(prompts), options.num_speculative_tokens, options.num_positions
        self.models, self.options, self.device = models, options, device
        self.num_draft = depth
        self.drafts = torch.as_tensor(uniforms.drafts, device=device)
        # rounded down to 24 bits, so that float32 never turns a coin into 1
        self.coins = torch.as_tensor(
            np.floor(uniforms.coins * 2**24) / 2**24, dtype=torch.float32, device=device
        )
        self.spares = torch.as_tensor(uniforms.spares, device=device)
        self.last_token = torch.tensor([p[-1] for p in prompts], device=device)
        self.context = torch.tensor([len(p) for p in prompts], device=device)
        self.is_live = np.ones(num, np.bool_)
        self.is_alive = np.zeros(num, np.bool_)
        self.is_dropped = np.zeros(num, np.bool_)
        self.num_positions = np.zeros(num, np.int64)
        self.fields = BASE_FIELDS + (models.signal_fields if options.with_signals else ())
        self.chain = torch.zeros(num, depth, dtype=torch.long, device=device)
        self.accepted = torch.zeros(num, depth, dtype=torch.bool, device=device)
        self.recovered = torch.zeros_like(self.chain)
        self.values = torch.zeros(len(self.fields), num, depth, device=device)
        num_rules = len(rules_with(models.companion is not None))
        self.bias = torch.zeros(num, depth, num_rules, device=device)
        self.emitted = torch.zeros(num, length, dtype=torch.long, device=device)
        self.num_accepted = torch.zeros(num, length, dtype=torch.int16, device=device)
        self.columns = torch.zeros(len(self.fields), num, length, depth, device=device)
        self.bias_total = torch.zeros(num, num_rules, dtype=torch.float64, device=device)
        self.bias_count = np.zeros(num, np.int64)

    def groups(self) -> tuple[Tensor, Tensor]:
        """Rows that draft a fresh chain, and rows that extend theirs by one token."""
        fresh = np.flatnonzero(self.is_live & ~self.is_alive)
        alive = np.flatnonzero(self.is_live & self.is_alive)
        return torch.as_tensor(fresh, device=self.device), torch.as_tensor(alive, device=self.device)

    def _inputs(self, rows: Tensor, first_depth: int, last_depth: int) -> tuple[Tensor, Tensor]:
        """Tokens to read so that depths first..last are predicted, and where the first one stands."""
        tokens = torch.cat([self.last_token[rows, None], self.chain[rows, :last_depth]], 1)
        return tokens[:, first_depth:], self.context[rows] + first_depth - 1

    def draft(self, position: int, fresh: Tensor, alive: Tensor) -> _Drafted:
        """Fill the missing chain tokens: K batched passes; extensions join the last one."""
        probs = []
        for depth in range(self.num_draft):
            is_last = depth == self.num_draft - 1
            rows = torch.cat([fresh, alive]) if is_last else fresh
            if len(rows) == 0:
                continue
            logits = self.models.draft.logits(rows, *self._inputs(rows, depth, depth))[:, 0]
            tokens, q = propose(logits, self.drafts[rows, position, depth], self.options.sampling)
            self.chain[rows, depth] = tokens
            probs.append(q)
        last = probs.pop()
        earlier = probs if len(fresh) else []
        return _Drafted(torch.stack([*earlier, last[: len(fresh)]], 1), last[len(fresh) :, None])

    def score(self, position: int, rows: Tensor, first_depth: int, q: Tensor) -> None:
        """Target and companion read the new chain tokens in one pass; verdicts and signals are kept."""
        inputs = self._inputs(rows, first_depth, self.num_draft - 1)
        target_logits = self.models.target.logits(rows, *inputs)
        companion = self.models.companion
        companion_logits = None if companion is None else companion.logits(rows, *inputs)
        chunk = max(1, MAX_SCORED_ELEMENTS // (q.shape[1] * q.shape[2]))
        for start in range(0, len(rows), chunk):
            part = slice(start, start + chunk)
            p = probabilities(target_logits[part], self.options.sampling)
            c = None
            if companion_logits is not None:
                c = probabilities(companion_logits[part], self.options.sampling)
            self._drop_not_a_number(rows[part], (p, q[part], c))
            self._keep(position, rows[part], first_depth, (p, q[part], c))

    def _keep(
        self, position: int, rows: Tensor, first_depth: int, laws: tuple[Tensor, Tensor, Tensor | None]
    ) -> None:
        """Verdicts and signals of the chain tokens from ``first_depth`` on; laws p, q, c [N, w, V]."""
        (p, q, c), depths = laws, slice(first_depth, None)
        tokens, coins = self.chain[rows, depths], self.coins[rows, position, depths]
        spares = self.spares[rows, position, depths]
        verdict = verify(p, q, tokens, self.options.sampling, coins=coins, spares=spares)
        self.accepted[rows, depths] = verdict.accepted
        self.recovered[rows, depths] = verdict.recovered
        found = {"accept_prob": verdict.accept_prob, "target_coin": coins}
        if self.options.with_signals:
            found |= observable_signals(q, c, tokens) | target_truths(p, q, tokens)
            self._measure_bias(position, rows, first_depth, laws)
        self.values[:, rows, depths] = torch.stack([found[name] for name in self.fields])

    def _drop_not_a_number(self, rows: Tensor, laws: tuple[Tensor | None, ...]) -> None:
        """A sequence whose models gave NaN ends here; it is counted and never recorded."""
        is_bad = ~torch.isfinite(torch.stack([law.sum(-1) for law in laws if law is not None])).all(0).all(-1)
        bad = rows[is_bad].cpu().numpy()
        self.is_dropped[bad] = True
        self.is_live[bad] = False

    def _measure_bias(
        self, position: int, rows: Tensor, first_depth: int, laws: tuple[Tensor, Tensor, Tensor | None]
    ) -> None:
        """Bias of the rules at output positions that are multiples of the stride, whatever the depth."""
        offsets = np.arange(self.num_draft - first_depth) + first_depth + position
        picked = torch.as_tensor(np.flatnonzero(offsets % self.options.bias_stride == 0), device=self.device)
        if len(picked):
            p, q, c = laws
            c = None if c is None else c[:, picked]
            self.bias[rows[:, None], first_depth + picked] = rule_biases(p[:, picked], q[:, picked], c)

    def record_position(self, position: int) -> None:
        """Write the row of this position for every live sequence."""
        rows_np = np.flatnonzero(self.is_live)
        rows = torch.as_tensor(rows_np, device=self.device)
        leading = self.accepted[rows].long().cumprod(-1).sum(-1)
        self.num_accepted[rows, position] = leading.to(torch.int16)
        self.columns[:, rows, position] = self.values[:, rows]
        self.num_positions[rows_np] = position + 1
        if self.options.with_signals and position % self.options.bias_stride == 0:
            self.bias_total[rows] += self.bias[rows, 0].double()
            self.bias_count[rows_np] += 1

    def advance(self, position: int) -> None:
        """Emit one token per sequence; keep the rest of an accepted chain, drop a rejected one."""
        accepted = self.accepted[:, 0].clone()
        self.last_token = torch.where(accepted, self.chain[:, 0], self.recovered[:, 0])
        self.emitted[:, position] = self.last_token
        self.context = self.context + 1
        for state in (self.chain, self.accepted, self.recovered, self.bias):
            state[:, :-1] = state[:, 1:].clone()
        self.values[:, :, :-1] = self.values[:, :, 1:].clone()
        # a chain of one token is used up by its acceptance: the next one is fresh either way
        self.is_alive = accepted.cpu().numpy() & (self.num_draft > 1)
        if self.options.end_tokens:
            ended = np.isin(self.last_token.cpu().numpy(), sorted(self.options.end_tokens))
            self.is_live = self.is_live & ~ended

    def result(self) -> ChainRecord:
        """Everything on the host."""
        columns = self.columns.cpu().numpy()
        return ChainRecord(
            self.num_positions,
            self.emitted.cpu().numpy(),
            self.num_accepted.cpu().numpy(),
            {name: columns[i] for i, name in enumerate(self.fields)},
            self.is_dropped,
            self.bias_total.cpu().numpy(),
            self.bias_count,
        )
