"""Speculative decoding on vocabularies so small that every draft, coin and recovered token can be summed.

Words: V tokens, K drafts; x = (x_1 .. x_K) one of the N = V^K possible drafts, in row-major order;
y = (y_1 .. y_{K+1}) the next tokens of the text. A step emits at most K + 1 tokens; shorter steps are
completed by the target itself, so a step is lossless iff y then follows the target's own law.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from svsim.trace.accept_histogram import HISTOGRAM, NUM_BINS


@dataclass(frozen=True)
class TinyModels:
    """Target p, draft q and companion c: p[d][prefix] is the law of token d + 1 after d tokens, [V]*(d + 1).

    k drafts a step; laws reach ``horizon`` tokens, at least K + 1.
    """

    p: list
    q: list
    c: list
    k: int

    @classmethod
    def random(cls, rng, vocabulary, k, *, horizon=None, greedy=False, deterministic_draft=False):
        """Independent Dirichlet laws for p and q after every prefix; c is near p, as a companion is."""
        shapes = [(vocabulary,) * d for d in range(horizon or k + 1)]
        p, q = ([rng.dirichlet(np.ones(vocabulary), s) for s in shapes] for _ in range(2))
        c = [0.6 * a + 0.4 * rng.dirichlet(np.ones(vocabulary), s) for a, s in zip(p, shapes, strict=True)]
        p = [one_hot(a) for a in p] if greedy else p
        q = [one_hot(a) for a in q] if deterministic_draft else q
        return cls(p, q, c, k)

    def after(self, prefix):
        """The models that go on behind a text."""
        rest = ([law[*prefix] for law in laws[len(prefix) :]] for laws in (self.p, self.q, self.c))
        return TinyModels(*rest, self.k)

    @property
    def vocabulary(self):
        return self.p[0].shape[-1]

    @cached_property
    def drafts(self):
        """int64 [N, K]."""
        return np.array(list(product(range(self.vocabulary), repeat=self.k)))

    @cached_property
    def draft_law(self):
        """P(x), [N]."""
        return np.array([np.prod([self.q[d][*x[: d + 1]] for d in range(self.k)]) for x in self.drafts])

    def _per_token(self, of_token):
        """of_token(q, c, token) for every draft and depth, float32 [N, K]."""
        return np.array(
            [
                [of_token(self.q[d][*x[:d]], self.c[d][*x[:d]], x[d]) for d in range(self.k)]
                for x in self.drafts
            ],
            np.float32,
        )

    @cached_property
    def signals(self):
        """What a server sees of every draft, by column name, float32 [N, K] each."""
        bins = {
            name: self._per_token(lambda q, c, _, b=b: _share(q, c, b)) for b, name in enumerate(HISTOGRAM)
        }
        return {
            "draft_prob": self._per_token(lambda q, c, x: q[x]),
            "max_draft_prob": self._per_token(lambda q, c, _: q.max()),
            "draft_entropy": self._per_token(lambda q, c, _: -np.sum(q * np.log(np.maximum(q, 1e-300)))),
            "similarity": self._per_token(lambda q, c, _: np.minimum(q, c).sum()),
            "companion_accept": self._per_token(lambda q, c, x: min(1.0, c[x] / q[x]) if q[x] > 0 else 1.0),
            **bins,
        }

    @cached_property
    def text_law(self):
        """The target's law of y, [V]*(K + 1)."""
        return joint_law(self.p[: self.k + 1])

    def accept_prob(self, x, d):
        """Probability that the target accepts x[d] after x[:d]."""
        p, q = self.p[d][*x[: d + 1]], self.q[d][*x[: d + 1]]
        return min(1.0, p / q) if q > 0 else 1.0

    def recovered_law(self, x, d):
        """Law of the token that replaces a rejected x[d], [V]."""
        surplus = np.maximum(self.p[d][*x[:d]] - self.q[d][*x[:d]], 0.0)
        return surplus / surplus.sum()

    def outcomes(self, x, length):
        """What a step that verifies ``length`` tokens of x can emit: (tokens, probability)."""
        alive = 1.0
        for d in range(length):
            accept = self.accept_prob(x, d)
            if accept < 1.0:
                for token, prob in enumerate(self.recovered_law(x, d)):
                    yield (*x[:d], token), alive * (1.0 - accept) * prob
            alive *= accept
        for token, prob in enumerate(self.p[length][*x[:length]]):
            yield (*x[:length], token), alive * prob

    @cached_property
    def text_given(self):
        """Law of y after verifying g tokens of draft x, [N, K + 1, V^(K + 1)]."""
        laws = np.zeros((len(self.drafts), self.k + 1, *self.text_law.shape))
        for number, x in enumerate(self.drafts):
            for length in range(self.k + 1):
                for tokens, prob in self.outcomes(tuple(x), length):
                    rest = self.text_law[*tokens]
                    if prob > 0.0 and rest.sum() > 0.0:  # else q never drafts x
                        laws[number, length, *tokens] += prob * rest / rest.sum()
        return laws.reshape(*laws.shape[:2], -1)

    def bias(self, lengths):
        """Total variation between the law of y under lengths [N] per draft and the target's."""
        law = self.draft_law @ self.text_given[np.arange(len(self.drafts)), lengths]
        return total_variation(law, self.text_law.ravel())

    def accepted_law(self):
        """P(the target would accept exactly n tokens | x), [N, K + 1]."""
        laws = np.zeros((len(self.drafts), self.k + 1))
        for number, x in enumerate(self.drafts):
            accept = [self.accept_prob(x, d) for d in range(self.k)]
            reached = np.cumprod([1.0, *accept])
            laws[number] = reached * np.append(1.0 - np.array(accept), 1.0)
        return laws


def joint_law(laws):
    """The law of several tokens from the law of each given those before it."""
    law = laws[0]
    for deeper in laws[1:]:
        law = law[..., None] * deeper
    return law


def joint_bias(first, second, lengths):
    """Total variation of two sequences' joint law from the product of their targets' laws.

    lengths: int64 [N1, N2, 2], for every pair of drafts.
    """
    weighted = first.draft_law[:, None, None] * first.text_given
    joint = np.zeros((first.text_law.size, second.text_law.size))
    for other in range(len(second.drafts)):
        chosen = second.text_given[other, lengths[:, other, 1]]
        own = weighted[np.arange(len(first.drafts)), lengths[:, other, 0]]
        joint += second.draft_law[other] * own.T @ chosen
    return total_variation(joint, np.outer(first.text_law, second.text_law))


def total_variation(law, other):
    """Half the sum of absolute differences."""
    return 0.5 * float(np.abs(law - other).sum())


def one_hot(laws):
    """All mass on the most likely token."""
    return (laws == laws.max(axis=-1, keepdims=True)).astype(np.float64)


def _share(q, c, b):
    ratio = np.minimum(1.0, c / np.where(q > 0, q, 1.0))
    return q[np.minimum(np.floor(ratio * NUM_BINS), NUM_BINS - 1) == b].sum()
