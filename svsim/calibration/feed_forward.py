"""The feed-forward part of a decoder layer: one gated MLP, or a router and a mixture of them.

A mixture really routes: every token picks its k experts, tokens are sorted by expert, and two grouped
matrix products run over the experts that were picked, so exactly their weights are read. Every shape is
fixed by the number of tokens and the sorting stays on the device: a CUDA graph can hold it.

The router reads the token's embedding, not its hidden state: the same product, but tokens choose
independently of each other, so t of them touch about E (1 - (1 - k/E)^t) experts. Hidden states of random
weights share what attention averages over a sequence's context and would crowd onto half as many.

Shapes: N tokens, H hidden, I intermediate, E experts, k experts per token.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from svsim.calibration.fused_ops import FusedOps
from svsim.errors import InputError

# torch runs grouped products of bfloat16 in one kernel on these generations (Hopper, Blackwell); on
# others it asks the host for the group sizes, which a CUDA graph cannot hold
GROUPED_PRODUCT_GENERATIONS = (9, 10)


class FeedForward(Protocol):
    """Hidden states and embeddings of the tokens, [N, H] each -> [N, H]."""

    def __call__(self, x: Tensor, embedded: Tensor, ops: FusedOps) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class DenseMlp:
    """gate_up [2 I, H]; down [H, I]."""

    gate_up: Tensor
    down: Tensor

    def __call__(self, x: Tensor, embedded: Tensor, ops: FusedOps) -> Tensor:
        """down(silu(gate x) * up x)."""
        return functional.linear(ops.gated(functional.linear(x, self.gate_up)), self.down)


@dataclass(frozen=True, slots=True)
class Mixture:
    """router [E, H]; gate_up [E, 2 I, H]; down [E, H, I]; each token goes to ``num_per_token`` experts."""

    router: Tensor
    gate_up: Tensor
    down: Tensor
    num_per_token: int

    def route(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (softmax over the chosen) and numbers of each token's experts: [N, k] each."""
        scores = functional.linear(embedded, self.router).float()
        chosen = scores.topk(self.num_per_token, -1)
        return torch.softmax(chosen.values, -1).to(embedded.dtype), chosen.indices

    def num_touched(self, embedded: Tensor) -> int:
        """Distinct experts that the tokens pick."""
        picked = torch.zeros(len(self.router), dtype=torch.bool, device=embedded.device)
        picked[self.route(embedded)[1].flatten()] = True
        return int(picked.sum())

    def __call__(self, x: Tensor, embedded: Tensor, ops: FusedOps) -> Tensor:
        """Weighted sum of the chosen experts' outputs."""
        weights, experts = self.route(embedded)
        ordered, order = experts.flatten().sort(stable=True)
        numbers = torch.arange(len(self.router), device=x.device)
        ends = torch.searchsorted(ordered, numbers, right=True, out_int32=True)
        rows = x.index_select(0, order // self.num_per_token)
        rows = ops.gated(functional.grouped_mm(rows, self.gate_up.transpose(1, 2), offs=ends))
        rows = functional.grouped_mm(rows, self.down.transpose(1, 2), offs=ends)
        by_token = torch.empty_like(rows).index_copy_(0, order, rows)
        return torch.bmm(weights[:, None], by_token.view(*experts.shape, -1))[:, 0]


def require_grouped_products(name: str, device: torch.device, dtype: torch.dtype) -> None:
    """InputError where a mixture cannot be timed in a CUDA graph."""
    if device.type != "cuda":
        return
    generation, _ = torch.cuda.get_device_capability(device)
    if generation not in GROUPED_PRODUCT_GENERATIONS or dtype != torch.bfloat16:
        raise InputError(
            f"{name}: a mixture of experts is timed in bfloat16 on a Hopper or Blackwell data-centre GPU, "
            f"not in {str(dtype).removeprefix('torch.')} on {torch.cuda.get_device_name(device)}; "
            "take another GPU or a dense model, or price it with `latency` database or roofline"
        )
