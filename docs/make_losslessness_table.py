"""The numbers of docs/losslessness.md: exact small cases, bias on real models, the price of the fix.

    python docs/make_losslessness_table.py exact price              # rewrites these tables, a minute
    python docs/make_losslessness_table.py captured --triplet DIR   # two minutes, after the training

``captured`` needs the extra ``capture``. DIR holds the models of ``svsim.training.triplet``; where there
are none they are trained first (4.5 minutes, size ``cpu``: the models of traces/cpu_triplet_*.parquet).
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from svsim.analytic_model.law import throughput_grid
from svsim.analytic_model.model import method_laws
from svsim.decoding.beliefs import BinnedBelief
from svsim.decoding.presets import parse_method
from svsim.decoding.selection_rules import TOP_LEVEL
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.latency.measured import MeasuredLatency
from svsim.latency.step_times import read_step_times
from svsim.metrics.bootstrap import goodput_tok_s, interval, resampled_goodput
from svsim.trace.file import load_trace
from svsim.trace.parts import MemorySource

if TYPE_CHECKING:
    import torch

    from svsim.trace_capture.bias_along_text import KeepRule
    from svsim.trace_capture.settings import SamplingSettings

PAGE = Path(__file__).with_name("losslessness.md")
ROOT = Path(__file__).resolve().parents[1]
TABLES = ("exact", "captured", "price")

MODELS_PER_SIZE = 100

TASKS, TEMPERATURES = ("code", "prose", "mixed"), (0.3, 0.7, 1.0)
NUM_REQUESTS, NUM_POSITIONS, NUM_SPECULATIVE_TOKENS = 200, 128, 7
THRESHOLDS = (0.05, 0.1, 0.25)

BATCH_SIZES = (1, 4, 16, 64)
METHODS = ("sv:k=7", "sv-lossless:k=7")
STEP_TIMES_70B = ROOT / "calibration" / "llama70b_step_times.parquet"
# trace, and the step times that price it (None: its own)
PRICED = (
    ("llama70b", None),
    ("cpu_triplet_code_t07", STEP_TIMES_70B),
    ("cpu_triplet_prose_t07", STEP_TIMES_70B),
    ("cpu_triplet_mixed_t07", STEP_TIMES_70B),
    ("cpu_triplet_mixed_greedy", STEP_TIMES_70B),
    ("cpu_triplet_mixed_t07", None),
    ("cpu_triplet_mixed_greedy", None),
)


def markdown(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """A table; all columns but the first to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def exact_table() -> str:
    """Mean bias of every case on random tiny models, in percent, with one standard error."""
    sys.path.insert(0, str(ROOT / "tests"))  # the losslessness laboratory
    from support.lossless_cases import CASES, COLUMNS  # type: ignore[import-not-found]

    def cell(biases: np.ndarray) -> str:
        if biases.max() < 1e-12:
            return "0"
        return f"{100 * biases.mean():.1f} ± {100 * biases.std(ddof=1) / np.sqrt(len(biases)):.1f}"

    rows = (
        [case.name, case.looks, *(cell(case.biases(column, MODELS_PER_SIZE)) for column in COLUMNS)]
        for case in CASES
    )
    return markdown(["rule", "looks at the token", *COLUMNS], rows)


def captured_table(folder: Path) -> str:
    """Mean bias per position of rules on the triplet's models, in percent, with one standard error."""
    import torch

    from svsim.trace_capture.settings import SamplingSettings
    from svsim.training.triplet import TripletSettings, train_triplet

    torch.set_num_threads(1)
    if not (folder / "triplet.json").exists():
        train_triplet(TripletSettings(folder, size="cpu", minutes=4.5, device="cpu"))
    rows = (
        [task, f"{temperature}", *_biases(folder, task, SamplingSettings(temperature=temperature))]
        for task in TASKS
        for temperature in TEMPERATURES
    )
    head = ["text", "temperature", "mean a", *(f"sv, θ = {theta}" for theta in THRESHOLDS)]
    return markdown([*head, "A >= 0.6", "q(x) >= 0.2", "sv-lossless, θ = 0.1"], rows)


def _biases(folder: Path, task: str, sampling: "SamplingSettings") -> list[str]:
    """Mean acceptance, and the bias of every rule, on the second half of a task's prompts."""
    from svsim.trace_capture.bias_along_text import Texts, drafted_signals, measure_bias
    from svsim.trace_capture.coherent_chains import Triple
    from svsim.trace_capture.model_loading import load_models
    from svsim.trace_capture.settings import CaptureSettings

    prompts = folder / f"prompts_{task}.jsonl"
    target, draft, companion = (str(folder / role) for role in ("target", "draft", "companion"))
    unused = folder / "unused.parquet"
    loaded = load_models(CaptureSettings(target, draft, companion, prompts, unused, device="cpu")).models
    models = Triple(loaded["target"], loaded["draft"], loaded["companion"])
    texts = [json.loads(line)["prompt_token_ids"] for line in prompts.open()][:NUM_REQUESTS]
    half = len(texts) // 2
    *signals, accept = drafted_signals(models, Texts(texts[:half], sampling, NUM_POSITIONS))
    belief = BinnedBelief().fit(tuple(signals), accept)
    others = Texts(texts[half:], sampling, NUM_POSITIONS, first=half)
    found = measure_bias(models, others, _rules(belief), NUM_SPECULATIVE_TOKENS)
    return [
        f"{accept.mean():.2f}",
        *(f"{100 * b.mean_total_variation:.2f} ± {100 * b.standard_error:.2f}" for b in found.values()),
    ]


def _rules(belief: BinnedBelief) -> dict[str, "KeepRule"]:
    import torch

    from svsim.trace_capture.bias_along_text import causal_rule, survival_rule, threshold_rule

    def believe(similarity: "torch.Tensor", accept: "torch.Tensor") -> "torch.Tensor":
        return torch.from_numpy(belief.predict((similarity.numpy(), accept.numpy())))

    return {
        **{f"sv {theta}": survival_rule(believe, theta) for theta in THRESHOLDS},
        "A": threshold_rule("companion_accept", 0.6),
        "q": threshold_rule("draft_prob", 0.2),
        "sv-lossless": causal_rule(believe, 0.1),
    }


def price_table() -> str:
    """Goodput of sv-lossless against sv, in percent with paired 95 % intervals; and sv's threshold."""
    head = ["trace", "sampling", "step times", *(f"B = {size}" for size in BATCH_SIZES)]
    return markdown([*head, "sv's θ at B = 16, 64"], (_prices(name, times) for name, times in PRICED))


def _prices(name: str, step_times: Path | None) -> list[str]:
    trace = load_trace(ROOT / "traces" / f"{name}.parquet")
    signals, limit = trace.observable.signals, trace.num_speculative_tokens
    methods = tuple(parse_method(text, limit, signals) for text in METHODS)
    columns = trace.step_times if step_times is None else read_step_times(step_times)
    deployment = Deployment(MeasuredLatency.from_step_times(columns))
    settings = RunSettings(methods, BATCH_SIZES)
    prepared = prepare(MemorySource(trace), settings, [deployment])
    of = {(r.label, r.batch_size): r for r in ClosedLoopReplay(prepared).run()}
    cells = []
    for size in BATCH_SIZES:
        sv, lossless = (of[method.label, size] for method in methods)
        low, high = interval(resampled_goodput(lossless, 0) / resampled_goodput(sv, 0))
        ratio = goodput_tok_s(lossless) / goodput_tok_s(sv)
        cells.append(f"{100 * (ratio - 1):+.1f} ({100 * (low - 1):+.1f} to {100 * (high - 1):+.1f})")
    law = method_laws(prepared)[0]
    verified = throughput_grid([law], BATCH_SIZES[2:], [deployment]).verified[0, :, 0]
    thresholds = np.interp(verified, law.verified, law.cuts) / TOP_LEVEL
    return [
        name,
        "greedy" if trace.metadata.is_greedy else f"T = {trace.metadata.sampling['temperature']}",
        "its own" if step_times is None else "llama70b's",
        *cells,
        ", ".join(f"{theta:.2f}" for theta in thresholds),
    ]


def rewrite(name: str, table: str) -> None:
    """Put a table between its marks on the page."""
    begin, end = f"<!-- {name} table -->\n", f"<!-- end of {name} table -->"
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    PAGE.write_text(f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def main() -> None:
    """Rewrite the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+", choices=TABLES)
    parser.add_argument("--triplet", type=Path, help="folder of the triplet's models (for captured)")
    arguments = parser.parse_args()
    if "captured" in arguments.tables and arguments.triplet is None:
        parser.error("captured needs --triplet DIR")
    make: dict[str, Callable[[], str]] = {
        "exact": exact_table,
        "captured": lambda: captured_table(arguments.triplet),
        "price": price_table,
    }
    for name in arguments.tables:
        rewrite(name, make[name]())


if __name__ == "__main__":
    main()
