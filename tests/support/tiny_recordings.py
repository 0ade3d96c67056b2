"""A step after a step on tiny models: a real server that drafts anew, and the replay of a recording.

Both give the exact law of (text, places where steps start) up to ``num_tokens`` tokens, as a dict. A plan
is a function (text so far, draft x, memory) -> (verification length, told), and told(accepted) is the memory
of the next step; the first one is ``memory``.
"""

from collections import defaultdict
from itertools import product


def served(models, plan, memory, num_tokens):
    """Every step drafts K fresh tokens; what was not verified is thrown away."""
    law = defaultdict(float)

    def step(text, starts, memory, prob):
        if len(text) >= num_tokens:
            law[text[:num_tokens], starts] += prob
            return
        here = models.after(text)
        for x, drafted in zip(here.drafts, here.draft_law, strict=True):
            length, told = plan(text, tuple(x), memory)
            for tokens, emitted in here.outcomes(tuple(x), length):
                if drafted * emitted > 0.0:
                    after = told(len(tokens) - 1)
                    step(text + tokens, (*starts, len(text)), after, prob * drafted * emitted)

    step((), (), memory, 1.0)
    return law


def replayed(models, plan, memory, num_tokens):
    """One recording of coherent chains, every policy walks it: the law of what the replay shows.

    The recording advances token by token: if the first token of the chain is accepted, the next position
    keeps the rest and drafts one token, else it drafts a fresh chain.
    """
    law = defaultdict(float)
    for text, chains, prob in _recordings(models, num_tokens):
        here, starts, now = 0, [], memory
        while here < num_tokens:
            starts.append(here)
            x, accepted = chains[here]
            length, told = plan(text[:here], x, now)
            now = told(min(accepted, length))
            here += min(accepted, length) + 1
        law[text[:num_tokens], tuple(starts)] += prob
    return law


def _recordings(models, num_tokens):
    """(text, [(chain, accepted tokens of it) at every position], probability)."""

    def drafted(text, chain, count):
        """Ways to append ``count`` tokens with coins to a chain of (token, accepted)."""
        if count == 0:
            yield chain, 1.0
            return
        before = text + tuple(token for token, _ in chain)
        q, p = models.q[len(before)][before], models.p[len(before)][before]
        for token, coin in product(range(len(q)), (True, False)):
            accept = min(1.0, p[token] / q[token])
            prob = q[token] * (accept if coin else 1.0 - accept)
            if prob > 0.0:
                for longer, rest in drafted(text, (*chain, (token, coin)), count - 1):
                    yield longer, prob * rest

    def grow(text, chain, chains, prob):
        if len(text) == num_tokens:
            yield text, chains, prob
            return
        accepted = next((d for d, (_, coin) in enumerate(chain) if not coin), len(chain))
        recorded = [*chains, (tuple(token for token, _ in chain), accepted)]
        token, coin = chain[0]
        if coin:
            following = [(token, chain[1:], 1.0)]
        else:
            recovered = models.after(text).recovered_law((token,), 0)
            following = [(t, (), r) for t, r in enumerate(recovered) if r > 0.0]
        for emitted, kept, chance in following:
            longer = (*text, emitted)
            missing = models.k - len(kept)
            for extended, drawn in drafted(longer, kept, missing):
                yield from grow(longer, extended, recorded, prob * chance * drawn)

    for chain, prob in drafted((), (), models.k):
        yield from grow((), chain, [], prob)


def distance(law, other):
    """Total variation of two laws given as dicts."""
    return 0.5 * sum(abs(law.get(key, 0.0) - other.get(key, 0.0)) for key in {*law, *other})
