"""Acceptance of n sibling drafts at one position, by rule: chances that some draft is accepted.

p: the target's probabilities, q: the draft's, over the same tokens. Derived in the words of Towards Optimal
Multi-Draft Speculative Decoding (arXiv 2502.18779), SpecTr (K-SEQ, arXiv 2310.15141) and SpecHub (arXiv
2411.05289); with n = 1 every rule is Leviathan's sum of min(p, q). Plain floats, for vocabularies that are
written down: the two without replacement grow as V^(n-1).
"""

from collections.abc import Callable, Sequence

Law = Sequence[float]


def overlap(p: Law, q: Law) -> float:
    """Sum of min(p, q)."""
    return sum(map(min, p, q))


def rejection_with(p: Law, q: Law, n: int) -> float:
    """Recursive rejection of n independent drafts: each is tried against what is left of the target."""
    left, reached, accepted = list(p), 1.0, 0.0
    for _ in range(n):
        chance = overlap(left, q)
        accepted += reached * chance
        reached *= 1.0 - chance
        left = _normalized([max(a - b, 0.0) for a, b in zip(left, q, strict=True)])
    return accepted


def rejection_without(p: Law, q: Law, n: int) -> float:
    """The same with drafts that differ: a rejected token leaves the draft's law as well."""
    chance = overlap(p, q)
    if n == 1:
        return chance
    left = _normalized([max(a - b, 0.0) for a, b in zip(p, q, strict=True)])
    return chance + sum(
        (b - a) * rejection_without(left, _without(q, token), n - 1)
        for token, (a, b) in enumerate(zip(p, q, strict=True))
        if b > a
    )


def k_sequential(p: Law, q: Law, n: int) -> float:
    """K-SEQ: a draft is accepted with min(1, p / (rho q)), rho such that the target's law comes out."""

    def beta(rho: float) -> float:
        return sum(min(b, a / rho) for a, b in zip(p, q, strict=True))

    low, high = 1.0, float(n)
    for _ in range(80):
        middle = (low + high) / 2
        accepted = 1.0 - (1.0 - beta(middle)) ** n
        low, high = (middle, high) if accepted > middle * beta(middle) else (low, middle)
    return 1.0 - (1.0 - beta((low + high) / 2)) ** n


def greedy(p: Law, q: Law, n: int) -> float:
    """The draft's n - 1 likeliest tokens, and one of the others by its law; SpecHub at n = 2."""
    certain = sorted(range(len(q)), key=lambda token: (-q[token], token))[: n - 1]
    others = _normalized([0.0 if token in certain else b for token, b in enumerate(q)])
    return sum(p[token] if token in certain else min(p[token], others[token]) for token in range(len(p)))


def optimal_with(p: Law, q: Law, n: int) -> float:
    """The most that any rule can accept of n independent drafts."""
    return _optimal(p, q, lambda tokens: sum(q[token] for token in tokens) ** n)


def optimal_without(p: Law, q: Law, n: int) -> float:
    """The most that any rule can accept of n different drafts."""
    return _optimal(p, q, lambda tokens: _all_inside(q, tokens, n))


def _optimal(p: Law, q: Law, all_inside: Callable[[Sequence[int]], float]) -> float:
    """1 + the least P(H) - Q(H) over sets H, Q the chance that all drafts lie in H.

    The least is reached by tokens in order of q / p: the dual of the optimal transport.
    """
    order = sorted(range(len(p)), key=lambda token: -q[token] / p[token] if p[token] > 0 else float("-inf"))
    held, least = 0.0, 0.0
    for size, token in enumerate(order, start=1):
        held += p[token]
        least = min(least, held - all_inside(order[:size]))
    return 1.0 + least


def _all_inside(q: Law, tokens: Sequence[int], n: int) -> float:
    """The chance that n drafts without replacement all lie in ``tokens``."""
    if n == 0:
        return 1.0
    return sum(
        q[token] * _all_inside(_without(q, token), [other for other in tokens if other != token], n - 1)
        for token in tokens
        if q[token] > 0
    )


def _without(q: Law, token: int) -> list[float]:
    return _normalized([0.0 if other == token else b for other, b in enumerate(q)])


def _normalized(law: Law) -> list[float]:
    """The law over its sum; all 0 stays so."""
    total = sum(law)
    return [a / total for a in law] if total > 0 else list(law)


RULES: dict[str, Callable[[Law, Law, int], float]] = {
    "rrs": rejection_with,
    "kseq": k_sequential,
    "bound": optimal_with,
    "rrs-wo": rejection_without,
    "bound-wo": optimal_without,
    "greedy": greedy,
}
