"""How far rules that look at the drafted token move the emitted token's law away from the target's.

A rule keeps the drafted token x ~ q for verification (k(x) = 1) or drops it, and then the position's
token is drawn from p. The emitted token follows (k = keep decision, kbar = E_q k, r = the kept share
of the rejection mass)

    P(v) = k(v) min(p, q)(v) + r (p - q)+(v) + (1 - kbar) p(v)

and the bias is the total variation between P and p. It is 0 when k does not depend on x. Measured
with full vocabularies, because q, c and p are at hand only where the models are: while a trace is
captured (``rule_biases``), or along text of the target (``bias_along_text.py``). Derivation and
meaning: docs/losslessness.md.
"""

import torch
from torch import Tensor

from svsim.trace_capture.sampling import at, ratio_capped

# rule name -> (signal, keep the token iff signal >= threshold); similarity is the control: bias 0
RULES = {
    "companion_accept>=0.3": ("companion_accept", 0.3),
    "companion_accept>=0.6": ("companion_accept", 0.6),
    "companion_accept>=0.9": ("companion_accept", 0.9),
    "draft_prob>=0.2": ("draft_prob", 0.2),
    "draft_prob>=0.5": ("draft_prob", 0.5),
    "similarity>=0.6": ("similarity", 0.6),
}


def displacement(p: Tensor, q: Tensor, keep: Tensor) -> Tensor:
    """P - p [..., V]: the emitted law minus the target's; p, q [..., V], ``keep`` 0/1 [..., V].

    With a rule that keeps everything, or nothing, the result is 0 up to rounding.
    """
    surplus, rejected = (p - q).clamp_min(0.0), (q - p).clamp_min(0.0)
    kept = (keep * q).sum(-1, keepdim=True)
    recovered = (keep * rejected).sum(-1, keepdim=True) / rejected.sum(-1, keepdim=True).clamp_min(1e-38)
    return keep * torch.minimum(p, q) + recovered * surplus - kept * p


def total_variation(p: Tensor, q: Tensor, keep: Tensor) -> Tensor:
    """Total variation [...] between the emitted law and p."""
    return 0.5 * displacement(p, q, keep).abs().sum(-1)


def drafted_share(p: Tensor, q: Tensor, keep: Tensor, tokens: Tensor) -> Tensor:
    """Probability [...] that an emitted ``tokens`` [...] was drafted, kept and accepted: k min(p, q) / P."""
    accepted = at(keep * torch.minimum(p, q), tokens)
    return ratio_capped(accepted, at(p + displacement(p, q, keep), tokens))


def rules_with(has_companion: bool) -> tuple[str, ...]:
    """The rules that can be measured, in order."""
    return tuple(rule for rule, (signal, _) in RULES.items() if has_companion or signal == "draft_prob")


def signals_of(q: Tensor, c: Tensor | None) -> dict[str, Tensor]:
    """What thresholds look at, for every token that may be drafted: [..., V], or [..., 1] if all share it."""
    if c is None:
        return {"draft_prob": q}
    return {
        "companion_accept": ratio_capped(c, q),
        "draft_prob": q,
        "similarity": torch.minimum(q, c).sum(-1, keepdim=True),
    }


def rule_biases(p: Tensor, q: Tensor, c: Tensor | None) -> Tensor:
    """Total variation of every rule of ``rules_with``, float32 [..., R]."""
    values = signals_of(q, c)
    rules = [RULES[rule] for rule in rules_with(c is not None)]
    kept = [(values[signal] >= threshold).float() for signal, threshold in rules]
    return torch.stack([total_variation(p, q, keep.expand_as(q)) for keep in kept], -1)
