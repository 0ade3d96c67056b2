"""Hybrids with gated delta networks: shapes by hand, states in memory, prices of their traffic."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from svsim.errors import LatencyError
from svsim.latency.database import database_latency, database_step_times
from svsim.latency.geometry import ModelGeometry, model_geometry
from svsim.latency.hardware import data_sheet
from svsim.latency.kernel_database import KernelDatabase
from svsim.latency.memory import KvDemand, MemoryPlan
from svsim.latency.model import LatencyModel
from svsim.latency.pass_kernels import PassKernels
from svsim.latency.pass_parts import MissingKernelError
from svsim.latency.pass_work import ModelOnGpus
from svsim.latency.precision import BYTES_PER_VALUE
from svsim.latency.roofline import Efficiencies, RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.latency.step_grid import PassShapes, standard_shapes

NEXT, QWEN35 = model_geometry("qwen3-next-80b-a3b"), model_geometry("qwen3.5-35b-a3b")
NEXT_CONFIG = {
    "model_type": "qwen3_next", "hidden_size": 2048, "intermediate_size": 5120, "num_hidden_layers": 48,
    "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "vocab_size": 151936,
    "tie_word_embeddings": False, "partial_rotary_factor": 0.25, "full_attention_interval": 4,
    "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
    "linear_num_key_heads": 16, "linear_num_value_heads": 32, "num_experts": 512,
    "num_experts_per_tok": 10, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
    "decoder_sparse_step": 1, "mlp_only_layers": [],
}  # fmt: skip
PATTERN = ["linear_attention"] * 3 + ["full_attention"]
STATE_BYTES = 32 * 128 * 128 * 4  # float32, per layer and sequence


def layers_of(model: ModelGeometry) -> Mapping[str, int]:
    recurrent = model.recurrent
    assert recurrent is not None
    return {"recurrent": recurrent.num_layers, "attention": model.num_attention_layers}


@pytest.mark.parametrize(("model", "billions", "layers"), [(NEXT, 80, (36, 12)), (QWEN35, 35, (30, 10))])
def test_published_sizes(model: ModelGeometry, billions: int, layers: tuple[int, int]) -> None:
    """The model cards' 80 (35) billion weights, of which a token meets 3 billion."""
    assert model.num_parameters == pytest.approx(billions * 1e9, rel=0.011)
    assert tuple(layers_of(model).values()) == layers
    expert = 3 * 2048 * 512
    left_out = model.num_layers * expert * (model.num_experts - model.num_experts_per_token)
    head = model.vocabulary_size * model.hidden_size
    assert model.num_layer_parameters + head - left_out == pytest.approx(3e9, rel=0.2)


def test_weights_of_both_kinds_of_layers_by_hand() -> None:
    recurrent = NEXT.recurrent
    assert recurrent is not None
    # queries and keys of 16 heads, values and output gate of 32, two numbers per value head, output
    by_hand = 2048 * (2 * 2048 + 2 * 4096 + 64 + 4096) + 4 * (2 * 2048 + 4096)
    assert recurrent.weights_per_layer(2048) == by_hand
    # queries and their gate, keys and values, output
    assert NEXT.attention_weights_per_layer == 2048 * 256 * (2 * 16 + 2 * 2 + 16)
    assert NEXT.mixer_weights == 36 * by_hand + 12 * NEXT.attention_weights_per_layer


def test_configurations() -> None:
    assert ModelGeometry.from_config(NEXT_CONFIG, NEXT.name) == NEXT
    assert ModelGeometry.from_config(NEXT_CONFIG | {"layer_types": PATTERN * 12}, NEXT.name) == NEXT
    qwen35 = NEXT_CONFIG | {
        "num_hidden_layers": 40, "vocab_size": 248320, "num_experts": 256, "num_experts_per_tok": 8,
        "mamba_ssm_dtype": "float32", "attn_output_gate": True, "layer_types": PATTERN * 10,
    }  # fmt: skip
    assert ModelGeometry.from_config({"text_config": qwen35}, QWEN35.name) == QWEN35


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"linear_value_head_dim": None}, "linear_value_head_dim is missing"),
        ({"linear_num_key_heads": 1.5}, "linear_num_key_heads = 1.5; expected a whole number"),
        ({"mamba_ssm_dtype": "fp8"}, "mamba_ssm_dtype = fp8; expected one of float32, bfloat16, float16"),
        ({"layer_types": ["linear_attention"]}, "layer_types: expected 48 names"),
        ({"layer_types": ["sliding_attention"] * 48}, "windowed layers, but sliding_window is missing"),
        (
            {"layer_types": ["sparse"] * 48},
            '"sparse" is no known kind of layer; expected each one of full_att',
        ),
        ({"full_attention_interval": 0}, "full_attention_interval = 0"),
        ({"mamba_num_heads": 64}, "mamba_num_heads means state-space layers, which is not modelled"),
    ],
)
def test_bad_configurations(changes: dict[str, object], message: str) -> None:
    with pytest.raises(LatencyError, match=message):
        ModelGeometry.from_config(NEXT_CONFIG | changes, "bad")


def test_heads_of_the_recurrence_must_divide() -> None:
    recurrent = NEXT.recurrent
    assert recurrent is not None
    few = replace(NEXT, recurrent=replace(recurrent, num_key_heads=2))
    with pytest.raises(LatencyError, match="2 key heads in recurrent layers, which tp=4 does not divide"):
        ModelOnGpus(few, 4)


def test_the_cache_grows_in_attention_layers_alone() -> None:
    assert NEXT.kv_bytes_per_token == 12 * 2 * 2 * 256 * 2  # K and V of 2 heads
    assert ModelOnGpus(NEXT, 8).kv_bytes_per_token == NEXT.kv_bytes_per_token / 2  # one head on each GPU


@pytest.mark.parametrize("k", [0, 5])
def test_a_sequence_holds_a_state_per_draft_position(k: int) -> None:
    """By hand: 36 layers of 1 + K states of 16 bits, each with the convolution's last 3 + K tokens."""
    states = 36 * (1 + k) * (32 * 128 * 128 + (3 + k) * 8192) * 2
    plan = MemoryPlan(data_sheet("h100_sxm"), {Role.TARGET: ModelOnGpus(NEXT, 4)}, k)
    kv = (100 + k + 1) * 12 * 2 * 256 * 2  # one KV head here
    rows = 2 * (k + 1) * 151_936 * 4
    assert plan.batch_bytes(7, KvDemand.of_length(100)) == 7 * (states / 4 + kv + rows)


def test_all_gpus_hold_the_weights_once_but_for_the_kv_heads() -> None:
    extra = 8 * ModelOnGpus(NEXT, 8).weight_bytes - NEXT.weight_bytes
    assert extra == pytest.approx(12 * (8 - 2) * 2048 * 2 * 256 * BYTES_PER_VALUE)


def test_the_roofline_reads_a_state_per_sequence_and_writes_one_per_token() -> None:
    """What states of twice the bytes take longer, at the data sheet's bandwidth; a prompt keeps its last."""
    recurrent = QWEN35.recurrent
    assert recurrent is not None
    short = replace(QWEN35, recurrent=replace(recurrent, state_value_bytes=2))
    sequences, tokens = np.array([1.0, 64, 64, 64]), np.array([1.0, 64, 64 * 8, 64 * 40])
    shape = StepShape(Role.TARGET, sequences, tokens, 1000 * sequences)

    def seconds(model: ModelGeometry, chunk: float = 1.0) -> np.ndarray:
        latency = RooflineLatency.of("h100_sxm", 2, model)
        return RooflineLatency(latency.gpu, latency.models, Efficiencies(attention=chunk)).predict_s(shape)

    longer_s = seconds(QWEN35) - seconds(short)
    states = np.array([2.0, 2 * 64, 9 * 64])
    np.testing.assert_allclose(longer_s[:3], 30 * states * STATE_BYTES / 2 / 2 / 3.35e12, rtol=1e-6)
    assert longer_s[3] < longer_s[2]


@pytest.fixture(scope="module")
def kernels() -> PassKernels:
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    return PassKernels(KernelDatabase.load("h100_sxm"), ModelOnGpus(QWEN35, 1))


def test_measured_recurrences_move_the_states(kernels: PassKernels) -> None:
    """64 sequences: a verification of 8 tokens writes 7 states more than decoding, near the bandwidth."""
    decoding_s, verification_s = kernels.read_s(64, 128), kernels.prompt_s(64, 8, 128)
    bound_s = 30 * 64 * STATE_BYTES / 3.35e12
    assert 2 * bound_s < decoding_s < 3.5 * bound_s  # attention and convolution too
    assert 7 * bound_s < verification_s - decoding_s < 1.4 * 7 * bound_s
    assert kernels.prompt_s(64, 1, 128) == pytest.approx(decoding_s)


def test_prompts_run_in_chunks(kernels: PassKernels) -> None:
    """A prompt of 512 tokens takes far less than 512 states, and longer ones take longer."""
    seconds = [kernels.prompt_s(1, queries, 0) for queries in (64, 512, 4096)]
    assert seconds == sorted(seconds)
    assert seconds[1] < 0.2 * 30 * 512 * STATE_BYTES / 3.35e12


def test_what_was_not_measured_is_refused_by_name() -> None:
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    database = KernelDatabase.load("h100_sxm")
    with pytest.raises(MissingKernelError, match="recurrent layers were measured with float32 states alone"):
        PassKernels(database, ModelOnGpus(NEXT, 4))
    recurrent = QWEN35.recurrent
    assert recurrent is not None
    odd = replace(QWEN35, recurrent=replace(recurrent, num_key_heads=10, num_value_heads=30))
    with pytest.raises(MissingKernelError, match="no recurrence of this shape was measured"):
        PassKernels(database, ModelOnGpus(odd, 1)).read_s(8, 128)


def test_qwen3_next_is_priced_by_the_roofline_and_says_so() -> None:
    assert database_latency("h200_sxm", 4, NEXT).source == "roofline"


def fitted(tp: int) -> tuple[LatencyModel, PassShapes, np.ndarray]:
    shapes = standard_shapes()
    columns = database_step_times("h200_sxm", tp, QWEN35)
    assert set(columns["source"]) == {"database", "assumed"}
    return database_latency("h200_sxm", tp, QWEN35), shapes, columns["seconds"][:-1]


def test_shipped_prices_are_separable_and_near_the_roofline() -> None:
    model, shapes, seconds = fitted(2)
    is_short = shapes.num_new_tokens <= 9 * shapes.num_sequences
    shape = StepShape(Role.TARGET, *(column[is_short] for column in shapes))
    error = np.abs(model.predict_s(shape) / seconds[is_short] - 1.0)
    assert np.median(error) < 0.01 and np.quantile(error, 0.95) < 0.03
    roofline = RooflineLatency.of("h200_sxm", 2, QWEN35).predict_s(shape)
    assert np.abs(np.log(roofline / seconds[is_short])).mean() < 0.09
