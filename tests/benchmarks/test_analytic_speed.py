"""Speed of the analytic model: the walks, once per method, and grids of answers after them."""

import numpy as np
import pytest
from support.small_traces import StairLatency

from svsim.analytic_model.law import throughput_grid
from svsim.analytic_model.model import AnalyticModel, method_laws
from svsim.analytic_model.walks import Paths, even_cuts, walk_thresholds
from svsim.decoding.acceptance_rules import RecordedCoins
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment, bind_columns
from svsim.engines.settings import RunSettings, prepare
from svsim.latency.linear import LinearLatency
from svsim.synthetic.settings import SyntheticSettings
from svsim.synthetic.trace import synthesize
from svsim.trace.parts import MemorySource

METHODS = [
    "td",
    *(f"sd:k={k}" for k in range(1, 8)),
    "sv:k=7",
    "sv:k=5",
    "sv:k=3",
    "sv:k=7,objective=accepted",
]


@pytest.fixture(scope="module")
def prepared():
    """About 510,000 positions to walk (synthetic), 12 methods."""
    trace = synthesize(SyntheticSettings(num_requests=5150, burstiness=0.3), seed=0)
    methods = tuple(map(parse_method, METHODS))
    return prepare(MemorySource(trace), RunSettings(methods, (64,)), [Deployment(StairLatency(pad=16))])


@pytest.fixture(scope="module")
def laws(prepared):
    return method_laws(prepared)


def hardware(num):
    """Made-up step times, each a little faster than the last."""
    for speed in np.linspace(0.5, 2.0, num).tolist():
        coefficients = {
            "kind": "linear",
            "target": {"fixed_s": 15e-3 / speed, "per_new_token_s": 5e-5 / speed, "per_kv_token_s": 5e-8},
            "draft": {"fixed_s": 1.2e-3, "per_new_token_s": 2e-6, "per_kv_token_s": 2e-9},
            "companion": {"fixed_s": 3e-3, "per_new_token_s": 5e-6, "per_kv_token_s": 1e-8},
            "overhead_per_step_s": 1e-3,
            "draft_is_one_pass": False,
        }
        yield Deployment(LinearLatency.from_json(coefficients, f"speed {speed:.3f}"))


def test_walks_under_100_thresholds(benchmark, figure, prepared):
    trace = prepared.trace
    columns = bind_columns(prepared.methods[METHODS.index("sv:k=7")], trace, RecordedCoins(), 0)
    first, end = trace.first_position[:-1].copy(), trace.first_position[1:].copy()
    paths = Paths(first, end, trace.num_prompt_tokens.astype(np.int64) - first)
    cuts = even_cuts(columns.survival, 0, 100)
    benchmark.pedantic(
        lambda: walk_thresholds(paths, columns.accepted, columns.survival, cuts, 0), rounds=5, warmup_rounds=1
    )
    seconds = benchmark.stats.stats.min
    figure(f"{len(cuts)} thresholds x {trace.num_positions:,} positions", f"{seconds:.3f} s", "< 0.5 s")


@pytest.mark.parametrize(("most", "num_hardware"), [(64, 132), (256, 33)])
def test_grid_of_answers(benchmark, figure, laws, most, num_hardware):
    """12 methods x batch sizes 1 to most x deployments, in one call; prices are laid out in it."""
    deployments, sizes = list(hardware(num_hardware)), range(1, most + 1)
    answers = benchmark.pedantic(lambda: throughput_grid(laws, sizes, deployments), rounds=5, warmup_rounds=1)
    rate = answers.goodput_tok_s.size / benchmark.stats.stats.min
    figure(f"analytic grid, batch 1 to {most}", f"{rate:,.0f} answers/s", ">= 100,000")


@pytest.mark.parametrize("refill", ["continuous", "static"])
def test_rows_of_a_default_run(benchmark, figure, prepared, refill):
    """td, sd:k=5 and sv:k=7 at 8 batch sizes, on stairs: every sv row from drawn batches."""
    trace = prepared.trace.select(np.arange(400))
    methods = tuple(map(parse_method, ("td", "sd:k=5", "sv:k=7")))
    settings = RunSettings(methods, (1, 2, 4, 8, 16, 32, 48, 64), refill=refill)
    run = prepare(MemorySource(trace), settings, [Deployment(StairLatency(pad=16))])
    benchmark.pedantic(lambda: AnalyticModel(run).run(), rounds=3, warmup_rounds=1)
    figure(f"analytic rows, {refill}, 24 rows", f"{benchmark.stats.stats.min:.2f} s", "none")
