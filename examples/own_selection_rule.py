"""A researcher's own method: verify what the draft itself believes in, without a companion.

A selection rule is one compiled function. It sees the believed survival of every drafted token and the
price of every verification, and writes a length per sequence (``svsim/decoding/selection_rules.py``).
"""

from pathlib import Path

import svsim
from svsim.compiled import compiled
from svsim.decoding.beliefs import BinnedBelief
from svsim.decoding.method import DecodingMethod, Losslessness, SelectByRule
from svsim.decoding.selection_rules import RULE, TOP_LEVEL

TRACE = Path(__file__).parents[1] / "traces" / "llama70b.parquet"


@compiled(RULE)
def above_threshold(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):
    """Verify every token whose believed survival is at least options[0]; plain loops, no allocation."""
    least, selected = options[0] * TOP_LEVEL, 0
    for i in range(n):
        lengths[i] = 0
        while lengths[i] < candidates.shape[1] and candidates[i, lengths[i]] >= least:
            lengths[i] += 1
        selected += lengths[i]
    return selected


def confident_draft(k: int, threshold: float) -> DecodingMethod:
    """Draft k tokens; verify while the product of their believed acceptances stays above the threshold."""
    return DecodingMethod(
        name="confident",
        num_speculative_tokens=k,
        selection=SelectByRule(above_threshold, options=(threshold,)),
        belief=BinnedBelief(("draft_prob", "draft_entropy")),
        lossless=Losslessness.GREEDY_ONLY,
        why_lossless="a token is dropped after looking at its own probability",
        params={"k": k, "threshold": threshold},
    )


table = svsim.replay(
    TRACE,
    methods=["sd:k=5", "sv:k=7", *(confident_draft(7, threshold) for threshold in (0.2, 0.4, 0.6))],
    batch_sizes=[8, 64],
)

print(f"{'batch':>5s} {'method':28s} {'vs TD':>6s} {'verified':>9s} {'rejected':>9s}  lossless")
for row in table.rows:
    print(
        f"{row.batch_size:5d} {row.label:28s} {row.speedup_vs_td:5.2f}x {row.mean_verification_length:9.2f} "
        f"{row.rejected_share_of_verified:9.0%}  {'yes' if row.lossless else 'no'}"
    )
