"""The compiled walks against a plain loop over requests, and the thresholds they walk under."""

import numpy as np
import pytest
from support.small_traces import independent_trace

from svsim.analytic_model.walks import (
    ACCEPTED,
    BELIEVED,
    CATCH_UP,
    CONTEXT,
    DRAFTED,
    STEPS,
    VERIFIED,
    Paths,
    contexts_at,
    even_cuts,
    survival_between,
    walk_lengths,
    walk_thresholds,
)
from svsim.decoding.selection_rules import NUM_LEVELS, TOP_LEVEL

K = 5


@pytest.fixture(scope="module")
def walked():
    """Paths, accepted counts and encoded survivals of a small trace."""
    trace = independent_trace(30, K, seed=3)
    rng = np.random.default_rng(0)
    survival = np.minimum.accumulate(rng.integers(0, NUM_LEVELS, (trace.num_positions, K)), axis=1)
    paths = Paths(
        trace.first_position[:-1].copy(),
        trace.first_position[1:].copy(),
        trace.num_prompt_tokens.astype(np.int64) - trace.first_position[:-1],
    )
    return paths, trace.target.num_accepted.astype(np.uint8), survival.astype(np.uint16)


def plain_walk(paths, accepted, length_at, draft_at):
    """Per request a list of (row, step, catch-up tokens, length, drafted, accepted)."""
    walks = []
    for first, end in zip(paths.first.tolist(), paths.end.tolist(), strict=True):
        here, owed, steps = first, 0, []
        while here < end:
            length, drafted = length_at(here, len(steps)), draft_at(here)
            kept = min(int(accepted[here]), length)
            steps.append((here, len(steps), owed, length, drafted, kept))
            owed = owed + 1 if drafted == 0 else int(kept == drafted)
            here += kept + 1
        walks.append(steps)
    return walks


@pytest.mark.parametrize("fewest", [0, 2])
def test_threshold_walks_equal_the_plain_loop(walked, fewest):
    paths, accepted, survival = walked
    cuts = np.array([NUM_LEVELS, 900, 500, 499, 100, 1])
    sums = walk_thresholds(paths, accepted, survival, cuts, fewest)
    for cut, got in zip(cuts, sums, strict=True):
        length = np.maximum((survival >= cut).sum(axis=1), fewest)
        walks = plain_walk(paths, accepted, lambda row, _, g=length: int(g[row]), lambda _: K)
        steps = [step for walk in walks for step in walk]
        assert got[STEPS] == len(steps)
        assert got[VERIFIED] == sum(s[3] for s in steps)
        assert got[CATCH_UP] == sum(s[2] for s in steps)
        assert got[BELIEVED] == sum(int(survival[s[0], : s[3]].sum()) for s in steps)
        assert got[CONTEXT] == sum(
            step[0] + base for walk, base in zip(walks, paths.context_base, strict=True) for step in walk
        )


@pytest.mark.parametrize("num_drafted", [K, None])
def test_length_walks_equal_the_plain_loop(walked, num_drafted):
    paths, accepted, _ = walked
    rng = np.random.default_rng(1)
    lengths = rng.integers(0, K + 1, (2, len(accepted))).astype(np.uint8)
    row_of_step = rng.integers(0, 2, int((paths.end - paths.first).max()))

    def length_at(row, step):
        return int(lengths[row_of_step[step], row])

    if num_drafted is None:  # the draft follows the length: one row of lengths, so that it is known
        row_of_step[:] = 0
    walks = plain_walk(paths, accepted, length_at, lambda row: num_drafted or int(lengths[0, row]))
    visits = walk_lengths(paths, accepted, lengths, num_drafted, row_of_step)
    for got, walk in zip(visits.sums, walks, strict=True):
        assert got[STEPS] == len(walk)
        assert got[VERIFIED] == sum(s[3] for s in walk)
        assert got[DRAFTED] == sum(s[4] for s in walk)
        assert got[ACCEPTED] == sum(s[5] for s in walk)
        assert got[CATCH_UP] == sum(s[2] for s in walk)
    steps = [step for walk in walks for step in walk]
    assert visits.starts.tolist() == [s[0] for s in steps]
    assert visits.catch_up.tolist() == [s[2] for s in steps]
    alive = np.bincount([s[1] for s in steps])
    assert visits.by_step[:, 0].tolist() == alive.tolist()
    assert visits.by_step[:, 1].sum() == visits.sums[:, CONTEXT].sum() == contexts_at(paths, visits).sum()


def test_emitted_tokens_cover_the_output_and_overshoot_by_less_than_a_step(walked):
    paths, accepted, _ = walked
    visits = walk_lengths(paths, accepted, np.full((1, len(accepted)), K, np.uint8), K)
    emitted = visits.sums[:, STEPS] + visits.sums[:, ACCEPTED]
    overshoot = emitted - (paths.end - paths.first)
    assert (overshoot >= 0).all() and (overshoot <= K).all()


def test_cuts_run_from_nothing_to_all_and_are_even_in_tokens(walked):
    _, _, survival = walked
    cuts = even_cuts(survival, 0, 40)
    kept = np.array([(survival >= cut).sum() for cut in cuts])
    assert kept[0] == 0 and kept[-1] == (survival >= 1).sum()
    assert (np.diff(cuts) < 0).all()
    # as even as single levels allow
    assert np.diff(kept).max() <= survival.size / 39 + np.bincount(survival.ravel()).max()


def test_survival_between_cuts_is_the_mean_of_what_each_cut_adds(walked):
    _, _, survival = walked
    cuts = np.array([NUM_LEVELS, 700, 300, 1])
    got = survival_between(survival, cuts)
    assert got[0] == 0
    for i in range(1, len(cuts)):
        added = survival[(survival >= cuts[i]) & (survival < cuts[i - 1])]
        assert got[i] == pytest.approx(added.mean() / TOP_LEVEL)
