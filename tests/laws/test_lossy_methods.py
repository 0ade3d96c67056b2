"""Exact laws of what lossy methods emit, on tiny models: as far off as their labels say, and no further."""

from itertools import product

import numpy as np
import pytest
from support.small_traces import independent_trace
from support.tiny_models import TinyModels, total_variation

from svsim.decoding.acceptances import At, Judged, OfColumn
from svsim.decoding.method import Losslessness
from svsim.decoding.presets import parse_method
from svsim.trace.token_trace import TargetColumns, TraceMetadata

SIZES = [(2, 1), (2, 2), (3, 2), (4, 2), (2, 3)]
EXACT = 1e-12


def models_of(kind, size, repeat):
    return TinyModels.random(np.random.default_rng([*size, repeat]), *size, **kind)


def emitted_law(models, accept):
    """Of one step that accepts x[d] with accept(a, x, d), completed by the target; rejected: recovered."""
    law = np.zeros_like(models.text_law)
    for draft, chance in zip(models.drafts, models.draft_law, strict=True):
        x, alive = tuple(draft), chance
        for d in range(models.k):
            a = models.accept_prob(x, d)
            passed = accept(a, x, d)
            if a < 1.0:
                for token, prob in enumerate(models.recovered_law(x, d)):
                    add(models, law, (*x[:d], token), alive * (1.0 - passed) * prob)
            alive *= passed
        for token, prob in enumerate(np.atleast_1d(models.p[models.k][*x])):
            add(models, law, (*x, token), alive * prob)
    return law


def add(models, law, tokens, mass):
    """``mass`` on a beginning, completed by the target; a beginning that the target never writes goes on so,
    too."""
    rest = np.ones(())
    for d in range(len(tokens), models.k + 1):
        rest = rest[..., None] * models.p[d][*tokens]
    law[*tokens] += mass * rest


@pytest.mark.parametrize("kind", [{}, {"greedy": True}])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_second_chance_moves_the_law_even_of_a_greedy_target(kind, share):
    """``judge``; ``reflect`` alike, whose fused probabilities accept what was lacking by a share."""
    biases = []
    for size, repeat in product(SIZES, range(4)):
        models = models_of(kind, size, repeat)
        law = emitted_law(models, lambda a, x, d: a + (1 - a) * share)
        assert law.sum() == pytest.approx(1.0)
        biases.append(total_variation(law, models.text_law))
    assert max(biases) < EXACT if share == 0.0 else np.mean(biases) > 0.05
    assert parse_method("judge").lossless is parse_method("reflect").lossless is Losslessness.LOSSY
    for greedy in (True, False):
        about = TraceMetadata(4, "synthetic", "coherent", sampling={"greedy": greedy})
        assert not parse_method("judge:k=4").is_lossless_on(about)
        assert not parse_method("judge:k=4").is_exact_on(about)


@pytest.mark.parametrize(("kind", "least"), [({}, 0.02), ({"greedy": True}, None)])
def test_a_draft_that_was_searched_for_is_lossless_for_a_greedy_target_alone(kind, least):
    """``diffuspec``: of two candidate paths the likelier is verified as if it had been drawn."""
    assert parse_method("diffuspec").lossless is Losslessness.GREEDY_ONLY
    biases = []
    for size, repeat in product(SIZES, range(4)):
        models = models_of(kind, size, repeat)
        law, q = np.zeros_like(models.text_law).ravel(), models.draft_law
        for (i, first), (j, second) in product(enumerate(q), enumerate(q)):
            law += first * second * models.text_given[i if first >= second else j, models.k]
        biases.append(total_variation(law, models.text_law.ravel()))
    assert max(biases) < EXACT if least is None else np.mean(biases) > least


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_runs_of_a_judged_chain_have_their_law(share):
    """P(the first d pass) = prod of a + (1 - a) share, from recorded coins and own ones."""
    rng = np.random.default_rng(1)
    num, k = 60_000, 4
    a = np.broadcast_to(np.array([0.9, 0.5, 0.7, 0.3], np.float32), (num, k))
    accepted = np.logical_and.accumulate(rng.random((num, k)) < a, axis=1).sum(axis=1).astype(np.uint8)
    target = TargetColumns(accepted.astype(np.int16), a)
    found = Judged(share).resolve(target, accepted, k, At("judge"))
    expected = np.cumprod(a[0] + (1 - a[0]) * share)
    reached = np.array([(found >= d).mean() for d in range(1, k + 1)])
    # coins of an output position serve k chains: fewer of them are independent
    np.testing.assert_allclose(reached, expected, atol=4 * np.sqrt(0.25 * k / num))
    if share == 0.0:
        np.testing.assert_array_equal(found, accepted)


def test_a_judge_s_column_is_taken_at_its_word():
    """Verdicts of 0 and 1, greedy: literally, token by token."""
    rng = np.random.default_rng(2)
    a = (rng.random((500, 5)) < 0.6).astype(np.float32)
    accepted = np.cumprod(a, axis=1).sum(axis=1).astype(np.uint8)
    verdict = (rng.random((500, 5)) < 0.5).astype(np.float32)
    target = TargetColumns(accepted.astype(np.int16), a, outcomes={"judge_accept": verdict})
    found = Judged().resolve(target, accepted, 4, At("judge"))
    for t in range(500):
        run = 0
        while run < 4 and (a[t, run] == 1 or verdict[t, run] == 1):
            run += 1
        assert found[t] == run
    assert (found > accepted).any()


def test_a_fused_column_replaces_the_recorded_outcome():
    fused = (np.random.default_rng(3).random((300, 4)) < 0.7).astype(np.float32)
    target = TargetColumns(np.zeros(300, np.int16), outcomes={"fused_accept": fused})
    found = OfColumn("fused_accept").resolve(target, np.zeros(300, np.uint8), 4, At("reflect"))
    np.testing.assert_array_equal(found, np.cumprod(fused, axis=1).sum(axis=1))


def test_columns_that_are_needed_are_named():
    present = ("accept_prob",)
    assert Judged().needs(present) == ("accept_prob", "judge_accept")
    assert Judged(0.2).needs(present) == ("accept_prob",)
    assert independent_trace(1).target.outcomes == {}
