"""95 % intervals cover the truth about 95 times in 100, on 200 independently drawn traces."""

from support.small_traces import StairLatency, independent_trace

import svsim

NUM_SEEDS = 200
METHODS = ["td", "sd:k=3", "sv:k=3"]


def heterogeneous(num_requests, seed):
    """Requests differ in acceptance and length: the reason to resample requests."""
    return independent_trace(num_requests, 3, seed=seed, heterogeneous=True, output_tokens=(20, 60))


def run(trace):
    table = svsim.replay(trace, methods=METHODS, batch_sizes=[8], latency=StairLatency(pad=4), jobs=1)
    return {row.method: row for row in table.rows}


def test_goodput_and_speedup_intervals_cover():
    truth = run(heterogeneous(6000, seed=10**7))
    covered = {"sd goodput": 0, "sd speedup": 0, "sv goodput": 0, "sv speedup": 0}
    for seed in range(NUM_SEEDS):
        rows = run(heterogeneous(80, seed))
        for name in ("sd", "sv"):
            row, true = rows[name], truth[name]
            covered[f"{name} goodput"] += row.goodput_ci_low <= true.goodput_tok_s <= row.goodput_ci_high
            covered[f"{name} speedup"] += (
                row.speedup_vs_td_ci_low <= true.speedup_vs_td <= row.speedup_vs_td_ci_high
            )
    shares = {name: count / NUM_SEEDS for name, count in covered.items()}
    # three binomial standard errors at 95 % and 200 seeds are 4.6 points
    assert all(0.95 - 0.046 <= share <= 0.95 + 0.046 for share in shares.values()), shares
