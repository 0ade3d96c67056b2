"""Passes as an engine runs them: host time by what is speculated, dearer verification, prompts."""

from dataclasses import replace

import numpy as np
import pytest

from svsim.latency.draft_heads import draft_head
from svsim.latency.engines.catalogue import engine_profile
from svsim.latency.engines.latency import EngineLatency, reading_s
from svsim.latency.engines.profile import Constant
from svsim.latency.geometry import model_geometry
from svsim.latency.host import Speculation, host_time
from svsim.latency.mixed_pass import MixedLatencyModel
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape

DENSE, MIXTURE = model_geometry("llama-3.1-8b"), model_geometry("qwen3-30b-a3b")
SPECULATES = Speculation(num_speculative_tokens=5, num_draft_passes=5, num_tokens_per_draft_pass=1)


def on_engine(target=DENSE, **constants):
    profile = engine_profile("vllm-0.20")
    own = profile.constants | {name: Constant(v, v, v) for name, v in constants.items()}
    return EngineLatency(RooflineLatency.of("h100_sxm", 1, target), replace(profile, constants=own), target)


def target_s(latency, sequences, tokens, context=1000):
    return latency.predict_s(StepShape(Role.TARGET, sequences, tokens, np.asarray(sequences) * context))


def test_decoding_passes_are_the_bare_ones():
    engine = on_engine(verify_attention=2.0)
    sizes = np.array([1, 8, 64])
    assert np.array_equal(target_s(engine, sizes, sizes), target_s(engine.base, sizes, sizes))


def test_a_verification_reads_the_cache_so_much_dearer():
    engine = on_engine(verify_attention=1.5)
    added = target_s(engine, 32, 32 * 6) - target_s(engine.base, 32, 32 * 6)
    attention = target_s(engine.base, 32, 32) - target_s(engine.base, 32, 32, context=0)
    assert added == pytest.approx(0.5 * attention) and attention > 1e-4


def test_it_grows_with_the_share_of_sequences_that_verify_more_than_one_token():
    engine = on_engine(verify_attention=1.5)
    full = float(0.5 * reading_s(engine.base, 32, 32_000.0))
    for drafted in (0, 8, 16, 32, 64):
        added = target_s(engine, 32, 32 + drafted) - target_s(engine.base, 32, 32 + drafted)
        assert added == pytest.approx(full * min(drafted / 32, 1.0), abs=1e-12)


def test_more_tokens_never_cost_less():
    for target in (DENSE, MIXTURE):
        tokens = np.arange(16, 16 * 60)
        assert (np.diff(target_s(on_engine(target), 16, tokens)) >= 0).all()


def test_a_mixture_of_the_roofline_reads_fewer_experts_than_it_says():
    engine = on_engine(MIXTURE, verify_attention=1.0, mixture_verification=0.6)
    plain, bare = target_s(engine.base, 8, 8), target_s(engine.base, 8, 48)
    assert target_s(engine, 8, 48) == pytest.approx(plain + 0.6 * (bare - plain))
    assert engine.price_error_at(8) == engine.profile.roofline_mixture_error
    assert on_engine().price_error_at(8) == engine.profile.price_error < engine.price_error_at(8)


def test_prompts_cost_a_factor_alone_and_beside_others():
    engine = on_engine(prefill=1.4)
    prompt = StepShape(Role.TARGET, 1, 700, 0)
    assert engine.predict_s(prompt) == pytest.approx(1.4 * engine.base.predict_s(prompt))
    assert isinstance(engine, MixedLatencyModel)
    decode = StepShape(Role.TARGET, 8, 8, 8000)
    bare = engine.base.predict_mixed_s(decode, [512], [0])
    alone = engine.base.predict_s(decode)
    assert engine.predict_mixed_s(decode, [512], [0]) == pytest.approx(alone + 1.4 * (bare - alone))
    assert engine.predict_mixed_s(decode, [0], [0]) == pytest.approx(alone)


def test_no_graph_is_captured_beyond_512_tokens_and_layers_then_take_their_launches():
    small = model_geometry("qwen3-1.7b")
    engine = on_engine(small, eager_layer_s=0.3e-3, verify_attention=1.0)
    graphed, eager = (float(target_s(engine, 64, tokens, context=100)) for tokens in (512, 513))
    assert graphed == pytest.approx(float(target_s(engine.base, 64, 512, context=100)))
    assert eager == pytest.approx(28 * 0.3e-3) and eager > graphed
    dense = on_engine(eager_layer_s=0.3e-3, verify_attention=1.0)
    assert target_s(dense, 128, 1024) == pytest.approx(target_s(dense.base, 128, 1024))


def test_host_time_by_what_is_speculated():
    constants = {"target_only_host_s": 1e-4, "speculative_host_s": 2e-3, "draft_pass_s": 3e-4,
                 "retrieval_host_s": 4e-3, "fp8_kv_draft_s": 8e-3, "cut_vocabulary_pass_s": 5e-4}  # fmt: skip
    engine = on_engine(**constants)
    assert host_time(engine, Speculation()).per_step_s == 1e-4 == engine.overhead_per_step_s
    chain = host_time(engine, SPECULATES)
    assert (chain.per_step_s, chain.per_sequence_s, chain.per_draft_pass_s) == (2e-3, 0.0, 3e-4)
    looked_up = host_time(engine, Speculation(5, drafts_on_host=True))
    assert looked_up.per_step_s == pytest.approx(6e-3)
    scored = host_time(engine, replace(SPECULATES, runs_companion=True))
    assert scored.per_step_s == pytest.approx(2e-3 + 3e-4)
    without_units = replace(engine, kv_without_units=True)
    assert host_time(without_units, SPECULATES).per_step_s == pytest.approx(10e-3)
    assert host_time(without_units, Speculation()).per_step_s == 1e-4


def test_a_head_takes_the_draft_models_place_and_an_eagle3_head_maps_its_vocabulary():
    engine = on_engine(draft_pass_s=3e-4, cut_vocabulary_pass_s=5e-4)
    eagle, eagle3 = (engine.with_head(draft_head(kind, DENSE).geometry) for kind in ("eagle", "eagle3"))
    assert Role.DRAFT in eagle.roles and Role.DRAFT not in engine.roles
    assert host_time(eagle, SPECULATES).per_draft_pass_s == pytest.approx(3e-4)
    assert host_time(eagle3, SPECULATES).per_draft_pass_s == pytest.approx(8e-4)
    assert target_s(eagle, 8, 48) == target_s(engine, 8, 48)
