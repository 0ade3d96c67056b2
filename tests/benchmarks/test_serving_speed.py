"""Speed of one replica of the serving loop, by CPU time: arrivals, chunks, blocks and accounts too."""

import time

import numpy as np
import pytest
from support.serving_runs import HORIZON_S, SmallServer, small_trace

from svsim.serving.state import NUM_SEQUENCE_STEPS, NUM_STEPS

NUM_OUTPUT, NUM_PROMPT = 400, 200


@pytest.mark.parametrize("batch_size", [1, 8, 64, 256])
@pytest.mark.parametrize("spec", ["td", "sd:k=5", "sv:k=7"])
def test_one_replica(benchmark, figure, spec, batch_size):
    """A queue that is never empty, so that the batch is full."""
    server = SmallServer(spec, small_trace(), max_num_seqs=batch_size, max_num_batched_tokens=2048)
    num_requests = 100 * (20 if batch_size > 8 else 1) + 4 * batch_size
    requests = server.requests(np.zeros(num_requests), NUM_PROMPT, NUM_OUTPUT)
    seconds, counters = [], []

    def run():
        replica, coming = server.replica(), requests.copy()
        begun = time.process_time()
        replica.advance(coming, HORIZON_S)
        seconds.append(time.process_time() - begun)
        counters.append(replica.replica.counters)

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    steps, sequence_steps = counters[-1][NUM_STEPS], counters[-1][NUM_SEQUENCE_STEPS]
    target = ">= 200 k steps/s" if batch_size <= 64 else ">= 15 M sequence-steps/s"
    figure(
        f"serving {spec} batch {batch_size}",
        f"{steps / min(seconds) / 1e3:.0f} k steps/s, {sequence_steps / min(seconds) / 1e6:.1f} M seq",
        target,
    )
