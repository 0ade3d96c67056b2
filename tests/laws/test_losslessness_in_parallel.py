"""PEARL is lossless, exactly: every draft, coin and recovered token of two processes is summed.

And a recording of coherent chains shows what they do: the joint law of the text and the places where steps
start is that of PRE and POST read off one bit per position.
"""

import numpy as np
import pytest
from support.parallel_processes import replayed, served
from support.tiny_models import TinyModels, joint_law, total_variation
from support.tiny_recordings import distance

from svsim.analytic_model.parallel import walk_parallel
from svsim.analytic_model.walks import Paths
from svsim.decoding.method import Losslessness
from svsim.decoding.presets import parse_method

EXACT = 1e-12
CASES = [(2, 1, 4), (2, 2, 5), (2, 3, 4), (3, 2, 3)]  # vocabulary, gamma, tokens


def models_of(vocabulary, gamma, num_tokens, **kind):
    rng = np.random.default_rng([vocabulary, gamma, num_tokens, len(kind)])
    return TinyModels.random(rng, vocabulary, 1, horizon=num_tokens + 2 * gamma, **kind)


def walk(gamma, is_swapped=False):
    """Starts of steps by the walk of the analytic model; swapped: PRE read as POST and the reverse."""

    def of_recording(bits):
        accepted = np.array(bits, np.uint8)
        rows = Paths(np.array([0]), np.array([len(bits)]), np.array([0]))
        if not is_swapped:
            return walk_parallel(rows, accepted, gamma).visits.starts.tolist()
        here, post, starts = 0, True, []
        while here < len(bits):
            starts.append(here)
            tested, run = gamma if post else 1, 0
            while run < tested and here + run < len(bits) and bits[here + run]:
                run += 1
            post = run == tested
            here += run if post else run + 1
        return starts

    return of_recording


@pytest.mark.parametrize("kind", [{}, {"greedy": True}, {"deterministic_draft": True}], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_the_text_keeps_the_target_s_law(case, kind):
    vocabulary, gamma, num_tokens = case
    models = models_of(*case, **kind)
    law = np.zeros((vocabulary,) * num_tokens)
    for (text, _), prob in served(models, gamma, num_tokens).items():
        law[text] += prob
    assert law.sum() == pytest.approx(1.0, abs=EXACT)
    assert total_variation(law, joint_law(models.p[:num_tokens])) < EXACT
    assert parse_method(f"pearl:gamma={gamma}").lossless is Losslessness.LOSSLESS


@pytest.mark.parametrize("case", CASES)
def test_a_recording_of_coherent_chains_shows_the_two_processes(case):
    _, gamma, num_tokens = case
    models = models_of(*case)
    literal = served(models, gamma, num_tokens)
    assert len({starts for _, starts in literal}) >= min(gamma, 2)
    assert distance(literal, replayed(models, walk(gamma), num_tokens)) < EXACT
    wrong = distance(literal, replayed(models, walk(gamma, is_swapped=True), num_tokens))
    assert (wrong > 0.05) == (gamma > 1)  # the negative control: with gamma = 1 the two states are alike


def test_a_draft_that_is_not_dropped_would_be_lossy():
    """The negative control of the law: what was built on a rejected token must not be verified."""
    models = models_of(2, 2, 4)
    law = np.zeros((2,) * 4)

    def step(text, waiting, prob):
        if len(text) >= 4:
            law[text[:4]] += prob
            return
        before = (*text, *waiting)
        for token in range(2):
            drafted = prob * models.q[len(before)][before][token]
            judged = (*waiting, token)[:1]
            accept = models.after(text).accept_prob(judged, 0)
            step((*text, *judged), (*waiting, token)[1:], drafted * accept)
            for other, r in enumerate(models.after(text).recovered_law(judged, 0)):
                step((*text, other), (*waiting, token)[1:], drafted * (1.0 - accept) * r)

    first = models.q[0]
    for token in range(2):
        step((), (token,), first[token])
    assert law.sum() == pytest.approx(1.0)
    assert total_variation(law, joint_law(models.p[:4])) > 0.01
