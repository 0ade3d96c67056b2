"""What is recorded about a drafted token: signals of draft and companion, truths of the target.

Shapes: V = vocabulary; probabilities [..., V], tokens [...]; every signal is float32 [...].
Entropies are in nats. p = target, q = draft, c = companion; x = the drafted token.

Signals a policy may see: ``draft_prob`` q(x); ``draft_entropy``; ``draft_rank`` (tokens the draft finds
strictly more likely than x); ``similarity`` S = sum min(q, c); ``companion_accept`` A = min(1, c(x)/q(x));
``companion_accept_bin_0`` .. ``_7``: the law of A under q, i.e. sum of q(v) over the tokens v whose
A(v) lies in [b/8, (b+1)/8), with A = 1 in the last bin.
What only the target knows: ``target_overlap`` sum min(q, p); ``target_entropy``; ``target_rank``.
Ranks above ``MAX_RANK`` are recorded as ``MAX_RANK``, up to which float16 counts exactly. The bins are
rounded to 1/256: far below what eight bins resolve, and a fifth of the bytes.
"""

import torch
from torch import Tensor

from svsim.trace.accept_histogram import HISTOGRAM, NUM_BINS
from svsim.trace_capture.sampling import TINY, at, ratio_capped

MAX_RANK = 2048
BIN_UNIT = 1 / 256
OF_DRAFT = ("draft_prob", "draft_entropy", "draft_rank")
OF_COMPANION = ("similarity", "companion_accept", *HISTOGRAM)
OBSERVABLE = OF_DRAFT + OF_COMPANION
TARGET_ONLY = ("target_overlap", "target_entropy", "target_rank")
COLUMN_GROUPS = {"diagnostics": ("draft_rank", "target_entropy", "target_rank"), "histogram": HISTOGRAM}


def entropy(probs: Tensor) -> Tensor:
    """-sum p ln p in nats, [...]."""
    return -(probs * probs.clamp_min(TINY).log()).sum(-1)


def rank(probs: Tensor, tokens: Tensor) -> Tensor:
    """How many tokens are strictly more likely than ``tokens`` (at most MAX_RANK), float32 [...]."""
    return (probs > at(probs, tokens)[..., None]).sum(-1).clamp_max_(MAX_RANK).float()


def observable_signals(q: Tensor, c: Tensor | None, tokens: Tensor) -> dict[str, Tensor]:
    """The signals of draft and companion (None: there is no companion), by name."""
    found = {"draft_prob": at(q, tokens), "draft_entropy": entropy(q), "draft_rank": rank(q, tokens)}
    if c is None:
        return found
    accept = ratio_capped(c, q)
    found |= {"similarity": torch.minimum(q, c).sum(-1), "companion_accept": at(accept, tokens)}
    bins = (accept * NUM_BINS).to(torch.int8).clamp_max_(NUM_BINS - 1)
    rounded = (histogram(q, bins) / BIN_UNIT).round() * BIN_UNIT
    found.update(zip(HISTOGRAM, rounded.unbind(-1), strict=True))
    return found


def histogram(weights: Tensor, bins: Tensor) -> Tensor:
    """Sums of ``weights`` [..., V] by bin number, float32 [..., NUM_BINS]."""
    if weights.is_cuda:
        # no scatter: its atomic additions would make the bytes differ from run to run
        return torch.stack([(weights * (bins == b)).sum(-1) for b in range(NUM_BINS)], -1)
    return weights.new_zeros(*weights.shape[:-1], NUM_BINS).scatter_add_(-1, bins.long(), weights)


def target_truths(p: Tensor, q: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    """What only the target knows about the tokens, by name."""
    return {
        "target_overlap": torch.minimum(q, p).sum(-1),
        "target_entropy": entropy(p),
        "target_rank": rank(p, tokens),
    }
