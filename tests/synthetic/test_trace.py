"""Synthetic traces: coherent chains, honest coins, exact identities, the same bytes."""

from functools import cache

import numpy as np
import pytest

from svsim.errors import InputError
from svsim.speculation_math import constant_acceptance_tokens
from svsim.synthetic import drawing as synthetic_drawing
from svsim.synthetic.settings import LengthLaw, SyntheticSettings, TaskSettings
from svsim.synthetic.trace import constant_acceptance, synthesize
from svsim.trace.measurement import visited_starts

K = 5


@cache
def example(greedy=False):
    tasks = (
        TaskSettings(acceptance=0.8, name="code", output_tokens=LengthLaw(150, 0.5)),
        TaskSettings(acceptance=0.6, name="chat", share=2.0),
    )
    settings = SyntheticSettings(
        tasks, num_requests=320, num_speculative_tokens=K, wrong_prefix_decay=0.3, greedy=greedy
    )
    return synthesize(settings, seed=3, command="made by a test")


def columns(trace):
    target = {"accept_prob": trace.target.accept_prob, "target_overlap": trace.target.target_overlap}
    return {**trace.observable.signals, **target}


def same_columns(one, other):
    both = zip(columns(one).items(), columns(other).values(), strict=True)
    assert all(np.array_equal(values, others) for (_, values), others in both)
    assert np.array_equal(one.target.num_accepted, other.target.num_accepted)


def inner_rows(trace):
    """Rows that are not the last of their request."""
    last = np.zeros(trace.num_positions, bool)
    last[trace.first_position[1:] - 1] = True
    return np.flatnonzero(~last)


@pytest.mark.parametrize("greedy", [False, True])
def test_chains_are_coherent(greedy):
    """After an accepted first token the next chain is the rest of this one, values and coins."""
    trace = example(greedy)
    rows = inner_rows(trace)
    carried = rows[trace.target.num_accepted[rows] > 0]
    for values in columns(trace).values():
        assert np.array_equal(values[carried, 1:], values[carried + 1, :-1])
    here, after = trace.target.num_accepted[carried], trace.target.num_accepted[carried + 1]
    assert np.all(np.where(here == K, after >= K - 1, after == here - 1))


def test_a_fresh_chain_follows_a_rejection():
    trace = example()
    rows = inner_rows(trace)
    rejected = rows[trace.target.num_accepted[rows] == 0]
    q = trace.observable.signals["draft_prob"]
    assert not np.any(q[rejected, 1] == q[rejected + 1, 0])


def test_recorded_coins_accept_with_the_probability_stated():
    """Per depth: the tokens reached are accepted at the rate of their own a, in bands of a."""
    trace = example()
    a, n = trace.target.accept_prob.astype(np.float64), trace.target.num_accepted
    for depth in range(K):
        reached = n >= depth
        excess = (n > depth)[reached] - a[reached, depth]
        for low, high in ((0.0, 0.2), (0.2, 0.8), (0.8, 0.999), (0.999, 1.1)):
            band = (a[reached, depth] >= low) & (a[reached, depth] < high)
            # a token's coin shows at up to K positions
            error = excess[band].std() * np.sqrt(K / max(band.sum(), 1))
            assert abs(excess[band].mean()) < 4.5 * error + 1e-3


def test_signals_do_not_leak_coins():
    """Given a_1, whether x_1 is accepted is unrelated to the signals of the tokens after it."""
    trace = example()
    fresh = np.flatnonzero(np.r_[True, trace.target.num_accepted[:-1] == 0])
    surprise = (trace.target.num_accepted[fresh] > 0) - trace.target.accept_prob[fresh, 0]
    for name, values in trace.observable.signals.items():
        for depth in range(1, K):
            r = np.corrcoef(surprise, values[fresh, depth])[0, 1]
            assert abs(r) < 4 / np.sqrt(len(fresh)), name


@pytest.mark.parametrize(
    ("given", "mean_of"), [("similarity", "companion_accept"), ("target_overlap", "accept_prob")]
)
def test_token_means_are_the_overlaps(given, mean_of):
    """E[A | S] = S and E[a | O] = O, at depth 1 and at the last depth, in bands."""
    found = columns(example())
    for depth in (0, K - 1):
        x, y = (found[name][:, depth].astype(np.float64) for name in (given, mean_of))
        band = np.minimum((x * 12).astype(int), 11)
        for b in range(12):
            excess = (y - x)[band == b]
            assert abs(excess.mean()) < 4.5 * excess.std() / np.sqrt(len(excess)) + 1e-4


def test_tokens_after_a_rejection_are_worse_and_tell_less():
    trace = example()
    a, s, o = (columns(trace)[name] for name in ("accept_prob", "similarity", "target_overlap"))
    n = trace.target.num_accepted[:, None]
    wrong = np.arange(K)[None] > n
    assert a[wrong].mean() < 0.8 * a[:, 0].mean()
    assert np.corrcoef(s[wrong], o[wrong])[0, 1] < np.corrcoef(s[:, 0], o[:, 0])[0, 1] - 0.1


def test_a_greedy_target_accepts_or_not():
    trace = example(greedy=True)
    a = trace.target.accept_prob
    assert set(np.unique(a)) == {0.0, 1.0}
    assert np.array_equal(np.cumprod(a, axis=1).sum(1), trace.target.num_accepted)
    assert trace.metadata.is_greedy


def test_same_seed_same_bytes_whatever_the_batches(monkeypatch):
    again = synthesize(
        SyntheticSettings(num_requests=30, num_speculative_tokens=3, information_gain_bits=0.25), seed=8
    )
    monkeypatch.setattr(synthetic_drawing, "BATCH_VALUES", 20_000)
    same_columns(
        again,
        synthesize(
            SyntheticSettings(num_requests=30, num_speculative_tokens=3, information_gain_bits=0.25), seed=8
        ),
    )


def test_provenance_and_layout():
    trace = example()
    assert (trace.metadata.acceptance_kind, trace.metadata.chains) == ("synthetic", "coherent")
    assert (trace.metadata.seed, trace.metadata.command) == (3, "made by a test")
    assert trace.metadata.extra["settings"]["num_requests"] == 320
    assert trace.num_requests == 320 and len(set(trace.request_ids)) == 320
    assert sum(task == "chat" for task in trace.tasks) == 213
    lengths = trace.num_output_tokens[np.array(trace.tasks) == "code"]
    assert lengths.mean() == pytest.approx(150, rel=0.15)
    for name, values in columns(trace).items():
        assert values.shape == (trace.num_positions, K) and values.dtype == np.float32
        assert values.min() >= 0 and (name == "draft_entropy" or values.max() <= 1)


def test_every_task_gets_a_request():
    tasks = (TaskSettings(0.7, name="often"), TaskSettings(0.7, name="never", share=0.001))
    with pytest.raises(InputError, match="none of 20 requests falls to task never"):
        synthesize(SyntheticSettings(tasks, num_requests=20), seed=0)


@pytest.mark.parametrize("accept_prob", [0.0, 0.3, 0.85, 1.0])
def test_constant_acceptance_meets_the_textbook(accept_prob):
    """Tokens per step of SD(k) over visited starts: (1 - a^(k+1)) / (1 - a)."""
    trace = constant_acceptance(
        accept_prob, num_requests=400, num_output_tokens=300, num_speculative_tokens=6, seed=1
    )
    tokens = trace.target.num_accepted[visited_starts(trace.target.num_accepted, trace.first_position)] + 1
    error = tokens.std() / np.sqrt(len(tokens))
    assert tokens.mean() == pytest.approx(constant_acceptance_tokens(accept_prob, 6), abs=4 * error + 1e-9)
    assert not trace.observable.signals
    assert trace.num_positions == 400 * 300


def test_constant_acceptance_is_coherent_and_may_have_signals():
    trace = constant_acceptance(
        0.7, num_requests=9, num_output_tokens=50, num_speculative_tokens=3, seed=2, with_signals=True
    )
    n, rows = trace.target.num_accepted, inner_rows(trace)
    carried = rows[n[rows] > 0]
    assert np.all(np.where(n[carried] == 3, n[carried + 1] >= 2, n[carried + 1] == n[carried] - 1))
    assert set(trace.observable.signals) == {"similarity", "companion_accept"}
    assert np.all(trace.observable.signals["similarity"] == np.float32(0.7))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"accept_prob": 1.5}, "expected a probability"), ({"num_requests": 0}, "num_requests is 0")],
)
def test_constant_acceptance_refuses(changes, message):
    values = {"accept_prob": 0.5, "num_requests": 1, "num_output_tokens": 1, "num_speculative_tokens": 1}
    with pytest.raises(InputError, match=message):
        constant_acceptance(**{**values, **changes}, seed=0)
