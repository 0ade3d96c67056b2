"""Constant acceptance meets the closed form within three standard errors; TD emits one token a step."""

import numpy as np
import pytest
from support.small_traces import StairLatency, independent_trace

import svsim
from svsim.speculation_math import constant_acceptance_tokens

NUM_TOKENS = 200_000


@pytest.mark.parametrize("accept_prob", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("k", [1, 4, 7])
def test_tokens_per_step_at_constant_acceptance(accept_prob, k):
    trace = independent_trace(
        10, 8, seed=k, accept_prob=accept_prob, output_tokens=(NUM_TOKENS // 10, NUM_TOKENS // 10 + 1)
    )
    table = svsim.replay(trace, methods=[f"sd:k={k}"], batch_sizes=[2], latency=StairLatency())
    row = table.rows[0]
    expected = constant_acceptance_tokens(accept_prob, k)
    # accepted drafts of independent steps: variance of min(Geometric, k)
    lengths = np.arange(k + 1)
    law = np.append((1 - accept_prob) * accept_prob ** lengths[:-1], accept_prob**k)
    spread = np.sqrt(law @ lengths**2 - (law @ lengths) ** 2)
    distinct_steps = NUM_TOKENS / expected
    assert row.mean_acceptance_length == pytest.approx(expected, abs=3 * spread / np.sqrt(distinct_steps))
    assert row.mean_verification_length == k


def test_target_only_emits_one_token_per_step():
    row = svsim.replay(independent_trace(), methods=["td"], batch_sizes=[4], latency=StairLatency()).rows[0]
    assert row.mean_acceptance_length == 1
    assert row.mean_verification_length == 0
    assert row.draft_acceptance_rate is None and row.verified_acceptance_rate is None
    assert row.speedup_vs_td == 1
    assert row.goodput_tok_s == pytest.approx(4 / row.step_time_s, rel=1e-12)


def test_oracle_never_verifies_a_rejected_token_and_bounds_every_length():
    trace, latency = independent_trace(60, 6, seed=2), StairLatency(pad=1)
    methods = ["oracle:k=6,draft=exact", *(f"sd:k={k}" for k in range(1, 7))]
    table = svsim.replay(trace, methods=methods, batch_sizes=[1, 8, 32], latency=latency)
    for size in (1, 8, 32):
        rows = {r.label: r for r in table.rows if r.batch_size == size}
        bound = rows.pop("oracle:k=6,draft=exact")
        assert bound.rejected_share_of_verified == 0
        assert bound.goodput_tok_s >= max(r.goodput_tok_s for r in rows.values())
