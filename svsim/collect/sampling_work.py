"""What follows the logits, per role: the work an engine's sampler does, as one function to time.

target     softmax of every verified row; draft tokens accepted or not; a recovered token for each of
           them and a bonus token per sequence.
draft      softmax of one row per sequence and one token drawn.
companion  softmax of every scored row; S and A of its token.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from svsim.latency.shape import Role


def sampling_work(
    role: Role, num_sequences: int, num_rows: int, vocabulary: int, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """The work as a function of logits [num_rows, vocabulary]; its buffers are made now."""
    num_drafted = num_rows - num_sequences if role is Role.TARGET else num_rows
    noise = torch.empty(num_drafted, vocabulary, device=device).exponential_()
    draft_probs = torch.softmax(torch.randn_like(noise), -1)
    tokens = torch.randint(0, vocabulary, (num_drafted,), device=device)
    coins = torch.rand(num_drafted, device=device)

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
