"""The compiled selection rules against exhaustive search, literal readings and a sort in NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rule_reference import (
    KINDS,
    Case,
    best_by_sorting,
    best_of_all,
    best_of_greedy,
    chains,
    prices,
    run,
    until_the_first_drop,
)

from svsim.decoding.selection_rules import (
    ACCEPTED,
    EMITTED,
    TOP_LEVEL,
    best_goodput,
    decode_survival,
    encode_survival,
    first_drop_goodput,
)


def small_cases(num, objective, min_verify, kinds=KINDS):
    rng = np.random.default_rng(int(objective) * 10 + min_verify)
    for _ in range(num):
        n, k = (int(x) for x in rng.integers(1, 4, 2))
        levels = chains(rng, n, k, int(rng.integers(2, 6)))
        verify_s = prices(rng, kinds[rng.integers(len(kinds))], n, k)
        yield Case(levels, verify_s, int(rng.integers(0, 200)), objective, min_verify)


@pytest.mark.parametrize("min_verify", [0, 1, 2])
@pytest.mark.parametrize("objective", [EMITTED, ACCEPTED])
def test_best_goodput_is_the_best_of_all_prefix_sets(objective, min_verify):
    """In value: nothing beats it; in lengths: the shortest best prefix of the greedy order, ties by place."""
    for case in small_cases(1500, objective, min_verify):
        tokens, lengths = run(best_goodput, case)
        assert tokens == sum(lengths)
        assert lengths == best_of_greedy(case), case
        assert case.goodput(lengths) == best_of_all(case), case


@pytest.mark.parametrize("min_verify", [0, 1, 2])
@pytest.mark.parametrize("objective", [EMITTED, ACCEPTED])
def test_first_drop_is_the_papers_rule_read_literally(objective, min_verify):
    for case in small_cases(1500, objective, min_verify):
        tokens, lengths = run(first_drop_goodput, case)
        assert tokens == sum(lengths)
        assert lengths == until_the_first_drop(case), case


@pytest.mark.parametrize("objective", [EMITTED, ACCEPTED])
def test_first_drop_is_the_best_where_step_time_is_convex(objective):
    for case in small_cases(1500, objective, 0, kinds=("line", "convex", "flat")):
        assert run(first_drop_goodput, case)[1] == run(best_goodput, case)[1], case


def test_the_accepted_objective_never_selects_nothing():
    nothing = Case(np.zeros((3, 2), np.uint16), np.arange(7) + 5, 0, ACCEPTED)
    for rule in (best_goodput, first_drop_goodput):
        assert run(rule, nothing) == (1, [1, 0, 0])
        assert run(rule, Case(nothing.levels, nothing.verify_s, 0, EMITTED)) == (0, [0, 0, 0])


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 9),
    st.integers(0, 3),
    st.sampled_from(["zeros", "ones", "ties", "any"]),
    st.sampled_from(KINDS),
    st.sampled_from([EMITTED, ACCEPTED]),
    st.integers(0, 10),
    st.integers(0, 2**32 - 1),
)
def test_odd_sizes(n, k, spare_rows, values, kind, objective, min_verify, seed):
    """Batches with unused rows, one sequence, one token, all zeros, all ones, min_verify beyond K."""
    rng = np.random.default_rng(seed)
    levels = {
        "zeros": np.zeros((n, k), np.uint16),
        "ones": np.full((n, k), TOP_LEVEL, np.uint16),
        "ties": chains(rng, n, k, 2),
        "any": chains(rng, n, k, 40),
    }[values]
    case = Case(levels, prices(rng, kind, n, k), int(rng.integers(0, 100)), objective, min_verify)
    assert run(best_goodput, case, spare_rows=spare_rows)[1] == best_of_greedy(case)
    assert run(first_drop_goodput, case, spare_rows=spare_rows)[1] == until_the_first_drop(case)


@pytest.mark.parametrize("kind", KINDS)
def test_large_batches_match_a_sort(kind):
    """64 sequences of 7 tokens: 1,000 cases per kind of price."""
    rng = np.random.default_rng(len(kind))
    num, n, k = 1000, 64, 7
    survival = np.cumprod(rng.beta(rng.uniform(0.5, 8, (num, 1, 1)), 1.2, (num, n, k)), axis=2)
    survival[rng.random((num, n, k)) < 0.1] *= 0.0
    levels = encode_survival(np.minimum.accumulate(survival, axis=2))
    verify_s = np.stack([prices(rng, kind, n, k) for _ in range(num)])
    tokens, values = best_by_sorting(levels, verify_s, 300)
    for i in range(num):
        got, lengths = run(best_goodput, Case(levels[i], verify_s[i], 300))
        assert got == sum(lengths) == tokens[i]
        kept = np.arange(k) < np.array(lengths)[:, None]
        assert n * TOP_LEVEL + levels[i][kept].astype(np.int64).sum() == values[i]


@pytest.mark.parametrize(("batch_size", "least_worst_loss"), [(32, 0.10), (64, 0.20)])
def test_first_drop_loses_on_graph_padding(batch_size, least_worst_loss):
    """Where it fails: verification padded to 16 tokens. It stops before a stair that would have paid."""
    rng = np.random.default_rng(batch_size)
    e = np.arange(batch_size * 7 + 1)
    losses = []
    for step_us in (20, 40, 80, 160):
        verify_s = 12_000 + step_us * 16 * -(-(batch_size + e) // 16)
        for _ in range(40):
            accept = rng.beta(3 * rng.random() + 0.5, 1.0, (batch_size, 7))
            case = Case(encode_survival(np.cumprod(accept, axis=1)), verify_s, 3_000)
            first, best = (case.goodput(run(rule, case)[1]) for rule in (first_drop_goodput, best_goodput))
            losses.append(1.0 - float(first / best))
    assert min(losses) >= 0.0
    assert max(losses) > least_worst_loss


def test_survival_codes_round_to_the_nearest_level():
    probs = np.linspace(0, 1, 5001)
    levels = encode_survival(probs)
    assert levels.dtype == np.uint16 and levels[0] == 0 and levels[-1] == TOP_LEVEL
    assert (np.diff(levels.astype(int)) >= 0).all()
    np.testing.assert_allclose(decode_survival(levels), probs, atol=0.5 / TOP_LEVEL + 1e-12)
