import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from svsim.errors import LatencyError
from svsim.latency.geometry import model_geometry
from svsim.latency.hardware import data_sheet
from svsim.latency.pass_work import ModelOnGpus, graph_padded
from svsim.latency.roofline import Efficiencies, RooflineLatency
from svsim.latency.shape import Role, StepShape

PERFECT = Efficiencies(
    memory=1.0,
    arithmetic=1.0,
    crossing=200.0,
    tile_tokens=1,
    experts=1.0,
    attention=1.0,
    interconnect=1.0,
    product_s=0.0,
    kernel_s=0.0,
    attention_s=0.0,
    all_reduce_s=0.0,
    two_shot_s=0.0,
)
LLAMA_70B, LLAMA_1B, LLAMA_3B = (model_geometry(n) for n in ("llama-3.1-70b", "llama-3.2-1b", "llama-3.2-3b"))


def llama_70b(efficiencies: Efficiencies | None = None, tp: int = 4) -> RooflineLatency:
    model = RooflineLatency.of("h100_sxm", tp, LLAMA_70B, LLAMA_1B, LLAMA_3B)
    return RooflineLatency(model.gpu, model.models, efficiencies or model.efficiencies)


def test_decoding_one_sequence_reads_the_weights_once() -> None:
    """At perfect efficiency: all weights but the embedding table, over four GPUs' bandwidth."""
    embedding = LLAMA_70B.vocabulary_size * LLAMA_70B.hidden_size
    bound_s = 2 * (LLAMA_70B.num_parameters - embedding) / 4 / 3.35e12
    assert llama_70b(PERFECT).predict_s(StepShape(Role.TARGET, 1, 1, 0)) == pytest.approx(bound_s, rel=0.01)


def test_a_long_prompt_is_bound_by_arithmetic() -> None:
    prompt = 4096
    flop = 2 * (LLAMA_70B.num_parameters - 2 * LLAMA_70B.vocabulary_size * LLAMA_70B.hidden_size) * prompt
    flop += 4 * 80 * 64 * 128 * prompt**2 / 2
    seconds = llama_70b(PERFECT, tp=1).predict_s(StepShape(Role.TARGET, 1, prompt, 0))
    bound_s = flop / 989.5e12
    assert bound_s < seconds < 1.1 * bound_s  # element-wise work on top


def test_all_reduce_sends_one_and_a_half_messages_over_four_gpus() -> None:
    shape = StepShape(Role.TARGET, 1, 4096, 0)
    links_s = llama_70b(PERFECT).predict_s(shape) - llama_70b(PERFECT, tp=1).predict_s(shape) / 4
    assert links_s == pytest.approx(
        2 * 80 * 1.5 * 8192 * 2 * 4096 / 450e9, rel=0.3
    )  # element-wise is not split


def test_small_messages_are_reduced_in_one_shot() -> None:
    """Seven messages at once, until sending 1.75 of them and 10 us more is faster: at 7 us per 5.25."""
    model = llama_70b(replace(PERFECT, two_shot_s=10e-6), tp=8)
    parts = [model._all_reduce_s(model.models[Role.TARGET], np.array(float(n))) for n in (1, 8, 1000)]
    message_s = 8192 * 2 / 450e9
    crossing = 10e-6 / (7 - 1.75) / message_s  # 52 tokens
    assert 8 < crossing < 1000
    expected = [7 * message_s, 8 * 7 * message_s, 10e-6 + 1000 * 1.75 * message_s]
    np.testing.assert_allclose(parts, expected, rtol=1e-12)


def test_latent_attention_reads_one_cache_on_every_gpu() -> None:
    """DeepSeek-V3 at perfect efficiency: one query is bound by the cache, 16 by their arithmetic."""
    v3 = model_geometry("deepseek-v3")

    def by_context(tp: int, queries: int) -> float:
        model = RooflineLatency(data_sheet("h200_sxm"), {Role.TARGET: ModelOnGpus(v3, tp)}, PERFECT)
        contexts = np.array([1000.0, 9000.0]) * 64
        return float(np.diff(model.predict_s(StepShape(Role.TARGET, 64, 64 * queries, contexts)))[0])

    read_s = 61 * 64 * 8000 * 576 * 2 / 4.8e12
    assert by_context(8, 1) == pytest.approx(read_s)  # 16 heads
    assert by_context(4, 1) == pytest.approx(read_s)  # nothing is split
    absorbed_s = 61 * 64 * 8000 * 16 * 16 * 2 * (576 + 512) / 989.5e12
    assert absorbed_s > read_s
    assert by_context(8, 16) == pytest.approx(absorbed_s)


def test_long_prompts_expand_the_latent_cache() -> None:
    v3 = model_geometry("deepseek-v3")
    model = RooflineLatency(data_sheet("h200_sxm"), {Role.TARGET: ModelOnGpus(v3, 8)}, PERFECT)
    alone, behind = model.predict_s(StepShape(Role.TARGET, 1, 4096, np.array([0.0, 8192.0])))
    pairs, heads = 4096 * 8192, 16
    expanded = 61 * heads * (2 * (128 + 64 + 128) * pairs + 2 * 512 * 256 * 8192)
    assert behind - alone == pytest.approx(expanded / 989.5e12, rel=1e-6)


def test_shared_experts_and_dense_layers_are_read_by_every_token() -> None:
    v3 = model_geometry("deepseek-v3")

    def one_token_s(**changes: int) -> float:
        model = {Role.TARGET: ModelOnGpus(replace(v3, **changes), 8)}
        latency = RooflineLatency(data_sheet("h200_sxm"), model, PERFECT)
        return float(latency.predict_s(StepShape(Role.TARGET, 1, 1, 0)))

    without = one_token_s(shared_intermediate_size=0)
    bytes_s = 58 * 3 * 7168 * 2048 / 8 / 4.8e12  # one byte per weight
    assert one_token_s() - without == pytest.approx(bytes_s, rel=0.01)
    mixtures_only = one_token_s(num_dense_layers=0, dense_intermediate_size=0)
    routed, dense = 9 * 3 * 7168 * 2048, 3 * 7168 * 18432  # eight chosen experts and the shared one
    assert mixtures_only - one_token_s() == pytest.approx(3 * (routed - dense) / 8 / 4.8e12, abs=2e-7)


def test_verification_reads_each_sequences_kv_once() -> None:
    model = llama_70b(PERFECT)
    contexts = np.array([[1000.0], [9000.0]]) * 16
    by_context = np.diff(model.predict_s(StepShape(Role.TARGET, 16, [16, 128], contexts)), axis=0)[0]
    read_s = 16 * 8000 * LLAMA_70B.kv_bytes_per_token / 4 / 3.35e12
    np.testing.assert_allclose(by_context, read_s, rtol=1e-6)


def test_attention_reads_the_new_tokens_too() -> None:
    """Eight tokens of each sequence over 1000 read as much as one of each over 1007."""
    model = llama_70b(PERFECT)
    target, n = model.models[Role.TARGET], np.array(16.0)
    eight = model._attention_s(target, n, 8 * n, 1000 * n)
    one = model._attention_s(target, n, n, 1007 * n)
    assert float(eight) == pytest.approx(float(one), rel=1e-9)
    assert float(eight) > float(model._attention_s(target, n, n, 1000 * n)) * 1.006


def test_more_gpus_are_faster_but_not_in_proportion() -> None:
    shape = StepShape(Role.TARGET, 8, 64, 8 * 1000)
    one, two, eight = (llama_70b(tp=tp).predict_s(shape) for tp in (1, 2, 8))
    assert 1.5 < one / two < 2.0
    assert 4.0 < one / eight < 8.0


def test_a_mixture_reads_the_experts_its_tokens_choose() -> None:
    mixture = RooflineLatency.of("h100_sxm", 1, model_geometry("qwen3-30b-a3b"))
    one, many = (mixture.predict_s(StepShape(Role.TARGET, b, b, b * 100)) for b in (1, 128))
    read_by_one_s = 48 * 8 * 3 * 2048 * 768 * 2 / 3.35e12
    read_by_many_s = 48 * 128 * 3 * 2048 * 768 * 2 / 3.35e12
    assert many - one > 0.9 * (read_by_many_s - read_by_one_s)


def test_padding_follows_the_captured_graphs() -> None:
    tokens = [0, 1, 2, 3, 5, 8, 9, 250, 256, 257, 500, 512, 513, 2000]
    padded = [0, 1, 2, 4, 8, 8, 16, 256, 256, 272, 512, 512, 513, 2000]
    np.testing.assert_array_equal(graph_padded(tokens), padded)
    model = llama_70b()
    same, more = np.diff(model.predict_s(StepShape(Role.TARGET, 64, [257, 272, 273], 0)))
    assert same == pytest.approx(0, abs=1e-6)  # the KV of 15 tokens
    assert more > 0


def test_heads_must_divide() -> None:
    with pytest.raises(LatencyError, match=r"has 14 attention heads, which tp=4 does not divide"):
        RooflineLatency.of("h100_sxm", 4, model_geometry("qwen2.5-0.5b"))


def test_products_have_tile_stairs_and_a_soft_crossing() -> None:
    """Between the bounds a product is slower than either; within a tile nothing changes."""
    model = llama_70b(replace(PERFECT, crossing=1.5, tile_tokens=128))
    hard = llama_70b(replace(PERFECT, tile_tokens=128))
    tokens = np.array([513, 600, 640, 641])
    seconds = model.predict_s(StepShape(Role.TARGET, 640, tokens, 0))
    hard_s = hard.predict_s(StepShape(Role.TARGET, 640, tokens, 0))
    assert np.all(seconds > 1.1 * hard_s)
    assert seconds[3] - seconds[2] > 100 * (seconds[2] - seconds[1]) / 40  # per token


def test_pcie_gpus_beyond_a_pair_share_a_bus() -> None:
    def reduce_s(tp: int) -> float:
        model = RooflineLatency.of("l40s", tp, LLAMA_70B)
        slow = replace(model.gpu, interconnect_bytes_per_s=model.gpu.interconnect_bytes_per_s / 2)
        shape = StepShape(Role.TARGET, 64, 512, 0)
        halved = RooflineLatency(slow, model.models)
        return float(halved.predict_s(shape) - model.predict_s(shape))  # = the time on the links

    pair, four = reduce_s(2), reduce_s(4)
    assert four == pytest.approx(pair * 4 * 1.5, rel=0.05)  # a fourth each, 1.5 times the bytes


def test_the_fit_is_as_good_as_the_calibration_readme_says() -> None:
    """In sample; a change of the roofline has to come with a new fit."""
    script = runpy.run_path(str(Path(__file__).parents[2] / "calibration" / "fit_roofline.py"))
    shapes = script["fitted_shapes"]()
    mean, p95, slope = script["errors"](script["load"](shapes), shapes, Efficiencies())
    assert mean < 0.085 and p95 < 0.24 and slope < 0.14
