"""Methods about what drafts: prices pass by pass; what a trimmed head is accepted, read literally."""

from dataclasses import replace

import numpy as np
import pytest
from support.small_traces import StairLatency, independent_trace, with_draft_signals

import svsim
from svsim.decoding.acceptances import At, Diluted, OfTrimmedHead
from svsim.decoding.drafters import drafter_named
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment
from svsim.engines.settings import RunSettings, prepare
from svsim.errors import LatencyError, MethodError, MissingSignalError
from svsim.latency.geometry import model_geometry
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.trace.file import load_trace, save_trace
from svsim.trace.parts import MemorySource

TARGET, DRAFT = model_geometry("llama-3.1-8b"), model_geometry("llama-3.2-1b")
ON_GPU = RooflineLatency.of("h100_sxm", 1, TARGET, DRAFT)
N, KV = 4, 4 * 3000


def priced(text, **known):
    return Deployment(ON_GPU, **{"target": TARGET, "draft": DRAFT, **known}).priced(parse_method(text))


def pass_s(role, tokens, kv=KV, **kind):
    return float(ON_GPU.predict_s(StepShape(role, N, tokens, kv, **kind)))


# -- prices ----------------------------------------------------------------------------------------------


def test_an_exit_of_so_many_layers_runs_them_and_an_adapter():
    """d + 1 tokens through the first layers, d through adapter and head, d + 1 through the rest."""
    found = priced("kangaroo:exit=2")
    share, adapter = 2 / 32, TARGET.attention_weights_per_layer / TARGET.num_layer_parameters
    assert 0.004 < adapter < 0.008  # an attention without its MLP, of 32 layers
    drafted = pass_s(Role.TARGET, N, layer_share=share + adapter, num_logit_tokens=N)
    assert float(found.draft_s(N, N, KV)) == pytest.approx(drafted, rel=1e-12)
    last = pass_s(Role.TARGET, N, layer_share=share, num_logit_tokens=0.0)
    rest = pass_s(Role.TARGET, 7 * N, layer_share=1 - share)
    assert float(found.verify_s(N, 7 * N, KV)) == pytest.approx(last + rest, rel=1e-12)


def test_layers_of_an_unknown_target_are_refused_and_a_share_is_not():
    unknown = Deployment(StairLatency())
    with pytest.raises(LatencyError, match=r"kangaroo:k=6: exit=2 counts its layers.*`target`"):
        unknown.check(parse_method("kangaroo"))
    unknown.check(parse_method("kangaroo:exit=0.06"))
    with pytest.raises(MethodError, match="fewer than all"):
        priced("kangaroo:exit=32")


@pytest.mark.parametrize(
    ("text", "role"),
    [("magicdec", Role.TARGET), ("magicdec:drafter=draft", Role.DRAFT)],
)
def test_a_small_cache_is_read_and_no_more(text, role):
    found = priced(text)
    assert float(found.draft_s(N, N, KV)) == pytest.approx(pass_s(role, N, 512 * N), rel=1e-12)
    assert float(found.draft_s(N, N, 100 * N)) == pytest.approx(pass_s(role, N, 100 * N), rel=1e-12)
    assert float(found.verify_s(N, 4 * N, KV)) == pytest.approx(pass_s(Role.TARGET, 4 * N), rel=1e-12)


def test_contexts_on_both_sides_of_a_budget_are_capped_one_by_one():
    """A batch of short and long prompts: sum of min(context, budget), and the analytic model near it."""
    trace = independent_trace(300, 4, seed=5, prompt_tokens=(10, 4000), accept_prob=0.8)
    options = {
        "methods": ["magicdec:k=3,budget=1500,drafter=draft"],
        "batch_sizes": [1, 16],
        "latency": replace_kv(2e-6),
    }
    replayed, analytic = svsim.replay(trace, **options), svsim.analytic(trace, **options)
    for mine, theirs in zip(analytic.rows, replayed.rows, strict=True):
        assert mine.draft_time_s == pytest.approx(theirs.draft_time_s, rel=0.02)
        assert mine.goodput_tok_s == pytest.approx(theirs.goodput_tok_s, rel=0.02)


def replace_kv(per_token_s):
    """A latency whose draft passes hang on their contexts."""

    class Latency(StairLatency):
        def predict_s(self, shape):
            _, _, kv = shape.broadcast()
            return super().predict_s(shape) + (shape.role is Role.DRAFT) * per_token_s * kv

    return Latency()


def test_fuzzy_passes_and_one_exact_pass_over_what_was_emitted():
    found = priced("easyspec:n=4,attention_share=0.6,exchange_s=0.0001")
    fuzzy = pass_s(Role.DRAFT, N) * (1 - 0.6 * 0.75) + 1e-4
    assert float(found.draft_s(N, N, KV)) == pytest.approx(fuzzy, rel=1e-12)
    # 3 tokens emitted by each: the exact pass reads 4
    exact = pass_s(Role.DRAFT, 4 * N)
    assert float(found.first_draft_s(N, 3 * N, KV)) == pytest.approx(exact + fuzzy, rel=1e-12)
    # the paper's 1.62 times faster drafting needs attention to be half of a pass
    assert pytest.approx(1.62, abs=0.003) == 1 / (1 - 0.51 * 0.75)


def test_the_attention_share_is_read_off_the_draft_model():
    found = priced("easyspec").work.draft.fuzzy.attention_share
    weights = DRAFT.num_layer_parameters + DRAFT.vocabulary_size * DRAFT.hidden_size
    assert found == pytest.approx(14 / 16 * DRAFT.mixer_weights / weights)
    with pytest.raises(LatencyError, match=r"attention_share=auto.*name it with `draft`"):
        priced("easyspec", draft=None)


# -- a trimmed head --------------------------------------------------------------------------------------


@pytest.mark.parametrize("drafter", ["model", "eagle", "mtp"])
def test_a_trimmed_head_pays_for_its_rows(drafter):
    method = parse_method("sd:k=4,head_rows=32064").with_drafter(drafter_named(drafter))
    plain = parse_method("sd:k=4").with_drafter(drafter_named(drafter))
    found, whole = (Deployment(ON_GPU, target=TARGET).priced(m) for m in (method, plain))
    latency = whole.latency
    layers = float(latency.predict_s(StepShape(Role.DRAFT, N, N, KV, num_logit_tokens=0.0)))
    head = float(whole.draft_s(N, N, KV)) - layers
    assert head > 0
    assert float(found.draft_s(N, N, KV)) == pytest.approx(layers + 0.25 * head, rel=1e-12)


def test_a_trimmed_head_of_unknown_vocabulary_is_refused():
    with pytest.raises(LatencyError, match="head_rows=1000 is a part of its vocabulary"):
        Deployment(StairLatency()).check(parse_method("sd:head_rows=1000"))


def ranked(trace, seed=0, most=5000):
    ranks = np.random.default_rng(seed).integers(1, most, (trace.num_positions, 1)).astype(np.float32)
    return replace(trace, target=replace(trace.target, outcomes={"token_rank": ranks}))


def test_without_a_column_tokens_outside_the_head_are_rejected_and_nothing_else():
    trace = ranked(independent_trace(30, 4, seed=2))
    target = trace.target
    found = OfTrimmedHead(2000).resolve(target, target.num_accepted.astype(np.uint8), 4, At("sd"))
    ranks = target.outcomes["token_rank"][:, 0]
    for t in range(trace.num_positions):  # literally
        run = 0
        while run < target.num_accepted[t] and (t + run >= len(ranks) or ranks[t + run] <= 2000):
            run += 1
        assert found[t] == run
    assert 0 < (found < target.num_accepted).mean() < 1


def test_a_column_says_what_the_trimmed_drafter_is_accepted():
    """0 and 1 are runs of ones; probabilities are met within their standard error."""
    trace = independent_trace(200, 4, seed=3)
    rng = np.random.default_rng(0)
    for chance in (rng.integers(0, 2, (trace.num_positions, 4)), rng.random((trace.num_positions, 4))):
        target = replace(trace.target, outcomes={"trim_accept_500": chance.astype(np.float32)})
        found = OfTrimmedHead(500).resolve(target, np.zeros(len(chance), np.uint8), 3, At("sd"))
        expected = np.cumprod(chance[:, :3], axis=1).sum(axis=1)
        if set(np.unique(chance)) == {0, 1}:
            np.testing.assert_array_equal(found, expected)
        error = found.std() / np.sqrt(len(found))
        assert abs(found.mean() - expected.mean()) < 4 * error


def test_own_coins_belong_to_output_positions():
    """What row t tosses at depth 2 is what row t + 1 tosses at depth 1, in memory and in stretches."""
    whole = At("sd").own_coins("name", 50, 4)
    np.testing.assert_array_equal(whole[:-1, 1:], whole[1:, :-1])
    np.testing.assert_array_equal(At("sd", first_row=7).own_coins("name", 20, 4), whole[7:27])


def test_lost_acceptance_shortens_runs_by_its_share():
    accepted = np.full(40_000, 4, np.uint8)
    found = Diluted(0.07).resolve(independent_trace(1, 4).target, accepted, 4, At("easyspec"))
    expected = sum(0.93**d for d in range(1, 5))
    assert found.mean() == pytest.approx(expected, abs=4 * found.std() / np.sqrt(len(found)) * 2)


def test_ranks_are_stored_exactly_and_an_absent_column_is_named(tmp_path):
    trace = ranked(with_draft_signals(independent_trace(30, 4, seed=2)), most=128_256)
    save_trace(trace, tmp_path / "t.parquet")
    again = load_trace(tmp_path / "t.parquet")
    np.testing.assert_array_equal(again.target.outcomes["token_rank"], trace.target.outcomes["token_rank"])
    assert "token_rank" not in again.observable.signals
    settings = RunSettings((parse_method("sd:k=4,head_rows=1000"),), (2,))
    deployment = Deployment(StairLatency(), target=TARGET)
    assert prepare(MemorySource(again), settings, [deployment]).trace.target.outcomes
    bare = replace(trace, target=replace(trace.target, outcomes={}))
    with pytest.raises(MissingSignalError, match=r"needs the column token_rank .*svsim synth --also"):
        prepare(MemorySource(bare), settings, [deployment])


@pytest.mark.parametrize("batch_of", ["requests", "copies"])
def test_trimming_pays_where_the_head_is_dear(batch_of):
    """The analytic model beside the replay; cheaper passes, fewer accepted tokens."""
    trace = ranked(independent_trace(300, 4, seed=3, output_tokens=(60, 140), accept_prob=0.8))
    methods = ["sd:k=4", "sd:k=4,head_rows=4990", "sd:k=4,head_rows=1000"]
    options = {"methods": methods, "latency": ON_GPU, "target": "llama-3.1-8b", "batch_sizes": [1, 12]}
    options |= {"batch_of": batch_of}
    replayed, analytic = svsim.replay(trace, **options), svsim.analytic(trace, **options)
    for mine, theirs in zip(analytic.rows, replayed.rows, strict=True):
        assert mine.goodput_tok_s == pytest.approx(theirs.goodput_tok_s, rel=0.02)
    plain, kept, cut = (r for r in replayed.rows if r.batch_size == 1 and r.method == "sd")
    assert kept.draft_time_s < plain.draft_time_s and kept.goodput_tok_s > plain.goodput_tok_s
    assert cut.mean_acceptance_length < kept.mean_acceptance_length <= plain.mean_acceptance_length
    assert plain.lossless and cut.lossless and cut.replay_kind == "approximate"


# -- engines ---------------------------------------------------------------------------------------------

ALL = (
    "kangaroo:k=4",
    "magicdec",
    "magicdec:k=4,drafter=draft,budget=60",
    "easyspec:k=4",
    "sd:k=4,head_rows=900",
)


@pytest.mark.parametrize("way", [{}, {"refill": "static"}, {"batch_of": "copies"}], ids=str)
def test_the_analytic_model_prices_the_same_passes(way):
    trace = ranked(with_draft_signals(independent_trace(400, 4, seed=3, output_tokens=(60, 140))))
    options = {"methods": ALL, "latency": ON_GPU, "target": "llama-3.1-8b", "draft": "llama-3.2-1b"}
    options |= {"batch_sizes": [1, 12], "prefill": "include", **way}
    replayed, analytic = svsim.replay(trace, **options), svsim.analytic(trace, **options)
    for mine, theirs in zip(analytic.rows, replayed.rows, strict=True):
        assert mine.goodput_tok_s == pytest.approx(theirs.goodput_tok_s, rel=0.02)
        assert mine.draft_time_s == pytest.approx(theirs.draft_time_s, rel=0.03)
    assert all(row.lossless for row in replayed.rows)


def test_step_times_that_do_not_tell_the_head_apart_are_named():
    trace = ranked(with_draft_signals(independent_trace(60, 4, seed=3)))
    methods = ["kangaroo:k=4,exit=0.1", "sd:k=4,head_rows=1000"]
    result = svsim.replay(
        trace, methods=methods, latency=StairLatency(), target="llama-3.1-8b", batch_sizes=[2]
    )
    told = [note for note in result.notes if "do not tell the head apart" in note]
    assert len(told) == 2
    assert "kangaroo:k=4,exit=0.1: a share of the layers is priced as that share of a whole pass" in told[0]
    assert "sd:k=4,head_rows=1000: a trimmed head is priced as a whole one" in told[1]


def test_a_belief_is_learnt_of_the_trimmed_drafter():
    """Half of the emitted tokens lie outside: half of the first tokens are rejected, whatever S and A say."""
    trace = ranked(independent_trace(200, 4, seed=3, accept_prob=0.9), most=1001)
    run = RunSettings(tuple(map(parse_method, ("sv:k=4", "sv:k=4,head_rows=500"))), (4,))
    deployment = Deployment(StairLatency(), target=TARGET)
    whole, trimmed = prepare(MemorySource(trace), run, [deployment]).methods
    signals = trace.observable.require(whole.belief.signals, "sv")
    believed = [float(m.belief.predict(signals)[:, 0].mean()) for m in (whole, trimmed)]
    assert believed == pytest.approx([0.9, 0.45], abs=0.02)


def test_a_small_cache_gains_more_the_larger_the_batch():
    """At long contexts a target pass reads ever more of the cache, and a draft pass ever less beside it."""
    found, k, accepted = priced("magicdec"), 3, 0.82
    tokens = (1 - accepted ** (k + 1)) / (1 - accepted)
    speedups = []
    for n in (1, 8, 32, 64):
        kv = 32_000 * n
        alone_s = float(ON_GPU.predict_s(StepShape(Role.TARGET, n, n, kv)))
        cycle_s = found.full_draft_s(n, kv) + float(found.verify_s(n, (k + 1) * n, kv))
        speedups.append(tokens * alone_s / cycle_s)
    assert speedups == sorted(speedups) and speedups[0] < 1.0 < speedups[-1]
