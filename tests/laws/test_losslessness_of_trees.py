"""A tree that the prefix decides, verified sibling by sibling: the text keeps the target's law, exactly.

Siblings are tried in order, each drawn with certainty: accepted with chance p(x) of what is left, else taken
out and the rest normalised. That equals drawing y from p and accepting it if it is a sibling, which is how
trees are replayed.
"""

from itertools import product

import numpy as np
import pytest

VOCABULARY, DEPTH = 4, 3


def laws(seed):
    """A target's law behind every text of up to DEPTH tokens."""
    rng = np.random.default_rng(seed)
    texts = [text for d in range(DEPTH + 1) for text in product(range(VOCABULARY), repeat=d)]
    return {text: rng.dirichlet(np.full(VOCABULARY, 0.6)) for text in texts}


def siblings_of(law, tree, text):
    return sorted((t for t in range(VOCABULARY) if (*text, t) in tree), key=lambda t: (-law[text][t], t))


def emitted(law, tree, text=()):
    """{emitted tokens: chance} of one step from a text."""
    found, left, reached = {}, law[text].copy(), 1.0
    for token in siblings_of(law, tree, text):
        chance = left[token] / left.sum() if left.sum() > 0 else 0.0
        for tokens, share in (emitted(law, tree, (*text, token)) if chance > 0 else {}).items():
            found[token, *tokens] = found.get((token, *tokens), 0.0) + reached * chance * share
        reached *= 1.0 - chance
        left[token] = 0.0
    if reached > 0 and left.sum() > 0:
        for token in np.flatnonzero(left):
            found[int(token),] = found.get((int(token),), 0.0) + reached * left[token] / left.sum()
    return found


@pytest.mark.parametrize("seed", range(6))
def test_a_step_emits_by_the_targets_law(seed):
    law, rng = laws(seed), np.random.default_rng(seed)
    tree = {(t,) for t in rng.choice(VOCABULARY, 2, replace=False).tolist()}
    tree |= {(*path, t) for path in list(tree) for t in rng.choice(VOCABULARY, 2, replace=False).tolist()}
    first = np.zeros(VOCABULARY)
    hits = 0.0
    for tokens, chance in emitted(law, tree).items():
        first[tokens[0]] += chance
        path = [np.log(law[tokens[:i]][token]) for i, token in enumerate(tokens)]
        assert chance == pytest.approx(np.exp(sum(path)), rel=1e-12)  # as if drawn token by token
        hits += chance * (len(tokens) - 1)
    np.testing.assert_allclose(first, law[()], atol=1e-14)
    # accepted tokens: the chance of every node to be the text's own
    visited = sum(np.prod([law[path[:i]][t] for i, t in enumerate(path)]) for path in tree)
    assert hits == pytest.approx(visited, rel=1e-12)
