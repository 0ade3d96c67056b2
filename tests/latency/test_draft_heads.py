import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from svsim.errors import LatencyError
from svsim.latency.draft_heads import draft_head, head_from_config, head_of_target
from svsim.latency.geometry import ModelGeometry, model_geometry
from svsim.latency.hardware import data_sheet
from svsim.latency.head_shape import HeadKind
from svsim.latency.memory import KvDemand, MemoryPlan
from svsim.latency.pass_work import models_on_gpus
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape

LLAMA_8B, LLAMA_70B = model_geometry("llama-3.1-8b"), model_geometry("llama-3.1-70b")
LAYER: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
    "num_key_value_heads": 8, "num_hidden_layers": 1, "vocab_size": 128256,
}  # fmt: skip
EAGLE3 = LAYER | {"architectures": ["LlamaForCausalLMEagle3"], "draft_vocab_size": 32000}


def test_an_eagle3_head_by_hand() -> None:
    """Fusion of three states; queries, keys and values of two vectors; output, MLP, own logits."""
    h = 4096
    by_hand = 3 * h * h + 2 * h * (32 + 2 * 8) * 128 + h * h + 3 * h * 14336 + 32000 * h
    assert by_hand == pytest.approx(0.425e9, rel=0.01)
    for head in (head_of_target(HeadKind.EAGLE3, LLAMA_8B), head_from_config(EAGLE3)):
        assert head.num_parameters == by_hand
        assert head.weight_bytes == 2 * by_hand
        assert head.geometry.kv_bytes_per_token == 2 * 8 * 128 * 2
        assert not head.is_one_pass


def test_eagle_heads_are_a_small_share_of_a_large_target() -> None:
    """A tenth is the share of no target: 0.03 of a 70B, 0.05 (EAGLE-3) to 0.1 (EAGLE) of an 8B."""
    eagle, eagle3 = (head_of_target(kind, LLAMA_70B) for kind in (HeadKind.EAGLE, HeadKind.EAGLE3))
    assert eagle.share_of(LLAMA_70B) == pytest.approx(0.029, abs=0.002)
    assert eagle3.share_of(LLAMA_70B) == pytest.approx(0.022, abs=0.003)
    assert eagle.num_parameters == LLAMA_70B.num_layer_parameters // 80 + 2 * 8192 * 8192
    assert head_of_target(HeadKind.EAGLE3, LLAMA_8B).share_of(LLAMA_8B) == pytest.approx(0.053, abs=0.001)


def test_an_mtp_module_is_a_layer_and_a_projection() -> None:
    """DeepSeek-V3's has 11.5 billion own parameters beside the shared 1.8 (model card: 14 with both)."""
    head = head_of_target(HeadKind.MTP, model_geometry("deepseek-v3"))
    assert head.num_parameters == pytest.approx(11.5e9, rel=0.01)
    assert head.geometry.num_experts == 256 and head.geometry.num_dense_layers == 0
    assert head.geometry.weight_dtype == "fp8_block"
    both_shared = 2 * 129280 * 7168
    assert head.num_parameters + both_shared == pytest.approx(13.4e9, rel=0.02)


def test_a_speculators_config_is_a_head_on_a_target() -> None:
    speculator = {
        "architectures": ["Eagle3Speculator"], "speculators_model_type": "eagle3", "draft_vocab_size": 32000,
        "target_hidden_size": None, "transformer_layer_config": LAYER,
        "speculators_config": {"proposal_methods": [{"speculative_tokens": 3}]},
    }  # fmt: skip
    head = head_from_config(speculator)
    assert head.geometry.num_parameters == head_from_config(EAGLE3).num_parameters
    assert head.num_speculative_tokens == 3
    assert ModelGeometry.from_config(speculator, head.geometry.name) == head.geometry
    of_larger = head_from_config(speculator | {"target_hidden_size": 8192})
    assert of_larger.num_parameters - head.num_parameters == 3 * 4096 * 4096


def test_block_drafters_take_one_pass_and_a_row_of_logits_per_token() -> None:
    dflash = {
        "architectures": ["DFlashDraftModel"], "block_size": 16,
        "dflash_config": {"target_layer_ids": [1, 9, 17, 25, 33], "mask_token_id": 151669},
    }  # fmt: skip
    head = head_from_config(LAYER | dflash | {"num_hidden_layers": 5})
    assert head.is_one_pass and head.num_speculative_tokens == 15
    assert head.geometry.head is not None and head.geometry.head.fused_size == 5 * 4096
    assert head_of_target(HeadKind.PEAGLE, LLAMA_8B).geometry.num_layers == 4
    gpu = data_sheet("h100_sxm")

    def pass_s(kind: HeadKind) -> Any:
        geometry = replace(head_of_target(kind, LLAMA_8B).geometry, vocabulary_size=32000, num_layers=4)
        model = RooflineLatency(gpu, models_on_gpus(LLAMA_8B, geometry, None, 1))
        return model.predict_s(StepShape(Role.DRAFT, [32, 32], [32, 32 * 7], 32 * 500))

    one, seven = pass_s(HeadKind.PEAGLE) - pass_s(HeadKind.EAGLE3)
    assert one == pytest.approx(0, abs=1e-9)  # one token per sequence: the same rows
    assert seven > 192 * 6 * 4 * 32000 / (gpu.memory_bytes_per_s * 0.78)  # six passes over 192 more rows


def test_a_head_adds_its_own_weights_and_cache_to_the_targets() -> None:
    def plan(head: ModelGeometry | None) -> MemoryPlan:
        return MemoryPlan(data_sheet("h100_sxm"), models_on_gpus(LLAMA_8B, head, None, 1), 3)

    head = head_of_target(HeadKind.EAGLE3, LLAMA_8B)
    alone, both = plan(None), plan(head.geometry)
    assert both.weight_bytes - alone.weight_bytes == head.weight_bytes
    context = KvDemand.of_length(1000)
    more = both.batch_bytes(8, context) - alone.batch_bytes(8, context)
    assert more == 8 * 1004 * 4096 + 8 * 3 * 32000 * 4


def test_three_passes_of_an_eagle3_head() -> None:
    """One sequence on an H100: three passes of a plain layer with the cut vocabulary take 0.91 ms; fusion and
    the embedding beside the hidden vector are a fifth of the weights more."""
    head = head_from_config(EAGLE3).geometry

    def passes_s(shape: ModelGeometry) -> float:
        model = RooflineLatency.of("h100_sxm", 1, LLAMA_8B, shape)
        return 3 * float(model.predict_s(StepShape(Role.DRAFT, 1, 1, 1000)))

    plain = replace(head, head=None)
    assert passes_s(plain) == pytest.approx(0.91e-3, rel=0.05)
    more = head.fusion_weights / (plain.num_layer_parameters + 32000 * 4096)
    assert passes_s(head) / passes_s(plain) == pytest.approx(1 + more, rel=0.1)


def test_heads_of_mixtures_and_latent_attention_are_plain_layers() -> None:
    head = head_of_target(HeadKind.EAGLE3, model_geometry("deepseek-v3")).geometry
    assert (head.num_heads, head.num_kv_heads, head.head_size, head.latent) == (56, 8, 128, None)
    assert head.intermediate_size == 18432 and head.num_experts == 0
    assert head_of_target(HeadKind.EAGLE, model_geometry("qwen3-30b-a3b")).geometry.intermediate_size == 6144


def test_files_and_kinds(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(EAGLE3))
    assert draft_head(None, None, tmp_path).kind is HeadKind.EAGLE3
    assert draft_head("peagle", None, path).is_one_pass
    with pytest.raises(LatencyError, match="a head of kind eagle3, not mtp"):
        draft_head("mtp", None, path)
    path.write_text(json.dumps(LAYER))
    assert draft_head("eagle", None, path).num_parameters == 2 * 4096**2 + 218_103_808
    with pytest.raises(LatencyError, match="not a drafting head; say its kind"):
        draft_head(None, LLAMA_8B, path)
    path.write_text(json.dumps(LAYER | {"num_hidden_layers": 32}))
    assert draft_head("mtp", None, path).geometry.num_layers == 1
    with pytest.raises(LatencyError, match="32 layers are a whole model, no eagle head"):
        draft_head("eagle", None, path)
    with pytest.raises(LatencyError, match="no drafting head medusa; expected one of eagle, eagle3"):
        draft_head("medusa", LLAMA_8B)
    with pytest.raises(LatencyError, match="needs its kind and a target"):
        draft_head("eagle")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draft_vocab_size": "32000"}, "draft_vocab_size = 32000; expected a whole number"),
        ({"target_hidden_size": -1}, "target_hidden_size = -1"),
        ({"transformer_layer_config": 3}, "transformer_layer_config = 3; expected a JSON object"),
        ({"transformer_layer_config": {}}, "is missing"),
        ({"hidden_size": 10**400}, "hidden_size = 1000"),
    ],
)
def test_bad_heads(changes: dict[str, object], message: str) -> None:
    with pytest.raises(LatencyError, match=message) as caught:
        head_from_config(EAGLE3 | changes)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_the_database_prices_a_head() -> None:
    pytest.importorskip("aiconfigurator_core", reason="kernels of heads need aiconfigurator-core")
    from svsim.latency.database import database_latency

    head = head_of_target(HeadKind.EAGLE3, LLAMA_8B).geometry
    shape = StepShape(Role.DRAFT, [1, 8, 64], [1, 8, 64], [1000, 8000, 64000])
    measured_s = database_latency("h100_sxm", 1, LLAMA_8B, head).predict_s(shape)
    roofline_s = RooflineLatency.of("h100_sxm", 1, LLAMA_8B, head).predict_s(shape)
    assert np.abs(measured_s / roofline_s - 1).max() < 0.3


@pytest.mark.parametrize(
    ("target", "tensor_parallel", "kind", "times"),
    [("llama-3.1-8b", 1, HeadKind.EAGLE3, 1.9), ("llama-3.1-70b", 4, HeadKind.EAGLE, 3.4)],
)
def test_a_tenth_of_the_target_is_too_much(
    target: str, tensor_parallel: int, kind: HeadKind, times: float
) -> None:
    """Of a pass at batch 1 to 64: twice too much for an 8B's EAGLE-3 head, three times for a 70B's head."""
    model = model_geometry(target)
    head = head_of_target(kind, model).geometry
    latency = RooflineLatency.of("h100_sxm", tensor_parallel, model, head, sharded=[Role.DRAFT])
    batch = np.array([1.0, 8, 32, 64])
    of_target, of_head = (
        latency.predict_s(StepShape(r, batch, batch, 800 * batch)) for r in (Role.TARGET, Role.DRAFT)
    )
    np.testing.assert_allclose(0.1 * of_target / of_head, times, rtol=0.1)


@pytest.mark.parametrize(
    "name", ["mamba-2.8b", "gemma-4-26b-a4b", "nemotron-nano-9b-v2", "jamba-mini-1.5", "opt-6.7b"]
)
@pytest.mark.parametrize("kind", HeadKind)
def test_every_target_has_heads(kind: HeadKind, name: str) -> None:
    """A head has attention and an MLP of its own, whatever its target's layers are."""
    target = model_geometry(name)
    head = head_of_target(kind, target)
    shape = head.geometry
    assert shape.num_full_layers == shape.num_layers == shape.num_mixture_layers
    assert shape.kv_bytes_per_token > 0 and shape.window is None and shape.recurrent is None
    assert head.share_of(target) < 0.45
    seconds = RooflineLatency.of("h200_sxm", 1, target, shape).predict_s(StepShape(Role.DRAFT, 4, 4, 4000))
    assert 0 < seconds < 0.02
