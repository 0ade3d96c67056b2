"""One contract for every acceptance belief: shapes, bounds, determinism, no mutation, odd inputs."""

from collections.abc import Callable

import numpy as np
import pytest

from svsim.decoding.beliefs import (
    AcceptanceBelief,
    BinnedBelief,
    CausalBelief,
    EntropyBound,
    SignalBelief,
    believed_survival,
)
from svsim.decoding.joint_belief import OffsetBelief
from svsim.decoding.selection_rules import TOP_LEVEL
from svsim.errors import InputError

LEARNT: dict[str, Callable[[], AcceptanceBelief]] = {
    "binned": BinnedBelief,
    "binned, one signal": lambda: BinnedBelief(("similarity",)),
    "binned, of entropy": lambda: BinnedBelief(("draft_entropy",), num_rows=64),
    "binned, one cell": lambda: BinnedBelief(num_rows=1, num_columns=1),
    "causal": CausalBelief,
    "offset": OffsetBelief,
    "causal, histogram": lambda: CausalBelief(histogram=True),
}
BELIEFS = LEARNT | {
    "signal": lambda: SignalBelief("draft_prob"),
    "entropy bound": lambda: EntropyBound(0.2),
}
every_belief = pytest.mark.parametrize("new", list(BELIEFS.values()), ids=list(BELIEFS))
every_learnt_belief = pytest.mark.parametrize("new", list(LEARNT.values()), ids=list(LEARNT))


def tokens(belief, shape, seed=0):
    """Signals and acceptance of made-up tokens: uniform S and A, the law of A around A itself."""
    rng = np.random.default_rng(seed)
    similarity, companion_accept = rng.random((2, *shape), np.float32)
    shares = rng.dirichlet(np.ones(8), shape).astype(np.float32)
    columns = {"similarity": similarity, "companion_accept": companion_accept}
    columns |= {"draft_prob": companion_accept, "draft_entropy": -np.log(np.maximum(companion_accept, 1e-3))}
    columns |= {f"companion_accept_bin_{b}": shares[..., b] for b in range(8)}
    accept = (0.1 + 0.4 * similarity + 0.5 * companion_accept).astype(np.float32)
    return tuple(columns[name] for name in belief.signals), accept


def fitted(new, num=5000):
    return new().fit(*tokens(new(), (num,)))


@every_belief
def test_shapes_types_and_bounds(new):
    belief = fitted(new)
    signals, _ = tokens(belief, (200, 6), seed=1)
    for values in (belief.predict(signals), belief.survival(signals)):
        assert values.shape == (200, 6) and values.dtype == np.float32
        assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1
    if not isinstance(belief, EntropyBound):  # it bounds one token at a time
        assert (np.diff(belief.survival(signals), axis=1) <= 0).all()
    levels = believed_survival(belief, signals)
    assert levels.dtype == np.uint16 and levels.max() <= TOP_LEVEL


@every_belief
def test_fit_and_predict_are_deterministic_and_leave_their_input_alone(new):
    signals, accept = tokens(new(), (3000,))
    others, _ = tokens(new(), (50, 4), seed=2)
    kept = [column.copy() for column in (*signals, accept, *others)]
    results = [new().fit(signals, accept).survival(others) for _ in range(2)]
    np.testing.assert_array_equal(*results)
    for column, before in zip((*signals, accept, *others), kept, strict=True):
        np.testing.assert_array_equal(column, before)
        column.setflags(write=False)
    again = new().fit(signals, accept)
    np.testing.assert_array_equal(again.survival(others), again.survival(others))


@every_belief
def test_rows_are_predicted_by_themselves(new):
    belief = fitted(new)
    signals, _ = tokens(belief, (40, 3), seed=3)
    whole = belief.survival(signals)
    for some in (slice(0, 1), slice(7, 29), slice(39, 40)):
        np.testing.assert_array_equal(belief.survival(tuple(s[some] for s in signals)), whole[some])
    assert belief.predict(tuple(s[:0] for s in signals)).shape == (0, 3)


@every_learnt_belief
@pytest.mark.parametrize("value", [0.0, 0.37, 1.0])
@pytest.mark.parametrize("num", [1, 2, 1000])
def test_constant_input_is_believed(new, value, num):
    """However few the tokens: all signals alike, one acceptance."""
    belief, shape = new(), (num,)
    signals = tuple(np.full(shape, 0.125 if "bin" in name else value, np.float32) for name in belief.signals)
    belief.fit(signals, np.full(shape, value, np.float32))
    np.testing.assert_allclose(belief.predict(signals), value, atol=1e-6)


@every_belief
@pytest.mark.parametrize("num", [1, 3, 15, 17, 271, 273])
def test_any_number_of_tokens_can_be_learnt_from(new, num):
    belief = fitted(new, num)
    signals, _ = tokens(belief, (9, 2), seed=4)
    assert np.isfinite(belief.survival(signals)).all()


@every_belief
def test_the_edges_of_the_signals_are_inside(new):
    belief = fitted(new)
    for edge in (0.0, 1.0, np.nextafter(np.float32(1), np.float32(0))):
        signals = tuple(np.full((1, 1), edge, np.float32) for _ in belief.signals)
        assert 0 <= belief.predict(signals)[0, 0] <= 1


@every_learnt_belief
def test_nothing_to_learn_from_is_an_error(new):
    signals, accept = tokens(new(), (0,))
    with pytest.raises(InputError, match="profile"):
        new().fit(signals, accept)


@pytest.mark.parametrize("name", ["binned", "causal", "causal, histogram"])
def test_more_similar_tokens_are_believed_more(name):
    """What is learnt: acceptance rises with S (and A), so belief does, within the noise of its cells."""
    belief = fitted(BELIEFS[name], 50_000)
    rising = np.linspace(0.05, 0.95, 10, dtype=np.float32)
    signals = tuple(
        rising if name == "similarity" else np.full(10, 0.125 if "bin" in name else 0.5, np.float32)
        for name in belief.signals
    )
    assert (np.diff(belief.predict(signals)) > 0).all()


@every_belief
def test_only_what_says_so_learns(new):
    """``needs_profile``: without it the fit, and so the split of the trace, changes nothing."""
    signals, accept = tokens(new(), (3000,))
    probe, _ = tokens(new(), (50, 4), seed=6)
    believed = [new().fit(signals, a).survival(probe) for a in (accept, 1 - accept)]
    assert (believed[0] != believed[1]).any() == new().needs_profile


def test_a_signal_is_taken_at_its_word():
    values = np.array([[0.5, 0.25, 1.5], [-0.5, 0.5, 1.0]], np.float32)
    belief = SignalBelief("draft_prob")
    np.testing.assert_array_equal(belief.predict((values,)), [[0.5, 0.25, 1.0], [0.0, 0.5, 1.0]])
    np.testing.assert_array_equal(belief.survival((values,)), [[0.5, 0.125, 0.125], [0.0, 0.0, 0.0]])


def test_the_entropy_bound_by_hand():
    """1 - sqrt(0.2 H): 1 at certainty, 0.5 at 1.25 nats, 0 from 5 nats on; no product over depth."""
    values = np.array([[0.0, 1.25, 5.0, 9.0, 0.0]], np.float32)
    for bound in (EntropyBound(0.2).predict, EntropyBound(0.2).survival):
        np.testing.assert_allclose(bound((values,)), [[1.0, 0.5, 0.0, 0.0, 1.0]], atol=1e-6)


def test_entropies_beyond_one_nat_are_told_apart():
    """They are read as exp(-H)."""
    rng = np.random.default_rng(0)
    entropy = rng.choice(np.array([0.1, 2.0, 4.0], np.float32), 30_000)
    accept = np.select([entropy == 0.1, entropy == 2.0], [0.9, 0.5], 0.1).astype(np.float32)
    belief = BinnedBelief(("draft_entropy",), num_rows=64).fit((entropy,), accept)
    probe = np.array([[0.1, 2.0, 4.0]], np.float32)
    np.testing.assert_allclose(belief.predict((probe,)), [[0.9, 0.5, 0.1]], atol=2e-3)


def test_a_causal_survival_never_looks_at_its_own_token():
    """Changing A at a depth changes what is believed behind it and nothing else."""
    belief = fitted(CausalBelief)
    (similarity, accept), _ = tokens(belief, (100, 5), seed=5)
    other = accept.copy()
    other[:, 2] = 1.0 - other[:, 2]
    before, after = belief.survival((similarity, accept)), belief.survival((similarity, other))
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any()
    looks = fitted(BinnedBelief)  # the negative control: SV's belief looks
    columns = looks.survival((similarity, accept)), looks.survival((similarity, other))
    assert (columns[0][:, 2] != columns[1][:, 2]).any()


def test_the_histogram_averages_the_belief_over_the_drafts_law():
    """All mass in the bin of A = 0.9 believes as tokens seen there; half and half lies between."""
    belief = fitted(lambda: CausalBelief(histogram=True), 200_000)
    similarity = np.full(1, 0.5, np.float32)

    def predicted(shares):
        bins = [np.full(1, shares.get(b, 0.0), np.float32) for b in range(8)]
        return float(belief.predict((similarity, similarity, *bins))[0])

    low, high = predicted({1: 1.0}), predicted({7: 1.0})
    assert low == pytest.approx(0.1 + 0.4 * 0.5 + 0.5 * 3 / 16, abs=0.02)
    assert high == pytest.approx(0.1 + 0.4 * 0.5 + 0.5 * 15 / 16, abs=0.02)
    assert predicted({1: 0.5, 7: 0.5}) == pytest.approx((low + high) / 2, abs=1e-6)
    assert predicted({1: 0.25, 7: 0.25}) == pytest.approx((low + high) / 2, abs=1e-6)
    alone = fitted(CausalBelief, 200_000).predict((similarity, similarity))
    assert predicted({}) == pytest.approx(float(alone[0]), abs=1e-6)


def by_hand(belief):
    """Eight tokens: rows are halves of S, columns halves of A within a row, one token of prior."""
    columns = {
        "similarity": np.repeat(np.float32([0.2, 0.8]), 4),
        "companion_accept": np.float32([0.1, 0.1, 0.6, 0.6, 0.6, 0.6, 0.9, 0.9]),
    }
    accept = np.float32([0, 0, 1, 0, 1, 1, 1, 1])
    signals = tuple(columns[name] for name in belief.signals)
    return belief.fit(signals, accept).predict(signals)


def test_rows_of_similarity_and_columns_of_companion_acceptance_by_hand():
    """Overall 5/8; rows (1 + 5/8) / 5 and (4 + 5/8) / 5; cells shrunk to their row."""
    low, high = (1 + 5 / 8) / 5, (4 + 5 / 8) / 5
    cells = [(0 + low) / 3, (1 + low) / 3, (2 + high) / 3, (2 + high) / 3]
    believed = by_hand(BinnedBelief(num_rows=2, num_columns=2, prior_count=1.0))
    np.testing.assert_allclose(believed, np.repeat(cells, 2), rtol=1e-6)
    other_way = by_hand(BinnedBelief(("companion_accept", "similarity"), 2, 2, 1.0))
    assert np.abs(other_way - believed).max() > 0.05  # the negative control: rows of A are another belief


def test_svs_belief_has_sixteen_rows_of_similarity():
    belief = fitted(BinnedBelief, num=200_000)
    assert belief.signals == ("similarity", "companion_accept")
    assert len(np.unique(belief.table_, axis=0)) == 16  # [code of S, code of A]
    assert belief.num_cells_ == 16 * 17


def test_seen_tokens_are_judged_by_similarity_and_companion_acceptance():
    """Survival at depth 2: the first token by SV's belief in (S, A), the second by its S alone."""
    signals, accept = tokens(CausalBelief(), (5000,))
    causal, seen = CausalBelief().fit(signals, accept), BinnedBelief().fit(signals, accept)
    alone = BinnedBelief(("similarity",), num_rows=64).fit(signals[:1], accept)
    similarity, companion_accept = chains = tokens(CausalBelief(), (300, 2), seed=1)[0]
    first = alone.predict((similarity,))[:, 0]
    second = alone.predict((similarity,))[:, 1] * seen.predict(chains)[:, 0]
    np.testing.assert_allclose(causal.survival(chains)[:, 0], first, rtol=1e-6)
    np.testing.assert_allclose(causal.survival(chains)[:, 1], np.minimum(first, second), rtol=1e-6)
    swapped = seen.predict((companion_accept, similarity))
    assert np.abs(swapped - seen.predict(chains)).max() > 0.1  # the negative control
