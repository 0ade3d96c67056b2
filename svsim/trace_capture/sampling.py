"""Probabilities, draws and the acceptance rule, as pure functions on tensors.

Shapes: V = vocabulary; every function works on rows [..., V] of float32 probabilities. p = target,
q = draft, c = companion. Every random number is passed in, so the caller owns reproducibility.

Acceptance rule (Leviathan et al., arXiv 2211.17192): x ~ q is accepted with probability
min(1, p(x) / q(x)); on rejection the recovered token is drawn from norm(max(0, p - q)); the emitted
token then follows p exactly.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from svsim.trace_capture.settings import SamplingSettings

# the smallest normal float32, about
TINY = 1e-38


def probabilities(logits: Tensor, sampling: SamplingSettings) -> Tensor:
    """Full-vocabulary float32 softmax [..., V] after temperature, top-k and top-p, in this order.

    Greedy settings give the temperature-1 softmax without warpers (the convention of the trace
    format). Ties at the k-th logit are all kept, as in transformers.
    """
    logits = logits.float()
    if sampling.greedy:
        return torch.softmax(logits, -1)
    if sampling.temperature != 1.0:
        logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        kth = logits.topk(sampling.top_k, -1).values[..., -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    if sampling.top_p < 1.0:
        logits = _keep_nucleus(logits, sampling.top_p)
    return torch.softmax(logits, -1)


def _keep_nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Keep the smallest set of most likely tokens whose probability reaches ``top_p``."""
    ordered, order = torch.sort(logits, stable=True, dim=-1, descending=True)
    before = torch.softmax(ordered, -1).cumsum(-1).roll(1, -1)
    before[..., 0] = 0.0
    dropped = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, before >= top_p)
    return logits.masked_fill(dropped, -torch.inf)


def draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """Token [...] with probability proportional to ``weights`` [..., V], by inversion of ``uniform`` [...].

    The cumulative sum is float64: in float32 its rounding would exceed the mass of rare tokens.
    """
    cumulative = weights.double().cumsum(-1)
    threshold = uniform.double()[..., None] * cumulative[..., -1:]
    token = torch.searchsorted(cumulative, threshold, right=True)[..., 0]
    return token.clamp_(max=weights.shape[-1] - 1)


def propose(draft_logits: Tensor, uniform: Tensor, sampling: SamplingSettings) -> tuple[Tensor, Tensor]:
    """The draft's token [...] and its probabilities q [..., V]."""
    q = probabilities(draft_logits, sampling)
    return (q.argmax(-1) if sampling.draft_is_deterministic else draw(q, uniform)), q


def at(probs: Tensor, tokens: Tensor) -> Tensor:
    """probs[..., token]: [...]."""
    return probs.gather(-1, tokens[..., None])[..., 0]


def ratio_capped(numerator: Tensor, denominator: Tensor) -> Tensor:
    """min(1, numerator / denominator), and 0 where both are 0."""
    return (numerator / denominator.clamp_min(TINY)).clamp_max_(1.0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The target's answer to drafted tokens, all of shape [...].

    accept_prob: a. accepted: coin < a. recovered: the token emitted instead if this one is the
    first rejected.
    """

    accept_prob: Tensor
    accepted: Tensor
    recovered: Tensor


def verify(
    p: Tensor, q: Tensor, tokens: Tensor, sampling: SamplingSettings, *, coins: Tensor, spares: Tensor
) -> Verdict:
    """Accept or replace ``tokens`` [...] drawn from q [..., V]; ``coins`` and ``spares`` uniform in [0, 1).

    Greedy: accepted iff the target's most likely token. Deterministic draft: the proposal is a point
    mass, so a = p(x) and the recovered token follows p without x.
    """
    if sampling.greedy:
        best = p.argmax(-1)
        accept_prob = (tokens == best).float()
        return Verdict(accept_prob, accept_prob > 0, best)
    if sampling.draft_is_deterministic:
        accept_prob = at(p, tokens)
        residual = p.scatter(-1, tokens[..., None], 0.0)
    else:
        accept_prob = ratio_capped(at(p, tokens), at(q, tokens))
        residual = (p - q).clamp_min_(0.0)
    # p == q up to rounding leaves nothing to recover from; the token is then never needed
    is_empty = residual.sum(-1, keepdim=True) <= 0
    recovered = draw(torch.where(is_empty, p, residual), spares)
    return Verdict(accept_prob, coins < accept_prob, recovered)
