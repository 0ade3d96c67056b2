"""The analytic model against the replay: same trace, same split, same beliefs, same coins."""

from dataclasses import replace

import numpy as np
import pytest
from support.shared_data import shared
from support.small_traces import StairLatency, independent_trace
from support.specdecode_bench import specdecode_bench_trace

import svsim
from svsim.analytic_model import model as analytic_module
from svsim.analytic_model.law import throughput_grid
from svsim.analytic_model.model import AnalyticModel, method_laws
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.errors import InputError, OutOfRangeError
from svsim.latency.linear import LinearLatency
from svsim.metrics.agreement import compare
from svsim.speculation_math import constant_acceptance_tokens
from svsim.synthetic.settings import LengthLaw, SyntheticSettings, TaskSettings
from svsim.synthetic.trace import synthesize
from svsim.trace import parts
from svsim.trace.file import save_trace
from svsim.trace.parts import MemorySource

SMOOTH = LinearLatency.from_json(
    {
        "kind": "linear",
        "target": {"fixed_s": 15e-3, "per_new_token_s": 5e-5, "per_kv_token_s": 5e-8},
        "draft": {"fixed_s": 1.2e-3, "per_new_token_s": 2e-6, "per_kv_token_s": 2e-9},
        "companion": {"fixed_s": 3e-3, "per_new_token_s": 5e-6, "per_kv_token_s": 1e-8},
        "overhead_per_step_s": 1e-3,
        "draft_is_one_pass": False,
    },
    "smooth",
)
STAIRS = StairLatency(pad=16)
BATCH_SIZES = (1, 4, 8, 16, 64)
FIXED = ["td", "sd:k=1", "sd:k=7", "oracle:k=7", "oracle:k=7,draft=exact"]
SELECTED = ["sv:k=7", "sv:k=5,min_verify=1,objective=accepted", "sv-lossless:k=7"]


def synthetic(burstiness, spread):
    task = TaskSettings(acceptance=0.75, prompt_tokens=LengthLaw(300, 0.8))
    settings = SyntheticSettings(
        tasks=(task,), num_requests=600, burstiness=burstiness, request_spread=spread
    )
    return synthesize(settings, seed=0)


@pytest.fixture(scope="module")
def synthetic_traces():
    return {
        "independent": synthetic(0.0, 0.02),
        "bursty": synthetic(0.4, 0.02),
        "heterogeneous": synthetic(0.2, 0.2),
    }


def differences(trace, latency, methods, batch_sizes=BATCH_SIZES, **options):
    options = {"latency": latency, "methods": methods, "batch_sizes": batch_sizes, **options}
    found = compare(svsim.replay(trace, **options), svsim.analytic(trace, **options))
    assert len(found) == len(methods) * len(batch_sizes)
    return {(d.row.label, d.row.batch_size): d.relative for d in found}


def assert_close(found, small=0.02, large=0.01):
    """Within 1 % from batch 8 on, 2 % below."""
    for (label, size), relative in found.items():
        assert abs(relative) <= (small if size < 8 else large), (label, size, relative)


@pytest.mark.parametrize("kind", ["independent", "bursty", "heterogeneous"])
@pytest.mark.parametrize("latency", [SMOOTH, STAIRS], ids=["smooth", "stairs"])
def test_goodput_of_synthetic_traces(synthetic_traces, kind, latency):
    assert_close(differences(synthetic_traces[kind], latency, FIXED + SELECTED))


@pytest.mark.parametrize("dataset", ["gsm8k", "cnn"])
@pytest.mark.parametrize("drafter", ["eagle", "ngram"])
def test_goodput_of_recorded_traces(dataset, drafter):
    trace = specdecode_bench_trace(shared("specdecode-bench", f"{dataset}.jsonl"), drafter)
    latency = LinearLatency.from_file(shared("specdecode-bench", "linear_llama31_8b_h100.json"))
    methods = ["td", "sd:k=1", "sd:k=3", "sd:k=5", "oracle:k=7,draft=exact"]
    for model in (latency, STAIRS):
        # the walks are the same; what is left is who meets whom, and laws of counts for exact drafts
        assert_close(differences(trace, model, methods[:-1]), small=0.001, large=0.001)
        assert_close(differences(trace, model, methods[-1:]), small=0.005, large=0.005)


def test_the_reference_convention_is_met_exactly():
    trace = specdecode_bench_trace(shared("specdecode-bench", "gsm8k.jsonl"), "eagle")
    latency = LinearLatency.from_file(shared("specdecode-bench", "linear_llama31_8b_h100.json"))
    methods = ["td", "sd:k=1", "sd:k=5", "oracle:draft=exact"]
    options = {
        "latency": latency,
        "methods": methods,
        "batch_sizes": [1, 32, 128],
        "convention": "specdecode-bench",
    }
    replayed, analytic = svsim.replay(trace, **options), svsim.analytic(trace, **options)
    for mine, theirs in zip(analytic.rows, replayed.rows, strict=True):
        assert mine.goodput_tok_s == pytest.approx(theirs.goodput_tok_s, rel=1e-9)
        assert mine.speedup_vs_td_ci_low == pytest.approx(theirs.speedup_vs_td_ci_low, rel=1e-9)


@pytest.mark.parametrize("refill", ["continuous", "static"])
@pytest.mark.parametrize("prefill", ["exclude", "include"])
def test_copies_that_do_everything_alike_are_exact(refill, prefill):
    trace = independent_trace(40, 7, seed=5)
    options = {"batch_of": "copies", "refill": refill, "prefill": prefill}
    found = differences(trace, STAIRS, FIXED, (1, 3, 32), **options)
    assert max(map(abs, found.values())) < 1e-9


def test_copies_that_select_their_lengths(synthetic_traces):
    trace = synthetic_traces["heterogeneous"]
    for refill in ("continuous", "static"):
        assert_close(
            differences(trace, SMOOTH, ["sv:k=7"], (1, 2, 8, 32), batch_of="copies", refill=refill),
            small=0.02,
            large=0.02,
        )


def test_one_sequence_at_a_time_is_exact_where_prices_are_linear():
    trace = independent_trace(60, 7, seed=2, prompt_tokens=(10, 900))
    found = differences(trace, SMOOTH, [*FIXED, "sv:k=7"], (1,))
    assert max(map(abs, found.values())) < 1e-3


def test_prefill_and_fresh_coins(synthetic_traces):
    trace = synthetic_traces["bursty"]
    assert_close(differences(trace, SMOOTH, ["td", "sd:k=3", "sv:k=7"], (1, 8, 32), prefill="include"))
    assert_close(differences(trace, STAIRS, ["td", "sd:k=3", "sv:k=7"], (1, 8, 32), coins="redraw:2"))


@pytest.mark.parametrize("latency", [SMOOTH, STAIRS], ids=["smooth", "stairs"])
def test_static_batches_meet_the_mean_of_many_orders(latency):
    """One replay draws one order of requests; the analytic model is the mean over all of them."""
    trace = independent_trace(192, 5, seed=7, output_tokens=(5, 200))
    methods = ("td", "sd:k=3", "sv:k=5", "oracle:k=5")
    settings = RunSettings(tuple(map(parse_method, methods)), (2, 8, 32), refill="static")
    prepared = prepare(MemorySource(trace), settings, [Deployment(latency)])
    analytic = AnalyticModel(prepared).run()
    runs = []
    for seed in range(40):
        replay = ClosedLoopReplay(replace(prepared, settings=replace(settings, seed=seed)))
        runs.append([(r.sums.emitted_tokens.sum(), r.sums.seconds.sum()) for r in replay.run()])
    tokens, seconds = np.array(runs).transpose(2, 0, 1)
    goodput = tokens.sum(axis=0) / seconds.sum(axis=0)
    error = (tokens - goodput * seconds).std(axis=0, ddof=1) / seconds.mean(axis=0) / np.sqrt(len(runs))
    for record, mean, deviation in zip(analytic, goodput, error, strict=True):
        got = record.sums.emitted_tokens.sum() / record.sums.seconds.sum()
        assert got == pytest.approx(mean, abs=4 * deviation + 0.005 * mean), record.label


def test_other_quantities_of_the_rows(synthetic_traces):
    options = {"latency": STAIRS, "methods": [*FIXED, "sv:k=7"], "batch_sizes": [1, 8, 64]}
    trace = synthetic_traces["heterogeneous"]
    replayed, analytic = svsim.replay(trace, **options), svsim.analytic(trace, **options)
    assert analytic.config == {**replayed.config, "engine": "analytic"}
    for mine, theirs in zip(analytic.rows, replayed.rows, strict=True):
        assert (mine.label, mine.batch_size, mine.num_requests, mine.lossless, mine.sd_baseline) == (
            theirs.label,
            theirs.batch_size,
            theirs.num_requests,
            theirs.lossless,
            theirs.sd_baseline,
        )
        assert mine.replay_kind == "approximate"
        for name in (
            "mean_acceptance_length",
            "mean_verification_length",
            "verified_acceptance_rate",
            "draft_acceptance_rate",
            "step_time_s",
            "draft_time_s",
            "companion_time_s",
            "verify_time_s",
            "overhead_time_s",
            "tpot_s",
            "speedup_vs_td",
            "speedup_vs_sd",
        ):
            got, expected = getattr(mine, name), getattr(theirs, name)
            assert got == (expected if expected is None else pytest.approx(expected, rel=0.02)), name
        if mine.method != "td":  # its goodput hardly varies
            width = mine.goodput_ci_high - mine.goodput_ci_low
            assert width == pytest.approx(theirs.goodput_ci_high - theirs.goodput_ci_low, rel=0.3)


def test_constant_acceptance_meets_the_textbook():
    trace = independent_trace(40, 7, seed=4, accept_prob=0.8, output_tokens=(3000, 3001))
    for k in (1, 3, 7):
        row = svsim.analytic(trace, methods=[f"sd:k={k}"], batch_sizes=[4], latency=SMOOTH).rows[0]
        expected = constant_acceptance_tokens(0.8, k)
        assert row.mean_acceptance_length == pytest.approx(expected, rel=0.01)  # 3 standard errors and more


def test_averages_over_all_positions_are_wrong(synthetic_traces):
    """Negative control: a step starts only where a step ended, so long accepted runs are jumped over."""
    trace = synthetic_traces["bursty"]
    naive = 1 + np.minimum(trace.target.num_accepted, 7).mean()
    row = svsim.analytic(trace, methods=["sd:k=7"], batch_sizes=[1], latency=SMOOTH).rows[0]
    assert naive > 1.05 * row.mean_acceptance_length


def test_grid_answers_agree_with_rows(synthetic_traces):
    trace = synthetic_traces["bursty"]
    methods = ["td", "sd:k=3", "oracle:k=7", "oracle:k=7,draft=exact", "sv:k=7", "sv:k=5,objective=accepted"]
    sizes = (1, 4, 16, 64)
    settings = RunSettings(tuple(map(parse_method, methods)), sizes)
    deployments = [Deployment(SMOOTH), Deployment(STAIRS)]
    prepared = prepare(MemorySource(trace), settings, deployments)
    answers = throughput_grid(method_laws(prepared), sizes, deployments)
    records = iter(AnalyticModel(prepared).run())
    for h in range(len(deployments)):
        for b in range(len(sizes)):
            for m, method in enumerate(methods):
                sums = next(records).sums
                goodput = sums.emitted_tokens.sum() / sums.seconds.sum()
                selects = method.startswith("sv")
                assert answers.goodput_tok_s[m, b, h] == pytest.approx(goodput, rel=0.02 if selects else 1e-9)
                steps = sums.seconds.sum() / sums.steps.sum()
                assert answers.step_s[m, b, h] == pytest.approx(steps, rel=0.03 if selects else 1e-9)


def test_same_seed_same_rows_for_any_number_of_workers(synthetic_traces):
    options = {"latency": STAIRS, "methods": ["sd:k=3", "sv:k=7"], "batch_sizes": [2, 16]}
    trace = synthetic_traces["independent"]
    one, again, four = (svsim.analytic(trace, jobs=jobs, **options) for jobs in (1, 1, 4))
    assert one.to_csv() == again.to_csv() == four.to_csv()


def test_refuses_what_the_replay_refuses():
    trace = independent_trace(40, 4, seed=1)

    class OutOfRange(StairLatency):
        def predict_s(self, shape):
            if np.max(shape.num_kv_tokens) > 400:
                raise OutOfRangeError("more than 400 KV tokens")
            return super().predict_s(shape)

    with pytest.raises(OutOfRangeError):
        svsim.analytic(trace, methods=["td"], batch_sizes=[8], latency=OutOfRange())
    with pytest.raises(InputError, match="exceeds the"):
        svsim.analytic(trace, methods=["td"], batch_sizes=[64], latency=SMOOTH)


def test_a_long_trace_is_sampled(tmp_path, monkeypatch):
    trace = independent_trace(400, 4, seed=1)
    save_trace(trace, tmp_path / "long.parquet")
    options = {"methods": ["td", "sd:k=4"], "batch_sizes": [8], "latency": SMOOTH}
    whole = svsim.analytic(tmp_path / "long.parquet", **options)
    monkeypatch.setattr(parts, "IN_MEMORY_POSITIONS", 100)
    monkeypatch.setattr(analytic_module, "SAMPLE_POSITIONS", trace.num_positions // 2)
    sampled = svsim.analytic(tmp_path / "long.parquet", **options)
    assert len(whole.notes) + 1 == len(sampled.notes) and "400 requests" in sampled.notes[-1]
    for some, all_of_them in zip(sampled.rows, whole.rows, strict=True):
        # half of 400, by a fair coin each: four standard errors
        assert abs(some.num_requests - 200) <= 40 and all_of_them.num_requests == 400
        width = all_of_them.goodput_ci_high - all_of_them.goodput_ci_low
        assert some.goodput_tok_s == pytest.approx(all_of_them.goodput_tok_s, abs=2 * width)
