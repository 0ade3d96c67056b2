"""The analytic model against the replay on the same coins and positions: the table of docs/analytic.md.

    python docs/make_analytic_table.py                # rewrites the table in docs/analytic.md (minutes)

Synthetic traces (labelled so) of three kinds, the reconstructed traces/llama70b.parquet, and, where their
folder is given with --specdecode-bench, recorded EAGLE traces. Every number is 100 (analytic / replayed - 1)
of goodput, the largest in absolute value over the methods of a line.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import svsim
from svsim.analytic_model.law import throughput_grid
from svsim.analytic_model.model import method_laws
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.importing.formats import import_acceptance
from svsim.latency.linear import LinearLatency
from svsim.latency.model import LatencyModel, OutOfRange
from svsim.latency.shape import Role, StepShape
from svsim.metrics.agreement import compare
from svsim.synthetic.settings import LengthLaw, SyntheticSettings, TaskSettings
from svsim.synthetic.trace import synthesize
from svsim.trace.parts import MemorySource
from svsim.trace.token_trace import TokenTrace

PAGE = Path(__file__).with_name("analytic.md")
TRACES = Path(__file__).resolve().parents[1] / "traces"
BEGIN, END = "<!-- error table -->\n", "<!-- end of error table -->"
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
FIXED = ("td", "sd:k=1", "sd:k=3", "sd:k=5", "oracle:k=7", "oracle:k=7,draft=exact")
SELECTED = ("sv:k=7", "sv:k=7,objective=accepted", "sv:k=7,min_verify=1", "sv:k=3")
PAPER = ("sv:k=7,objective=accepted,stop=first-drop", "sv:k=7,stop=first-drop")
LOSSLESS = ("sv-lossless:k=7",)
RIVALS = {
    "draft stops, filter, head": ("svip", "disco", "dyspec", "staged", "eagle"),
    "rankings": ("tetris", "dspark", "vllm-adaptive", "oracle-belief"),
    "smartspec": ("smartspec",),
    "adaedl": ("adaedl",),
    "sv, overlap": ("sv:k=7,overlap=half", "sv:k=7,overlap=full,draft_slowdown=1,verify_slowdown=1"),
}
CLOSED_FORM = {"sv, closed form": SELECTED, "sv, first-drop, closed form": PAPER}


@dataclass(frozen=True, slots=True)
class PaddedLatency:
    """Linear step times of tokens padded to multiples of 16: a stair every 16 tokens."""

    smooth: LinearLatency
    hardware: str = "stairs of 16"
    tensor_parallel: int | None = None
    source: str = "linear, padded"
    roles: frozenset[Role] = frozenset(Role)
    out_of_range: OutOfRange = "extrapolate"
    draft_is_one_pass: bool = False
    separates_head: bool = False
    overhead_per_step_s: float = 1e-3

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass."""
        padded = np.ceil(np.asarray(shape.num_new_tokens) / 16) * 16
        return self.smooth.predict_s(replace(shape, num_new_tokens=padded))


def smooth_latency() -> LinearLatency:
    """Step times of the size of a 70B target on four GPUs, without stairs (made up)."""

    def line(fixed_s: float, per_new_token_s: float, per_kv_token_s: float) -> dict[str, float]:
        return {"fixed_s": fixed_s, "per_new_token_s": per_new_token_s, "per_kv_token_s": per_kv_token_s}

    coefficients = {
        "kind": "linear",
        "target": line(15e-3, 5e-5, 5e-8),
        "draft": line(1.2e-3, 2e-6, 2e-9),
        "companion": line(3e-3, 5e-6, 1e-8),
        "overhead_per_step_s": 1e-3,
        "draft_is_one_pass": False,
    }
    return LinearLatency.from_json(coefficients, "smooth")


def synthetic(kind: str, num_requests: int) -> TokenTrace:
    """A labelled synthetic trace: nearly independent tokens, bursts, or bursts and unlike requests."""
    burstiness, spread = {"i.i.d.": (0.0, 0.02), "bursty": (0.4, 0.02), "heterogeneous": (0.2, 0.2)}[kind]
    task = TaskSettings(acceptance=0.75, prompt_tokens=LengthLaw(300, 0.8))
    settings = SyntheticSettings(
        tasks=(task,), num_requests=num_requests, burstiness=burstiness, request_spread=spread
    )
    return synthesize(settings, seed=0)


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison: a trace, step times, and groups of methods."""

    trace_name: str
    latency_name: str
    trace: TokenTrace | Path
    latency: LatencyModel | str
    groups: tuple[tuple[str, tuple[str, ...]], ...]


def cases(num_requests: int, bench: Path | None) -> Iterator[Case]:
    """Every case of the table."""
    smooth = smooth_latency()
    steps: Sequence[tuple[str, LatencyModel]] = (("smooth", smooth), ("stairs of 16", PaddedLatency(smooth)))
    groups = (
        ("fixed and bounds", FIXED),
        ("sv", SELECTED),
        ("sv, first-drop", PAPER),
        ("sv-lossless", LOSSLESS),
        *RIVALS.items(),
    )
    for kind in ("i.i.d.", "bursty", "heterogeneous"):
        trace = synthetic(kind, num_requests)
        for latency_name, latency in steps:
            yield Case(f"synthetic, {kind}", latency_name, trace, latency, (*groups, *CLOSED_FORM.items()))
    yield Case("llama70b (reconstructed)", "its own", TRACES / "llama70b.parquet", "trace", groups)
    for dataset in ("gsm8k", "cnn") if bench else ():
        trace = import_acceptance("specdecode-bench", [bench / f"{dataset}.jsonl"]).trace
        latency = LinearLatency.from_file(bench / "linear_llama31_8b_h100.json")
        padded = PaddedLatency(
            latency, draft_is_one_pass=True, overhead_per_step_s=latency.overhead_per_step_s
        )
        for latency_name, model in (("smooth", latency), ("stairs of 16", padded)):
            yield Case(f"{dataset}, EAGLE (recorded)", latency_name, trace, model, groups[:1])


def errors(case: Case, methods: Sequence[str]) -> NDArray[np.float64]:
    """100 (analytic / replayed - 1) of goodput, float64 [methods, batch sizes]."""
    options = {"methods": methods, "batch_sizes": BATCH_SIZES, "latency": case.latency}
    differences = compare(
        svsim.replay(case.trace, **options),  # type: ignore[arg-type]
        svsim.analytic(case.trace, **options),  # type: ignore[arg-type]
    )
    found = {(d.row.label, d.row.batch_size): 100 * d.relative for d in differences}
    labels = dict.fromkeys(label for label, _ in found)
    return np.array([[found[label, size] for size in BATCH_SIZES] for label in labels])


def grid_errors(case: Case, methods: Sequence[str]) -> NDArray[np.float64]:
    """As ``errors``, of the closed form alone: ``throughput_grid``."""
    assert isinstance(case.trace, TokenTrace) and not isinstance(case.latency, str)
    settings = RunSettings(tuple(map(parse_method, methods)), BATCH_SIZES)
    deployments = [Deployment(case.latency)]
    prepared = prepare(MemorySource(case.trace), settings, deployments)
    answers = throughput_grid(method_laws(prepared), BATCH_SIZES, deployments).goodput_tok_s[:, :, 0]
    records = ClosedLoopReplay(prepared).run()
    replayed = np.array([r.sums.emitted_tokens.sum() / r.sums.seconds.sum() for r in records])
    return 100 * (answers / replayed.reshape(len(BATCH_SIZES), -1).T - 1)


def table(num_requests: int, bench: Path | None) -> str:
    """The table as Markdown."""
    heads = ("trace", "step times", "methods", *(f"B = {size}" for size in BATCH_SIZES))
    lines = [" | ".join(heads), " | ".join(["---"] * 3 + ["---:"] * len(BATCH_SIZES))]
    for case in cases(num_requests, bench):
        for name, methods in case.groups:
            found = (grid_errors if name in CLOSED_FORM else errors)(case, methods)
            worst = found[np.abs(found).argmax(axis=0), np.arange(len(BATCH_SIZES))]
            numbers = (f"{value:+.2f}" for value in worst)
            lines.append(" | ".join((case.trace_name, case.latency_name, name, *numbers)))
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def main() -> None:
    """Rewrite the table in the page, or print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=3000, help="requests of a synthetic trace")
    parser.add_argument(
        "--specdecode-bench", type=Path, help="folder with gsm8k.jsonl, cnn.jsonl and step times"
    )
    parser.add_argument("--print", action="store_true", help="print the table, change nothing")
    arguments = parser.parse_args()
    made = table(arguments.requests, arguments.specdecode_bench)
    if arguments.print:
        print(made)
        return
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + made + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
