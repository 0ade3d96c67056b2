"""Where a draft stops: array code against a loop over tokens, for every preset that plans by its signals."""

from math import sqrt

import numpy as np
import pytest

from svsim.decoding.draft_stops import companion_filter, entropy_bound, low_confidence, unlikely_path
from svsim.decoding.presets import parse_method


def svip(entropies, c, h):
    """Draft a token, then look at its entropy: continue while sqrt(c H) <= h."""
    drafted = 0
    for entropy in entropies:
        drafted += 1
        if sqrt(c * entropy) > h:
            break
    return drafted


def disco(probs, threshold):
    """Draft a token, then look at its probability: continue while it is at least the threshold."""
    drafted = 0
    for prob in probs:
        drafted += 1
        if prob < threshold:
            break
    return drafted


def dyspec(probs, threshold):
    """As ``disco``, with the product of all probabilities so far."""
    drafted, path = 0, 1.0
    for prob in probs:
        drafted += 1
        path *= prob
        if path < threshold:
            break
    return drafted


LOOPS = [(entropy_bound, svip), (low_confidence, disco), (unlikely_path, dyspec)]


@pytest.mark.parametrize(("stop", "loop"), LOOPS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("k", [1, 2, 7, 40, 255])
def test_equals_a_loop_over_tokens(stop, loop, k):
    rng = np.random.default_rng(k)
    seen = set()
    for _ in range(8):
        if loop is svip:
            signal = rng.exponential(rng.uniform(0.05, 2.0), (60, k)).astype(np.float32)
            constants = {"factor": float(rng.uniform(0.05, 0.5)), "limit": float(rng.uniform(0.1, 0.8))}
        else:
            signal = rng.beta(rng.uniform(0.5, 20), 1.0, (60, k)).astype(np.float32)
            constants = {"threshold": float(rng.uniform(0.0, 0.9))}
        lengths = stop((signal,), **constants)
        assert lengths.dtype == np.uint8 and lengths.shape == (60,)
        assert lengths.tolist() == [loop(row, *constants.values()) for row in signal.tolist()]
        seen |= set(lengths.tolist())
    assert k == 1 or len(seen) > 1


def test_a_signal_on_the_threshold_goes_on():
    """The sources compare strictly; powers of two leave nothing to rounding."""
    half = np.full((1, 3), 0.5, np.float32)
    assert low_confidence((half,), threshold=0.5).tolist() == [3]
    assert low_confidence((half,), threshold=0.51).tolist() == [1]
    assert unlikely_path((half,), threshold=0.25).tolist() == [3]
    assert unlikely_path((half,), threshold=0.26).tolist() == [2]
    ones = np.ones((1, 3), np.float32)
    assert entropy_bound((ones,), factor=0.25, limit=0.5).tolist() == [3]
    assert entropy_bound((ones,), factor=0.25, limit=0.49).tolist() == [1]


def test_svip_stops_where_its_bound_falls_below_its_paper_s_level():
    """sqrt(0.15 H) > 0.3 says the same as 1 - sqrt(0.15 H) < 0.7, and as H > 0.6 nats."""
    entropies = np.array([[0.59, 0.61, 0.1], [0.61, 0.1, 0.1], [0.1, 0.1, 0.1]], np.float32)
    assert parse_method("svip:k=3").selection.plan((entropies,)).tolist() == [2, 1, 3]


@pytest.mark.parametrize("text", ["svip:k=4", "disco:k=4", "dyspec:k=4"])
def test_the_tested_token_stays_and_deeper_ones_have_no_say(text):
    """{length >= d} is decided by the tokens before d: what keeps the target's law."""
    selection = parse_method(text).selection
    assert selection.stops_draft
    rng = np.random.default_rng(0)
    signal = rng.random((500, 4), np.float32) * (2.0 if text.startswith("svip") else 1.0)
    before = selection.plan((signal,))
    assert set(before.tolist()) == {1, 2, 3, 4}
    for depth in range(4):
        other = signal.copy()
        other[:, depth:] = rng.random((500, 4 - depth), np.float32)
        after = selection.plan((other,))
        np.testing.assert_array_equal(np.minimum(before, depth + 1), np.minimum(after, depth + 1))


@pytest.mark.parametrize("accept", [0.0, 0.3, 0.8, 1.0])
def test_the_companion_lets_a_token_pass_with_its_own_acceptance(accept):
    """Lengths follow A^d (1 - A): means within four standard errors."""
    lengths = companion_filter((np.full((200_000, 3), accept, np.float32),))
    for depth in range(1, 4):
        share, expected = np.mean(lengths >= depth), accept**depth
        error = sqrt(expected * (1 - expected) / len(lengths))
        assert share == pytest.approx(expected, abs=4 * error + 1e-12)


def test_the_companion_looks_at_the_token_and_drops_it():
    """Unlike a stop of the draft it may verify nothing; the draft is made in full. Same coins every time."""
    method = parse_method("staged:k=3")
    assert method.uses_companion and not method.stops_draft
    accept = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]], np.float32)
    assert method.selection.plan((accept,)).tolist() == [0, 1, 2, 3]
    mixed = np.random.default_rng(0).random((1000, 3), np.float32)
    np.testing.assert_array_equal(companion_filter((mixed,)), companion_filter((mixed,)))
