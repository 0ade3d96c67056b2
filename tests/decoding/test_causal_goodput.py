"""causal_goodput: what may decide about a token, when it learns, and how little it gives away."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rule_reference import Case, run

from svsim.decoding.selection_rules import (
    _LAW,
    _RESTING,
    MEMORY_SIZE,
    TOP_LEVEL,
    best_goodput,
    causal_goodput,
    encode_survival,
)

B, K = 16, 5


def batches(seed, num, n=B, k=K):
    """Encoded survival of ``num`` steps of n chains, some easy, some hard: uint16 [num, n, K]."""
    rng = np.random.default_rng(seed)
    accept = rng.beta(rng.uniform(0.8, 6.0, (num, n, 1)), 1.2, (num, n, k))
    return encode_survival(np.cumprod(accept, axis=2))


def price(kind, n=B, k=K):
    e = np.arange(n * k + 1)
    padded = {"line": e, "stairs": 16 * -(-(n + e) // 16), "wide stairs": 64 * -(-(n + e) // 64)}
    return 12_000 + 80 * (padded[kind] if kind in padded else e + e**2 // 100)


def experienced(verify_s, seed=1, num=40, n=B, k=K):
    memory = np.zeros(MEMORY_SIZE)
    for levels in batches(seed, num, n, k):
        run(causal_goodput, Case(levels, verify_s, 3_000), memory)
    return memory


def test_before_anything_is_learnt_all_that_is_worth_something_is_verified():
    levels = batches(0, 1)[0]
    levels[0] = 0
    tokens, lengths = run(causal_goodput, Case(levels, price("line"), 0))
    assert lengths == (levels > 0).sum(axis=1).tolist()
    assert lengths[0] == 0 and tokens > B


def decided_by_what_is_behind(rule, memory, verify_s, seed):
    """Places (i, d) at the margin of one step whose verification other survival behind d would change."""
    rng = np.random.default_rng(seed)
    levels = batches(seed, 1)[0]
    lengths = run(rule, Case(levels, verify_s, 3_000), memory.copy())[1]
    margin = [(i, d) for i, g in enumerate(lengths) for d in (g - 1, g) if 0 <= d < K - 1]
    found = []
    for i, depth in margin:
        changed = levels.copy()
        changed[i, depth + 1 :] = -np.sort(-rng.integers(0, int(levels[i, depth]) + 1, K - depth - 1))
        after = run(rule, Case(changed, verify_s, 3_000), memory.copy())[1][i]
        if min(lengths[i], depth + 1) != min(after, depth + 1):
            found.append((i, depth))
    return found


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["line", "stairs", "wide stairs", "convex"]),
    st.integers(0, 3),
    st.integers(0, 2**32 - 1),
)
def test_a_depth_is_decided_without_what_is_behind_it(kind, past, seed):
    """Survival behind a depth may depend on the token drafted there, so it must not decide about it."""
    assert decided_by_what_is_behind(causal_goodput, experienced(price(kind), past), price(kind), seed) == []


def test_hindsight_is_decided_by_what_is_behind():
    """The negative control: best_goodput on stairs, in one step of about thirty."""
    memory = np.zeros(MEMORY_SIZE)
    steps = [decided_by_what_is_behind(best_goodput, memory, price("stairs"), seed) for seed in range(200)]
    assert sum(map(bool, steps)) > 2


@pytest.mark.parametrize("kind", ["line", "stairs", "wide stairs", "convex"])
def test_takes_a_prefix_of_the_greedy_order(kind):
    memory = experienced(price(kind))
    sizes = set()
    for levels in batches(2, 50):
        case = Case(levels, price(kind), 3_000)
        tokens, lengths = run(causal_goodput, case, memory)
        assert tokens == sum(lengths)
        assert lengths == case.greedy_lengths(tokens)
        sizes.add(tokens)
    assert len(sizes) > 1 or kind == "wide stairs"
    if kind.endswith("stairs"):  # what is paid for is used up: only whole stairs (or everything)
        width = 64 if kind.startswith("wide") else 16
        assert all((B + tokens) % width == 0 or tokens > B * K - width for tokens in sizes)


def test_on_a_line_it_is_the_threshold_law():
    """Constant price per token: keep what is worth its seconds at the goodput of the best threshold."""
    memory, steps = np.zeros(MEMORY_SIZE), batches(3, 400)
    for levels in steps:
        tokens, lengths = run(causal_goodput, Case(levels, price("line"), 3_000), memory)
    values = np.sort(steps[-130:].ravel().astype(float))[::-1] / 130  # about the chains it remembers
    value, tokens = B * TOP_LEVEL + np.cumsum(values), np.arange(1, len(values) + 1) / 130
    goodput = (value / (15_000 + 80 * tokens)).max()
    kept = np.arange(K) < np.array(lengths)[:, None]
    assert steps[-1][kept].min() >= 0.98 * goodput * 80
    assert steps[-1][~kept].max() <= 1.02 * goodput * 80


@pytest.mark.parametrize("k", [1, 2, 5])
def test_nothing_is_learnt_from_chains_before_their_positions_are_decided(k):
    """For K steps after a step the law ignores its chains: by then each of their tokens is text or gone."""
    verify_s, usual = price("line", 1, k), batches(4, 1, 1, k)[0]
    for chosen in range(2 * k):
        laws = []
        for unusual in (usual, np.full_like(usual, 7)):
            memory = np.zeros(MEMORY_SIZE)
            rows = [unusual if step == chosen else usual for step in range(4 * k + 1)]
            steps = [run(causal_goodput, Case(r, verify_s, 3_000), memory) and memory.copy() for r in rows]
            laws.append(np.array(steps)[:, _LAW:_RESTING])
        first = int(np.flatnonzero((laws[0] != laws[1]).any(axis=1))[0])  # after this step the law differs
        assert chosen + k <= first < chosen + 2 * k


@pytest.mark.parametrize("kind", ["line", "stairs", "wide stairs", "convex"])
@pytest.mark.parametrize("n", [1, 4, 16, 64])
def test_hindsight_is_worth_little(n, kind):
    """Believed goodput over 600 steps: at most 1 % below the best prefix of every step (2 % for B = 1)."""
    verify_s, memory = price(kind, n), experienced(price(kind, n), 5, 200, n)
    goodput = {}
    for rule in (causal_goodput, best_goodput):
        value = seconds = 0.0
        for levels in batches(6, 600, n):
            tokens, lengths = run(rule, Case(levels, verify_s, 3_000), memory)
            value += n * TOP_LEVEL + levels[np.arange(K) < np.array(lengths)[:, None]].sum()
            seconds += 3_000 + verify_s[tokens]
        goodput[rule] = value / seconds
    assert goodput[causal_goodput] > (0.98 if n == 1 else 0.99) * goodput[best_goodput]


def test_a_batch_that_shrinks_keeps_what_it_learnt():
    """The law is per chain: rows beyond n are not read, and smaller batches plan with the same law."""
    memory = experienced(price("line"))
    for n in range(B, 0, -1):
        case = Case(batches(7, 1, n)[0], price("line", n), 3_000)
        tokens, lengths = run(causal_goodput, case, memory, spare_rows=B - n)
        assert lengths == case.greedy_lengths(tokens)
