"""Speculative Verification and its rivals on the same requests and coins, as shares of what a bound gains."""

from pathlib import Path

import svsim

TRACE = Path(__file__).parents[1] / "traces" / "llama70b.parquet"

table = svsim.replay(
    TRACE,
    methods=[
        "sd:k=3",
        "sd:k=5",
        "sv:k=7",
        "sv-lossless:k=7",
        "sv:k=7,overlap=half",
        "smartspec",
        "svip",
        "disco",
        "tetris",
        "dspark",
        "vllm-adaptive",
        "oracle:draft=exact",
    ],
    batch_sizes=[64],
)

print(f"{'method':40s} {'tok/s':>6s} {'vs TD':>6s} {'drafted':>8s} {'verified':>9s} {'gain':>5s}  lossless")
for row in sorted(table.rows, key=lambda row: -row.goodput_tok_s):
    drafted = (row.mean_acceptance_length - 1) / row.draft_acceptance_rate
    print(
        f"{row.label:40s} {row.goodput_tok_s:6,.0f} {row.speedup_vs_td:5.2f}x {drafted:8.2f} "
        f"{row.mean_verification_length:9.2f} {row.oracle_gain_share:5.0%}  {'yes' if row.lossless else 'no'}"
    )
