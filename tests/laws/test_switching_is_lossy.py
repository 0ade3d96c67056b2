"""The law of a text that two models write in turns, summed over all texts: a negative control."""

from itertools import product

import numpy as np
import pytest

from svsim.decoding.method import Losslessness
from svsim.decoding.presets import parse_method

VOCABULARY, LENGTH = 3, 5


def entropy(law: np.ndarray) -> float:
    return float(-(law * np.log(law)).sum())


def chance(text: tuple[int, ...], tables: tuple[np.ndarray, np.ndarray], spec: str) -> float:
    """Of one text under a method: the model at work, decided by the tokens before, writes each token.

    tables: (large, small) laws of the next token by the last one, [V + 1, V]; row V before the first.
    """
    before = (VOCABULARY, *text[:-1])
    entropies = [np.array([entropy(table[b]) for b in before], np.float32) for table in tables]
    large = parse_method(spec).switching.large_at_work(*entropies, np.array([0, len(text)]))
    laws = [tables[0 if at_work else 1][b][x] for at_work, b, x in zip(large, before, text, strict=True)]
    return float(np.prod(laws))


def bias(tables: tuple[np.ndarray, np.ndarray], spec: str) -> float:
    """Total variation between the law of the texts and the large model's."""
    large = (tables[0], tables[0])
    texts = list(product(range(VOCABULARY), repeat=LENGTH))
    laws = [
        [chance(text, pair, name) for text in texts] for pair, name in ((tables, spec), (large, "ead:tau=0"))
    ]
    assert [sum(law) for law in laws] == pytest.approx([1.0, 1.0])
    return 0.5 * float(np.abs(np.subtract(*laws)).sum())


@pytest.mark.parametrize(
    "spec", ["ead:w=1,dwell=1,tau=0.8", "ead:w=2,dwell=2,tau=1.0", "ead:w=1,dwell=1,start=small"]
)
def test_switching_leaves_the_targets_law(spec):
    assert parse_method(spec).lossless is Losslessness.LOSSY
    biases = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        tables = tuple(rng.dirichlet(np.full(VOCABULARY, 0.6), VOCABULARY + 1) for _ in range(2))
        biases.append(bias(tables, spec))
        # controls: the large model alone (no entropy lies below 0), and two models that are one
        assert bias(tables, "ead:w=1,dwell=1,tau=0") < 1e-12
        assert bias((tables[0], tables[0]), spec) < 1e-12
    assert np.mean(biases) > 0.05
