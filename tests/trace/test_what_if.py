"""What-ifs of a trace: the mean that was asked for, draws that follow the recorded ones, labels."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from support.small_traces import independent_trace

import svsim
from svsim.errors import InputError
from svsim.trace.token_trace import TargetColumns
from svsim.trace.what_if import mean_acceptance, mean_context, shifted, with_acceptance, with_context

LLAMA70B = Path(__file__).resolve().parents[2] / "traces" / "llama70b.parquet"
TRACE = independent_trace(200, 4, seed=3)
WITHOUT = replace(TRACE, target=TargetColumns(TRACE.target.num_accepted))
POLAR = replace(
    TRACE,
    target=TargetColumns(TRACE.target.num_accepted, (TRACE.target.accept_prob > 0.6).astype(np.float32)),
)


@pytest.mark.parametrize("asked", [0.1, 0.4, 0.8, 0.97])
@pytest.mark.parametrize("trace", [TRACE, WITHOUT], ids=["probabilities", "coins only"])
def test_the_first_draft_token_has_the_mean_that_was_asked_for(trace, asked):
    made = with_acceptance(trace, asked)
    share = float((made.target.num_accepted > 0).mean())
    error = np.sqrt(asked * (1 - asked) / trace.num_positions)
    assert abs(share - asked) < 4 * error
    if trace is TRACE:
        assert mean_acceptance(made) == pytest.approx(asked, abs=1e-6)
    else:
        assert made.target.accept_prob is None


@pytest.mark.parametrize("trace", [TRACE, WITHOUT, POLAR], ids=["probabilities", "coins only", "polar"])
def test_chains_never_get_shorter_as_acceptance_rises(trace):
    levels = [with_acceptance(trace, a).target.num_accepted for a in (0.2, 0.5, 0.8, 0.95)]
    for lower, higher in pairwise(levels):
        assert (lower <= higher).all()
        assert (lower < higher).any()


def test_draws_have_the_law_of_the_new_probabilities():
    """Depth by depth among the tokens that are reached: the recorded outcome is not counted twice."""
    made = with_acceptance(TRACE, 0.5)
    accept, count = made.target.accept_prob, made.target.num_accepted
    for depth in range(4):
        reached = count >= depth
        expected, num = accept[reached, depth].mean(), reached.sum()
        seen = (count[reached] > depth).mean()
        assert abs(seen - expected) < 4 * np.sqrt(expected * (1 - expected) / num)


def test_a_small_move_changes_few_draws():
    own = mean_acceptance(TRACE)
    moved = with_acceptance(TRACE, own + 0.01).target.num_accepted
    assert 0 < (moved != TRACE.target.num_accepted).mean() < 0.05


def test_order_of_tokens_is_kept_and_zero_shift_is_nothing():
    a = np.linspace(0, 1, 101)
    assert shifted(a, 0.0) == pytest.approx(a, abs=1e-12)
    for shift in (-3.0, 2.0):
        assert (np.diff(shifted(a, shift)) >= -1e-12).all()


def test_contexts_are_scaled_by_their_prompts_only():
    made = with_context(TRACE, 500.0)
    assert mean_context(made) == pytest.approx(500.0, abs=0.5)
    assert (made.num_output_tokens == TRACE.num_output_tokens).all()
    ratio = made.num_prompt_tokens / TRACE.num_prompt_tokens
    assert np.ptp(ratio) < 0.15 * ratio.mean()


def test_own_values_change_nothing_and_all_others_are_labelled():
    assert with_acceptance(TRACE, mean_acceptance(TRACE)) is TRACE
    assert with_context(TRACE, mean_context(TRACE)) is TRACE
    made = with_context(with_acceptance(TRACE, 0.5), 300.0)
    what_if = made.metadata.extra["what_if"]
    assert what_if["acceptance"] == 0.5 and what_if["context"] == 300.0
    coherent = replace(TRACE, metadata=replace(TRACE.metadata, chains="coherent"))
    assert with_acceptance(coherent, 0.5).metadata.chains == "independent"
    captured = replace(TRACE, metadata=replace(TRACE.metadata, acceptance_kind="captured"))
    assert with_context(captured, 400.0).metadata.acceptance_kind == "reconstructed"


def test_what_no_shift_reaches_is_one_line():
    with pytest.raises(InputError, match="out of reach"):
        with_acceptance(TRACE, 1.0)
    with pytest.raises(InputError, match="outputs alone"):
        with_context(TRACE, 3.0)


def test_rows_of_a_what_if_are_approximate():
    coherent = svsim.load_trace(LLAMA70B).select(np.arange(40))
    before = svsim.replay(coherent, methods="sd:k=3", batch_sizes=4, jobs=1).rows[0]
    after = svsim.replay(with_acceptance(coherent, 0.5), methods="sd:k=3", batch_sizes=4, jobs=1).rows[0]
    assert (before.replay_kind, after.replay_kind) == ("exact", "approximate")
    assert after.goodput_tok_s < before.goodput_tok_s
