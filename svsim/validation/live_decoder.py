"""Three real models generating text: target-only, fixed length, or lengths chosen step by step.

A static batch: sequences leave when they have their tokens. Draft and companion read the last two tokens of
every sequence at the start of a step, which covers whatever they have not seen; the verification is as wide
as its longest length, rows of shorter ones are read and ignored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from svsim.trace_capture.coherent_chains import Triple
from svsim.trace_capture.sampling import draw, probabilities, propose, verify
from svsim.trace_capture.settings import SamplingSettings
from svsim.trace_capture.signals import observable_signals

Lengths = NDArray[np.int64]
Signals = dict[str, NDArray[np.float32]]
# (signals [n, K] by name, context [n]) -> verification lengths [n]
Plan = Callable[[Signals, Lengths], Lengths]


@dataclass(frozen=True, slots=True)
class LiveText:
    """What a batch generated: tokens [B, T], and per sequence, [B] each, what its steps did."""

    tokens: NDArray[np.int64]
    num_steps: NDArray[np.int64]
    num_accepted: NDArray[np.int64]
    num_verified: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Drafted:
    """Draft tokens [n, K] with their law q [n, K, V]."""

    tokens: Tensor
    q: Tensor


class LiveDecoder:
    """Generates with one method; ``num_speculative_tokens`` 0 is target-only decoding.

    plan: verification lengths from the companion's signals; None verifies everything and runs no companion.
    """

    def __init__(
        self,
        models: Triple,
        sampling: SamplingSettings,
        num_speculative_tokens: int,
        plan: Plan | None,
        device: torch.device,
        seed: int,
    ) -> None:
        self.models, self.sampling, self.plan = models, sampling, plan
        self.num_draft, self.device = num_speculative_tokens, device
        self._random = torch.Generator(device).manual_seed(seed)
        self.text = torch.empty(0)
        self.context = torch.empty(0)

    def start(self, prompts: Sequence[Sequence[int]], num_tokens: int) -> None:
        """Read prompts of at least two tokens."""
        capacity = max(map(len, prompts)) + num_tokens + self.num_draft + 2
        used = [self.models.target]
        if self.num_draft:
            used += [self.models.draft] + [self.models.with_companion()] * (self.plan is not None)
        for model in used:
            model.start(prompts, capacity)
        self.text = torch.zeros(len(prompts), capacity + 1, dtype=torch.long, device=self.device)
        for row, prompt in enumerate(prompts):
            self.text[row, : len(prompt)] = torch.as_tensor(prompt)
        self.context = torch.tensor([len(prompt) for prompt in prompts], device=self.device)

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Sequence[int]], num_tokens: int) -> LiveText:
        """``num_tokens`` tokens for every prompt; what a last step emitted beyond them is cut off."""
        self.start(prompts, num_tokens)
        before = self.context.clone()
        steps, accepted, verified = (np.zeros(len(prompts), np.int64) for _ in range(3))
        while True:
            left = (self.context - before < num_tokens).cpu().numpy()
            if not left.any():
                break
            live = np.flatnonzero(left)
            kept, lengths = self.step(torch.as_tensor(live, device=self.device))
            steps[live] += 1
            accepted[live] += kept
            verified[live] += lengths
        places = before[:, None] + torch.arange(num_tokens, device=self.device)
        return LiveText(self.text.gather(1, places).cpu().numpy(), steps, accepted, verified)

    def step(self, rows: Tensor) -> tuple[Lengths, Lengths]:
        """One step of the sequences ``rows``: accepted and verified draft tokens of each."""
        if self.num_draft == 0:
            return self.verify(rows, None, np.zeros(len(rows), np.int64))
        drafted = self.draft(rows)
        lengths = np.full(len(rows), self.num_draft, np.int64)
        if self.plan is not None:
            lengths = self.plan(self.score(rows, drafted), self.context[rows].cpu().numpy())
        return self.verify(rows, drafted, lengths)

    def draft(self, rows: Tensor) -> Drafted:
        """K passes of the draft."""
        tokens, laws = [], []
        inputs, first = self._last(rows, 2), self.context[rows] - 2
        for _ in range(self.num_draft):
            logits = self.models.draft.logits(rows, inputs, first)[:, -1]
            token, q = propose(logits, self._uniform(len(rows)), self.sampling)
            tokens.append(token)
            laws.append(q)
            first = first + inputs.shape[1]
            inputs = token[:, None]
        return Drafted(torch.stack(tokens, 1), torch.stack(laws, 1))

    def score(self, rows: Tensor, drafted: Drafted) -> Signals:
        """One pass of the companion over the drafted tokens: what a policy may see, float32 [n, K]."""
        inputs = torch.cat([self._last(rows, 2), drafted.tokens[:, :-1]], 1)
        logits = self.models.with_companion().logits(rows, inputs, self.context[rows] - 2)[:, 1:]
        c = probabilities(logits, self.sampling)
        found = observable_signals(drafted.q, c, drafted.tokens)
        return {name: values.cpu().numpy() for name, values in found.items()}

    def verify(self, rows: Tensor, drafted: Drafted | None, lengths: Lengths) -> tuple[Lengths, Lengths]:
        """One pass of the target; emitted tokens are appended to the text."""
        width, inputs = int(lengths.max()), self._last(rows, 1)
        if drafted is not None:
            inputs = torch.cat([inputs, drafted.tokens[:, :width]], 1)
        logits = self.models.target.logits(rows, inputs, self.context[rows] - 1)
        p = probabilities(logits, self.sampling)
        kept = torch.zeros(len(rows), dtype=torch.long, device=self.device)
        bound = torch.as_tensor(lengths, device=self.device)
        bonus = p.argmax(-1) if self.sampling.greedy else draw(p, self._uniform(len(rows), width + 1))
        replacement = bonus.gather(1, bound[:, None])[:, 0]
        if drafted is not None and width:
            tokens, coins, spares = drafted.tokens[:, :width], *self._pair(len(rows), width)
            verdict = verify(
                p[:, :width], drafted.q[:, :width], tokens, self.sampling, coins=coins, spares=spares
            )
            inside = torch.arange(width, device=self.device) < bound[:, None]
            kept = (verdict.accepted & inside).long().cumprod(1).sum(1)
            recovered = verdict.recovered.gather(1, kept.clamp_max(width - 1)[:, None])[:, 0]
            replacement = torch.where(kept < bound, recovered, replacement)
            places = self.context[rows, None] + torch.arange(width, device=self.device)
            self.text[rows[:, None], places] = tokens
        self.text[rows, self.context[rows] + kept] = replacement
        self.context[rows] += kept + 1
        return kept.cpu().numpy(), lengths

    def _last(self, rows: Tensor, num: int) -> Tensor:
        """The last ``num`` tokens of the text, [n, num]."""
        places = self.context[rows, None] - num + torch.arange(num, device=self.device)
        return self.text[rows].gather(1, places)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._random, device=self.device, dtype=torch.float64)

    def _pair(self, *shape: int) -> tuple[Tensor, Tensor]:
        """Coins rounded down to 24 bits, so that float32 never turns one into 1, and spares."""
        coins = (self._uniform(*shape) * 2**24).floor() / 2**24
        return coins.float(), self._uniform(*shape)
