"""Which decoding method is fastest at which batch size? The command line's words, as a function."""

from pathlib import Path

import svsim

TRACE = Path(__file__).parents[1] / "traces" / "llama70b.parquet"

table = svsim.replay(TRACE, methods=["td", "sd:k=3", "sd:k=5", "sv:k=7"], batch_sizes=[1, 8, 32, 64])

frame = table.to_frame()
frame["method"] = [row.label for row in table.rows]
goodput = frame.pivot(index="batch_size", columns="method", values="goodput_tok_s")
print("tokens per second")
print(goodput[["td", "sd:k=3", "sd:k=5", "sv:k=7"]].round(0).astype(int).to_string())

print("\nSpeculative Verification against the best fixed length, with 95 % intervals")
for row in table.rows:
    if row.method == "sv":
        low, high = row.speedup_vs_sd_ci_low, row.speedup_vs_sd_ci_high
        print(
            f"batch {row.batch_size:2d}: {row.speedup_vs_sd:.2f}x [{low:.2f}, {high:.2f}] {row.sd_baseline}"
        )
