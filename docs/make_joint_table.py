"""Where does ``joint`` stand? Every method on the shipped traces, at several batch sizes and prices.

    python docs/make_joint_table.py             # every cell; minutes
    python docs/make_joint_table.py --coarse    # fewer batch sizes

Half of the requests are profiled and half are replayed. A rival is a lossless policy; of methods with an
option k every k counts, and the best of them in each cell, known in hindsight, is what ``joint`` is compared
with.
"""

import argparse
import json
from pathlib import Path

import svsim
from svsim.spelling import method_label

ROOT = Path(__file__).parents[1]
TRACES = (
    "llama70b",
    "cpu_triplet_code_t07",
    "cpu_triplet_mixed_t07",
    "cpu_triplet_mixed_greedy",
    "cpu_triplet_prose_t07",
)
TABLE_70B = ROOT / "calibration" / "llama70b_step_times.parquet"
TABLE_CPU = ROOT / "calibration" / "cpu_tiny_step_times.parquet"
MODELS_70B = {"target": "llama-3.1-70b", "draft": "llama-3.2-1b", "companion": "llama-3.2-3b"}
# name -> step times, hardware, models
PRICES = {
    "h100 tp=4": (TABLE_70B, "h100_sxm:tp=4", {}),
    "a100 tp=4": (TABLE_70B, "a100_sxm:tp=4", {}),
    "h200 tp=2": ("roofline", "h200_sxm:tp=2", MODELS_70B),
    "b200 tp=2": ("roofline", "b200_sxm:tp=2", MODELS_70B),
    "cpu": (TABLE_CPU, None, {}),
}
BATCHES, COARSE = (1, 2, 4, 8, 16, 32, 48, 64, 80, 96, 128), (1, 8, 32, 64)
RIVALS = (
    "td", "sd:k=1-8", "smartspec:k=5", "smartspec:k=8", "svip:k=4", "svip:k=8", "adaedl:k=4", "adaedl:k=8",
    "disco:k=4", "disco:k=8", "dyspec:k=4", "dyspec:k=8", "dspark:k=2", "dspark:k=3", "dspark:k=5",
    "vllm-adaptive:k=2", "vllm-adaptive:k=3", "vllm-adaptive:k=5", "vllm-ladder",
)  # fmt: skip
SV = ("sv:k=3", "sv:k=5", "sv:k=7", "sv-lossless:k=3", "sv-lossless:k=5", "sv-lossless:k=7")
JOINT = "joint"


def goodputs(
    trace: str, prices: str, methods: tuple[str, ...], batches: tuple[int, ...]
) -> dict[int, dict[str, float]]:
    """Goodput of every method by batch size: tokens per second."""
    latency, hardware, models = PRICES[prices]
    longest = 100 if trace != "llama70b" else 300
    table = svsim.replay(
        ROOT / "traces" / f"{trace}.parquet",
        methods=list(methods),
        batch_sizes=[size for size in batches if size <= longest],
        latency=str(latency),
        hardware=[hardware] if hardware else [],
        out_of_range="extrapolate",
        jobs=2,
        **models,
    )
    found: dict[int, dict[str, float]] = {}
    for row in table.rows:
        label = method_label(row.method, row.params)
        found.setdefault(row.batch_size, {})[label] = row.goodput_tok_s or 0.0
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coarse", action="store_true")
    parser.add_argument("--joint", nargs="*", default=[JOINT])
    parser.add_argument("--traces", nargs="*", default=TRACES)
    parser.add_argument("--prices", nargs="*", default=list(PRICES))
    asked = parser.parse_args()
    for trace in asked.traces:
        for prices in asked.prices:
            got = goodputs(trace, prices, (*RIVALS, *SV, *asked.joint), COARSE if asked.coarse else BATCHES)
            print(trace, prices, json.dumps(got))
