"""Open-loop serving against measured servers: predict TTFT and TPOT, and print every error as Markdown.

    python calibration/serving_errors.py

Facts and sources: ``calibration/serving_panels.json``. Nothing is fitted: step times are rooflines of the GPU
and the target, the scheduler is vLLM's (two steps in flight), arrivals and lengths are as the source tells.
A head's drafts are accepted independently, at the measured mean length.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import svsim
from svsim.trace.token_trace import ObservableColumns, TargetColumns, TokenTrace, TraceMetadata

PANELS = Path(__file__).parent / "serving_panels.json"
REPLICATIONS = 4


def trace_of(mean_length: float, k: int, num_requests: int = 200, num_tokens: int = 512) -> TokenTrace:
    """Every draft token is accepted alike, so that a step emits ``mean_length`` tokens."""
    chances = np.linspace(0.0, 1.0, 10_001)
    lengths = sum(chances**depth for depth in range(k + 1))
    accept = float(np.interp(mean_length, lengths, chances))
    rng = np.random.default_rng(0)
    coins = rng.random((num_requests * num_tokens, k)) < accept
    accepted = np.logical_and.accumulate(coins, axis=1).sum(axis=1)
    return TokenTrace(
        request_ids=tuple(str(i) for i in range(num_requests)),
        first_position=np.arange(num_requests + 1) * num_tokens,
        num_prompt_tokens=np.full(num_requests, 1024, np.int32),
        observable=ObservableColumns({}),
        target=TargetColumns(accepted.astype(np.int16), np.full(coins.shape, accept, np.float32)),
        metadata=TraceMetadata(k, "synthetic", "independent", sampling={"greedy": False, "temperature": 1.0}),
    )


def predicted(panels: Mapping[str, Any], run: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row of ``svsim.serve_sim`` for a measured run."""
    k, rate = run["k"], run["rate"]
    table = svsim.serve_sim(
        trace_of(run["acceptance_length"], k) if k else None,
        arrivals=f"gamma:rate={rate},burstiness={run['burstiness']}",
        lengths=run["lengths"],
        duration=run["num_prompts"] / rate,
        warm_up=0.0,
        replications=REPLICATIONS,
        methods=f"eagle:k={k}" if k else "td",
        hardware=panels["hardware"],
        latency="roofline",
        target=panels["target"],
        scheduling="async",
    )
    return table.rows[-1]


def error(predicted_s: float, measured_s: float) -> str:
    """Both, in seconds, and the error."""
    return f"{measured_s:.3g} | {predicted_s:.3g} | {100 * (predicted_s / measured_s - 1):+.0f} %"


def main() -> None:
    """Print the table."""
    panels = json.loads(PANELS.read_text())
    print("| server | lengths | requests/s | K | TTFT s | predicted | error | TPOT s | predicted | error |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for run in panels["runs"]:
        row = predicted(panels, run)
        ttft, tpot = error(row["ttft_s_mean"], run["ttft_s"]), error(row["tpot_s_mean"], run["tpot_s"])
        print(
            f"| {run['engine']} | {run['lengths']} | {run['rate']:g} | {run['k']} | {ttft} | {tpot} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
