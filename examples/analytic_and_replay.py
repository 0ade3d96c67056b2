"""Two ways to the same number: the replay of every step, and the analytic model; they share prices only."""

from pathlib import Path

import svsim

TRACE = Path(__file__).parents[1] / "traces" / "llama70b.parquet"
QUESTION = {"methods": ["td", "sd:k=5", "sv:k=5"], "batch_sizes": [2, 16, 64]}

replayed = svsim.replay(TRACE, **QUESTION)
analytic = svsim.analytic(TRACE, **QUESTION)

print(f"{'batch':>5s} {'method':7s} {'replay tok/s':>12s} {'analytic tok/s':>14s} {'difference':>11s}")
for one, other in zip(replayed.rows, analytic.rows, strict=True):
    difference = other.goodput_tok_s / one.goodput_tok_s - 1
    print(
        f"{one.batch_size:5d} {one.label:7s} {one.goodput_tok_s:12,.0f} {other.goodput_tok_s:14,.0f} "
        f"{difference:+11.2%}"
    )
