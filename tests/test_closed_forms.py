"""Closed forms against loops that play the system, and against each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svsim import closed_forms
from svsim.speculation_math import constant_acceptance_tokens

ALPHAS = st.floats(0.0, 1.0)


@given(ALPHAS, st.integers(0, 40))
def test_tokens_per_round_is_the_one_of_the_array_functions(alpha, k):
    tokens = closed_forms.tokens_per_round(alpha, k)
    assert tokens == pytest.approx(constant_acceptance_tokens(alpha, k), rel=1e-12)
    assert 1.0 <= tokens <= k + 1


@given(st.floats(0.0, 0.999), st.integers(1, 30))
def test_acceptance_is_found_back_from_tokens(alpha, k):
    found = closed_forms.accept_prob_of(closed_forms.tokens_per_round(alpha, k), k)
    assert found == pytest.approx(alpha, abs=1e-6)


def pearl_played(alpha, gamma, num_steps, seed):
    """Tokens per step of a literal loop of two states; its standard error."""
    generator = np.random.default_rng(seed)
    is_post, tokens = False, np.zeros(num_steps)
    for step in range(num_steps):
        if not is_post:  # the target decodes the block's first token alone
            tokens[step] = 1
            is_post = generator.random() < alpha
            continue
        run = 0
        while run < gamma and generator.random() < alpha:
            run += 1
        is_post = run == gamma
        tokens[step] = run + (not is_post)
    batches = tokens.reshape(50, -1).mean(axis=1)
    return batches.mean(), batches.std(ddof=1) / len(batches) ** 0.5


@pytest.mark.parametrize(("alpha", "gamma"), [(0.3, 1), (0.75, 4), (0.9, 9), (0.96, 7)])
def test_pearl_is_the_loop_of_two_states(alpha, gamma):
    mean, error = pearl_played(alpha, gamma, 50_000, seed=gamma)
    assert abs(closed_forms.pearl_tokens_per_step(alpha, gamma) - mean) <= 4 * error


def test_pearl_at_its_ends():
    assert closed_forms.pearl_tokens_per_step(0.0, 5) == 1.0
    assert closed_forms.pearl_tokens_per_step(1.0, 5) == 5.0
    assert closed_forms.pearl_post_share(1.0, 5) == 1.0


def test_a_round_of_early_exit_is_one_step_where_it_drafts_for_nothing():
    assert closed_forms.early_exit_round(0, 2, 32, 1.0, 0.5) == pytest.approx(1.0)
    assert closed_forms.early_exit_round(2, 2, 32, 1.0, 0.5) == pytest.approx((3 * 2 + 2 + 30 + 0.5) / 32.5)


@given(st.floats(0.0, 1.0), st.floats(1.0, 64.0))
def test_shares_stay_between_their_ends(share, n):
    assert 1 - share <= closed_forms.parallel_attention_pass(share, n) + 1e-12 <= 1 + 1e-9
    assert n >= closed_forms.switched_cost(share, 1 / n) * n >= 1 - 1e-9
    assert share <= closed_forms.second_chance_accept_prob(share, 0.5) <= 1


def test_a_capped_cache_draft_costs_less_the_larger_the_batch():
    ratios = [closed_forms.capped_cache_ratio(0.1, 20.0, batch) for batch in (1, 8, 64, 512)]
    assert ratios == sorted(ratios, reverse=True)
    assert closed_forms.capped_cache_ratio(1.0, 20.0, 8) == 1.0


def test_operations_of_free_drafts():
    assert closed_forms.operations_factor(0.0, 3, 0.0) == 4.0
    assert closed_forms.operations_factor(1.0, 3, 0.0) == 1.0
