"""Operations of passes and of decoding, by hand and against published model sizes."""

import pytest
from support.request_records import record

from svsim.latency.geometry import ModelGeometry, model_geometry
from svsim.metrics.flops import decoding_flops, pass_flops, weights_per_token
from svsim.records import RunRecord

TINY = ModelGeometry("tiny", 2, 8, 2, 2, 4, 16, 10)


def test_weights_that_a_token_meets() -> None:
    # per layer 4 * 8 * 8 attention and 3 * 8 * 16 MLP weights; the output head, not the embedding
    assert weights_per_token(TINY) == 2 * (256 + 384) + 80


def test_a_mixture_counts_the_experts_it_chooses() -> None:
    mixtral = model_geometry("mixtral-8x7b")
    # 12.9 billion active parameters (arXiv 2401.04088), embeddings of 32,000 x 4,096 not multiplied
    assert weights_per_token(mixtral) / 1e9 == pytest.approx(12.9 - 0.13, rel=0.01)


def test_a_pass_multiplies_weights_and_context() -> None:
    assert pass_flops(TINY, 3, 0) == 3 * 2 * weights_per_token(TINY)
    # scores and values: 2 operations each, over 2 layers of 8 wide query heads
    assert pass_flops(TINY, 3, 5) - pass_flops(TINY, 3, 0) == 3 * 5 * 4 * 2 * 8


def test_a_hybrid_multiplies_context_in_its_attention_layers() -> None:
    hybrid = model_geometry("qwen3-next-80b-a3b")
    # a quarter of 48 layers, 16 heads of 256
    assert pass_flops(hybrid, 1, 10) - pass_flops(hybrid, 1, 0) == 10 * 4 * 12 * 16 * 256


def counted(verified: float, drafted: float, accepted: float, steps: float) -> RunRecord:
    return record([verified], [steps], [drafted], [accepted])


def test_savings_and_companion_are_shares_of_a_fixed_length() -> None:
    models = {"target": TINY, "draft": TINY, "companion": TINY}
    fixed = decoding_flops(counted(50, 50, 10, 10), models, 0, uses_companion=False)
    adaptive = decoding_flops(counted(20, 50, 10, 10), models, 0, uses_companion=True)
    one = pass_flops(TINY, 1, 0)
    assert fixed.companion == 0
    assert fixed.target == pytest.approx(60 / 20 * one)
    assert adaptive.saved_share(fixed) == pytest.approx(0.5)  # 30 target tokens in place of 60
    assert adaptive.companion_share(fixed) == pytest.approx(50 / 60)
    assert adaptive.draft == fixed.draft == pytest.approx(50 / 20 * one)


def test_target_only_decoding_costs_one_pass_per_token() -> None:
    models = {"target": TINY, "draft": TINY, "companion": TINY}
    flops = decoding_flops(counted(0, 0, 0, 7), models, 3, uses_companion=False)
    assert flops.draft == 0
    assert flops.target == pytest.approx(pass_flops(TINY, 1, 3))
