"""The same requests on other GPUs: what a method gains depends on what a step costs there."""

from pathlib import Path

import svsim

TRACE = Path(__file__).parents[1] / "traces" / "llama70b.parquet"

table = svsim.replay(
    TRACE,
    methods=["td", "sd:k=5", "sv:k=7"],
    batch_sizes=[8, 64],
    hardware=["a100_sxm:tp=4", "h100_sxm:tp=4", "h200_sxm:tp=4"],
)

print(f"{'hardware':14s} batch {'method':7s} {'tok/s':>6s} {'vs TD':>6s} {'step ms':>8s} {'verified':>9s}")
for row in table.rows:
    print(
        f"{row.deployment:14s} {row.batch_size:5d} {row.label:7s} {row.goodput_tok_s:6,.0f} "
        f"{row.speedup_vs_td:5.2f}x {1e3 * row.step_time_s:8.1f} {row.mean_verification_length:9.2f}"
    )
