"""The statements of docs/losslessness.md, each by exact sums: what is enough, what is needed, examples."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from support.lossless_cases import CASES, COLUMNS
from support.tiny_models import TinyModels, joint_bias, joint_law, total_variation

EXACT = 1e-12
PAGE = Path(__file__).resolve().parents[2] / "docs" / "losslessness.md"


def bias_of_random_lengths(models, chances):
    """Bias when a draft x is verified up to g tokens with probability chances[x, g], [N, K + 1]."""
    law = np.einsum("n,ng,ngy->y", models.draft_law, chances, models.text_given)
    return total_variation(law, models.text_law.ravel())


def reaching(models, chances):
    """P(length >= d | x), [N, K]: column d - 1."""
    return 1.0 - np.cumsum(chances, axis=1)[:, :-1]


def as_lengths(reached):
    """The law of the length [N, K + 1] from P(length >= d | x) [N, K]."""
    padded = np.pad(reached, ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0)))
    return padded[:, :-1] - padded[:, 1:]


def given_prefix(models, values, depth):
    """E[values | x_1 .. x_depth] under the draft's law, [V] * depth; values [N]."""
    grid = (models.vocabulary,) * models.k
    behind = tuple(range(depth, models.k))
    weight = models.draft_law.reshape(grid)
    return (weight * values.reshape(grid)).sum(axis=behind) / weight.sum(axis=behind)


def looks_at_its_token(models, chances):
    """Largest dependence of P(length >= d | x_1 .. x_d) on x_d, over d."""
    reached = reaching(models, chances)
    spreads = [np.ptp(given_prefix(models, reached[:, d], d + 1), axis=-1).max() for d in range(models.k)]
    return max(spreads)


def test_a_coin_that_looks_is_never_lossless():
    """One token, p > 0: unbiased iff the keep probability is the same for every token."""
    for vocabulary, repeat in product((2, 3, 5), range(20)):
        rng = np.random.default_rng([vocabulary, repeat])
        models = TinyModels.random(rng, vocabulary, 1)
        keep = rng.random(vocabulary)
        chances = np.stack([1.0 - keep, keep], axis=1)
        assert bias_of_random_lengths(models, chances) > 1e-4
        chances[:] = chances[0]
        assert bias_of_random_lengths(models, chances) < EXACT


@pytest.mark.parametrize("size", [(2, 2), (3, 2), (2, 3)])
def test_any_rule_that_looks_is_biased_at_any_depth(size):
    """Random laws of the length given the whole draft: all look, all are biased."""
    for repeat in range(20):
        rng = np.random.default_rng([*size, repeat])
        models = TinyModels.random(rng, *size)
        chances = rng.dirichlet(np.ones(size[1] + 1), len(models.drafts))
        assert looks_at_its_token(models, chances) > 0.01
        assert bias_of_random_lengths(models, chances) > 1e-5


def test_a_rule_may_even_look_ahead_if_that_says_nothing_about_the_token():
    """{g >= 1} is decided by x_2, in a way that has the same probability whatever x_1 is: unbiased.

    What counts is P(g >= d | x_1 .. x_d), not which numbers the rule reads.
    """
    for repeat in range(20):
        rng = np.random.default_rng(repeat)
        models = TinyModels.random(rng, 3, 2)
        first = rng.random((3, 3))
        q = models.q[1]
        first *= (0.9 * (q * first).sum(1).min() / (q * first).sum(1))[:, None]
        second = np.full((3, 3), 0.5 * first.min())
        chances = as_lengths(np.stack([first.ravel(), second.ravel()], axis=1))
        assert np.ptp(first, axis=1).min() > 0.01
        assert looks_at_its_token(models, chances) < EXACT
        assert bias_of_random_lengths(models, chances) < EXACT
        first[0] *= 0.5  # token 0 is kept half as often as the others: now the decision tells
        chances = as_lengths(np.stack([first.ravel(), np.zeros(9)], axis=1))
        assert bias_of_random_lengths(models, chances) > 1e-4


def by_hand():
    """p = (1/2, 1/2), q = (3/4, 1/4), c = p: A = (2/3, 1)."""
    p, q = np.array([0.5, 0.5]), np.array([0.75, 0.25])
    return TinyModels([p, np.tile(p, (2, 1))], [q], [p], 1)


def test_the_example_of_the_page():
    models = by_hand()
    np.testing.assert_allclose(models.signals["companion_accept"][:, 0], [2 / 3, 1.0], rtol=1e-6)
    law = models.draft_law @ models.text_given[[0, 1], [0, 1]]
    np.testing.assert_allclose(law.reshape(2, 2).sum(axis=1), [3 / 8, 5 / 8])
    assert models.bias(np.array([0, 1])) == pytest.approx(1 / 8)


def test_each_text_can_be_right_while_two_together_are_not():
    """Each of two sequences is verified iff the OTHER's draft is token 0: texts are lossless one by one."""
    half = np.array([0.5, 0.5])
    models = TinyModels([half, np.tile(half, (2, 1))], [half], [half], 1)
    lengths = np.array([[[int(y == 0), int(x == 0)] for y in range(2)] for x in range(2)])
    assert joint_bias(models, models, lengths) == pytest.approx(1 / 8)
    for mine in range(2):
        chances = np.zeros((2, 2))
        for x, y in product(range(2), repeat=2):
            chances[(x, y)[mine], lengths[x, y, mine]] += 0.5
        assert bias_of_random_lengths(models, chances) < EXACT
    one_by_one = np.zeros((2, 2, 2), np.int64)  # the first always, then the second iff the first was 0
    one_by_one[..., 0], one_by_one[0, :, 1] = 1, 1
    assert joint_bias(models, models, one_by_one) < EXACT


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cases_of_the_page(case, column):
    """Rows that do not look: 0 up to rounding; rows that look, or scan later tokens: biased in the mean."""
    biases = case.biases(column, 8)
    if case.looks == "no" or (case.looks == "later ones" and column == "one draft token"):
        assert biases.max() < EXACT
    else:
        assert biases.mean() > (0.002 if case.looks == "later ones" else 0.01)


def test_drafts_are_followed_by_the_target_itself():
    """The device of the proof: a step's text, completed by the target, is what is compared."""
    models = TinyModels.random(np.random.default_rng(0), 2, 2)
    np.testing.assert_allclose(models.text_law, joint_law(models.p[:3]))
    nothing = models.draft_law @ models.text_given[:, 0]
    np.testing.assert_allclose(nothing, models.text_law.ravel(), atol=EXACT)


def test_numbers_of_the_page():
    """A row of the page's first table, recomputed on as many models: the same to its last digit."""
    case, *_ = (case for case in CASES if case.name == "keep while A >= 0.6")
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    row, *_ = (line for line in lines if line.startswith(f"| {case.name} |"))
    for column, cell in zip(COLUMNS, row.split("|")[3:], strict=False):
        biases = 100 * case.biases(column, 100)
        assert cell.strip() == f"{biases.mean():.1f} ± {biases.std(ddof=1) / np.sqrt(len(biases)):.1f}"
