"""Speed of growing trees from columns, once per trace, one thread."""

import numpy as np

from svsim.decoding.trees import PathColumns, donors_of, grow


def test_growing_trees(benchmark, figure):
    """EAGLE-2's tree: 8 levels of 10 nodes, 710 candidates; a stateless drafter, right 7 times in 10."""
    rng = np.random.default_rng(0)
    rows, width = 100_000, 10
    first = rng.beta(2.0, 1.0, rows)
    law = np.concatenate([first[:, None], (1 - first)[:, None] * 0.5 * 0.5 ** np.arange(width - 1)], axis=1)
    law = -np.sort(-law, axis=1)
    draw = rng.random(rows)
    rank = 1 + (draw[:, None] > law.cumsum(axis=1)).sum(axis=1)
    logs = np.log(law).astype(np.float16).astype(np.float32)
    own = np.take_along_axis(logs, np.minimum(rank, width)[:, None] - 1, axis=1)
    paths = PathColumns(rank[:, None].astype(np.int32), own, logs[:, None])
    donors = donors_of(paths, np.arange(0, rows + 1, 1000))
    grown = benchmark.pedantic(lambda: grow(paths, donors, (width,) * 8), rounds=3, warmup_rounds=1)
    assert 1.0 < grown.accepted(59).mean() < 8.0
    figure("grown trees", f"{rows / benchmark.stats.stats.min / 1e3:.0f} k rows/s", ">= 200 k rows/s")
