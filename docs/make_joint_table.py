"""Where does ``joint`` stand? Every method on the shipped traces, at several batch sizes and prices.

    python docs/make_joint_table.py             # every cell; minutes
    python docs/make_joint_table.py --coarse    # fewer batch sizes

Half of the requests are profiled and half are replayed. A rival is a lossless policy, every fixed length
among them; ``joint`` is compared with the best of each cell, which only hindsight knows.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

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


@dataclass(frozen=True)
class Cell:
    """``joint`` in one cell: percent above the best lossless rival there, and above the best of SV."""

    trace: str
    prices: str
    batch_size: int
    rival: str
    over_rival: float
    over_sv: float


def cell_of(trace: str, prices: str, batch_size: int, found: dict[str, float]) -> Cell:
    """Compare what one batch size gave."""
    joint = next(value for label, value in found.items() if label.startswith("joint"))
    sv = max(value for label, value in found.items() if label.startswith(("sv:", "sv-lossless")))
    others = {label: v for label, v in found.items() if not label.startswith(("sv", "joint"))}
    rival = max(others, key=lambda label: others[label])
    over_rival, over_sv = (100 * (joint / value - 1) for value in (others[rival], sv))
    return Cell(trace, prices, batch_size, rival, over_rival, over_sv)


def summary(cells: list[Cell]) -> Iterator[str]:
    """Mean and worst over all cells and by prices, the share not lost, and the same against SV."""
    over = np.array([cell.over_rival for cell in cells])
    yield f"{len(cells)} cells, percent over the best lossless rival of each cell in hindsight:"
    yield f"mean {over.mean():+.2f}, worst {over.min():+.2f}, not below -0.05 in {np.mean(over > -0.05):.0%}"
    for name in dict.fromkeys(cell.prices for cell in cells):
        some = np.array([cell.over_rival for cell in cells if cell.prices == name])
        yield f"{name}: mean {some.mean():+.2f}, worst {some.min():+.2f}"
    sv = np.array([cell.over_sv for cell in cells if 32 <= cell.batch_size <= 80])
    yield f"over the best of sv and sv-lossless, batch 32 to 80: mean {sv.mean():+.1f}, worst {sv.min():+.1f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coarse", action="store_true")
    parser.add_argument("--method", default="joint", help="in its place, as joint:midstop=no")
    asked, cells = parser.parse_args(), []
    for trace, prices in product(TRACES, PRICES):
        batches = COARSE if asked.coarse else BATCHES
        for size, found in goodputs(trace, prices, (*RIVALS, *SV, asked.method), batches).items():
            one = cell_of(trace, prices, size, found)
            cells.append(one)
            where = f"{trace} | {prices} | {size} | {one.rival}"
            print(f"{where} | {one.over_rival:+.2f} | {one.over_sv:+.1f}", flush=True)
    print("\n".join(summary(cells)))
