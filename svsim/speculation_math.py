"""Pure array functions of speculative decoding.

Words: K draft tokens x_1..x_K are proposed; token d is accepted with probability a_d given that all
before it were; the *survival* w_d = a_1 ... a_d is the probability that depth d is reached and
accepted. Emitted tokens include the recovered or bonus token (vLLM's convention).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def survival(accept_prob: ArrayLike) -> Floats:
    """w[..., d] = product of accept_prob[..., :d + 1]: float64, same shape, never increasing in d."""
    return np.cumprod(np.asarray(accept_prob, np.float64), axis=-1)


def expected_accepted(accept_prob: ArrayLike, verification_length: int) -> Floats:
    """E(N | g) = sum of w_d over d <= g (Speculative Verification, arXiv 2509.24328, section 4)."""
    return survival(accept_prob)[..., :verification_length].sum(axis=-1)


def constant_acceptance_tokens(accept_prob: float, num_speculative_tokens: int) -> float:
    """Emitted tokens per step at constant acceptance: (1 - a^(k+1)) / (1 - a), bonus included.

    Leviathan et al., arXiv 2211.17192, equation 1.
    """
    return float((accept_prob ** np.arange(num_speculative_tokens + 1)).sum())


def binary_entropy_bits(p: ArrayLike) -> Floats:
    """h(p) = -p log2 p - (1 - p) log2(1 - p), 0 at p = 0 and p = 1."""
    p = np.asarray(p, np.float64)
    q = 1.0 - p
    return -(p * np.log2(np.where(p > 0, p, 1.0)) + q * np.log2(np.where(q > 0, q, 1.0)))
