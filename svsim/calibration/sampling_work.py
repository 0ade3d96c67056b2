"""What follows the logits, per role: the work an engine's sampler does, as one function to time.

target     softmax of every verified row; draft tokens accepted or not; a recovered token for each of
           them and a bonus token per sequence.
draft      softmax of one row per sequence and one token drawn.
companion  softmax of every scored row; S and A of its token.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from svsim.latency.shape import Role


@dataclass(frozen=True, slots=True)
class SamplingBuffers:
    """What a sampler is handed besides logits, for up to N drafted tokens of a vocabulary of V.

    noise [N, V]: exponential; draft_probs [N, V]: q; tokens [N]: drafted; coins [N]: uniform.
    """

    noise: Tensor
    draft_probs: Tensor
    tokens: Tensor
    coins: Tensor

    @classmethod
    def of(cls, num_drafted: int, vocabulary: int, device: torch.device) -> "SamplingBuffers":
        """Random ones."""
        noise = torch.empty(num_drafted, vocabulary, device=device).exponential_()
        return cls(
            noise,
            torch.softmax(torch.randn_like(noise), -1),
            torch.randint(0, vocabulary, (num_drafted,), device=device),
            torch.rand(num_drafted, device=device),
        )

    def first(self, num_drafted: int) -> "SamplingBuffers":
        """Those of the first drafted tokens, as views."""
        return SamplingBuffers(
            self.noise[:num_drafted],
            self.draft_probs[:num_drafted],
            self.tokens[:num_drafted],
            self.coins[:num_drafted],
        )


def sampling_work(
    role: Role,
    num_sequences: int,
    num_rows: int,
    vocabulary: int,
    device: torch.device,
    buffers: SamplingBuffers | None = None,
) -> Callable[[Tensor], Tensor]:
    """The work as a function of logits [num_rows, vocabulary]; ``buffers`` are made now unless given."""
    num_drafted = num_rows - num_sequences if role is Role.TARGET else num_rows
    if buffers is None:
        buffers = SamplingBuffers.of(num_drafted, vocabulary, device)
    given = buffers.first(num_drafted)
    noise, draft_probs, tokens, coins = given.noise, given.draft_probs, given.tokens, given.coins

    def at(probs: Tensor) -> Tensor:
        return probs.gather(-1, tokens[:, None])[:, 0]

    def draw(probs: Tensor) -> Tensor:
        # the exponential race: argmax of p / e picks a token with probability p, without a sort
        return (probs / torch.empty_like(probs).exponential_()).argmax(-1)

    def verify(logits: Tensor) -> Tensor:
        probs = torch.softmax(logits.float(), -1)
        bonus = draw(probs[num_drafted:])
        if num_drafted == 0:
            return bonus
        drafted = probs[:num_drafted]
        accepted = coins < at(drafted) / at(draft_probs)
        recovered = ((drafted - draft_probs).clamp_min_(0.0) / noise).argmax(-1)
        return torch.where(accepted, tokens, recovered)

    def score(logits: Tensor) -> Tensor:
        probs = torch.softmax(logits.float(), -1)
        overlap = torch.minimum(probs, draft_probs).sum(-1)
        return overlap + (at(probs) / at(draft_probs)).clamp_max(1.0)

    def sample(logits: Tensor) -> Tensor:
        return draw(torch.softmax(logits.float(), -1))

    return {Role.TARGET: verify, Role.COMPANION: score, Role.DRAFT: sample}[role]
