"""Precision of checkpoints: every method under its own names, modules left out, and refusals."""

from typing import Any

import pytest

from svsim.errors import LatencyError
from svsim.latency.geometry import ModelGeometry
from svsim.latency.hardware import data_sheet
from svsim.latency.precision import BYTES_OF
from svsim.latency.quantization import with_sidecar
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape

DENSE: dict[str, Any] = {
    "model_type": "qwen2", "hidden_size": 5120, "intermediate_size": 27648, "num_attention_heads": 40,
    "num_hidden_layers": 64, "num_key_value_heads": 8, "vocab_size": 152064, "tie_word_embeddings": False,
}  # fmt: skip
MIXTURE: dict[str, Any] = {
    "model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "num_hidden_layers": 61,
    "num_attention_heads": 128, "vocab_size": 129280, "first_k_dense_replace": 3,
}  # fmt: skip
FLOAT8, INT8 = {"num_bits": 8, "type": "float"}, {"num_bits": 8, "type": "int"}


def read(quantization: object, model: dict[str, Any] = DENSE) -> ModelGeometry:
    return ModelGeometry.from_config(model | {"quantization_config": quantization}, "model")


def packed(weights: dict[str, Any], inputs: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, **more}


METHODS: list[tuple[object, str]] = [
    (None, "bf16"),
    ({"quant_method": "fp8", "activation_scheme": "dynamic"}, "fp8"),
    ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8_block"),
    ({"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["lm_head"]}, "fp8"),
    ({"quant_method": "awq", "bits": 4, "group_size": 128}, "int4"),
    ({"quant_method": "awq", "w_bit": 4, "q_group_size": 32}, "int4_group32"),
    ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}, "int4"),
    ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "int8_weights"),
    ({"quant_method": "auto-round", "bits": 4, "group_size": 128}, "int4"),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4"),
    (packed(FLOAT8, FLOAT8), "fp8"),
    (packed(FLOAT8 | {"strategy": "block"}, FLOAT8), "fp8_block"),
    (packed(FLOAT8), "int8_weights"),
    (packed(INT8, INT8), "int8"),
    (packed(INT8), "int8_weights"),
    (packed({"num_bits": 4, "type": "int", "group_size": 128}), "int4"),
    (packed({"num_bits": 4, "type": "int", "group_size": 32}), "int4_group32"),
    (packed({"num_bits": 4, "type": "float", "group_size": 16}, {"num_bits": 4, "type": "float"}), "nvfp4"),
    (packed({"num_bits": 4, "type": "float", "group_size": 16}), "nvfp4_weights"),
    ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8"),
    ({"quant_method": "modelopt_fp4", "quant_algo": "NVFP4", "group_size": 16}, "nvfp4"),
    ({"quant_method": "modelopt", "quant_algo": "W4A16_AWQ", "group_size": 128}, "int4"),
    (packed(FLOAT8, FLOAT8) | {"quant_method": "modelopt"}, "fp8"),
    ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}}}, "fp8"),
]


@pytest.mark.parametrize(("quantization", "dtype"), METHODS)
def test_methods_are_read_by_their_own_names(quantization: object, dtype: str) -> None:
    model = read(quantization)
    assert model.weight_dtype == dtype and model.attention_dtype is None and model.kv_dtype == "bf16"
    embeddings = 2 * 2 * 152064 * 5120
    layers = model.num_layer_parameters * BYTES_OF[model.weight_dtype]
    assert model.weight_bytes == pytest.approx(layers + embeddings, abs=1)


@pytest.mark.parametrize("place", ["quantization_config", "compression_config"])
def test_it_may_stand_beside_or_inside_the_text_model(place: str) -> None:
    inside = {"model_type": "llava", "text_config": DENSE | {place: packed(INT8, INT8)}}
    beside = {"model_type": "llava", "text_config": DENSE, place: packed(INT8, INT8)}
    for config in (inside, beside, DENSE | {place: packed(INT8, INT8)}):
        assert ModelGeometry.from_config(config, "x").weight_dtype == "int8"


@pytest.mark.parametrize(
    ("sidecar", "dtype", "kv"),
    [
        (
            {"producer": {}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}},
            "nvfp4",
            "fp8",
        ),
        ({"quantization": {"quant_algo": None, "kv_cache_quant_algo": "FP8"}}, "bf16", "fp8"),
        ({"bits": 4, "group_size": 128, "desc_act": True}, "int4", "bf16"),
        ({"w_bit": 4, "q_group_size": 128, "zero_point": True}, "int4", "bf16"),
    ],
)
def test_sidecars(sidecar: dict[str, Any], dtype: str, kv: str) -> None:
    model = ModelGeometry.from_config(with_sidecar(DENSE, [{"unrelated": 1}, sidecar]), "x")
    assert (model.weight_dtype, model.kv_dtype) == (dtype, kv)
    said = {"text_config": DENSE | {"quantization_config": packed(INT8, INT8)}}
    assert with_sidecar(said, [sidecar]) is said  # the file's own word counts


@pytest.mark.parametrize(
    "excluded",
    [
        [f"model.layers.{layer}.self_attn*" for layer in range(61)],
        ["re:.*self_attn.*", "lm_head"],
        ["re:model\\.layers\\.\\d+\\.self_attn\\.(q_proj|o_proj|kv_b_proj)$"],
        ["self_attn", "mlp.gate"],
        ["*self_attn*"],
    ],
)
def test_modules_left_out_keep_16_bits(excluded: list[str]) -> None:
    """Attention is left out in all its spellings; experts and dense MLPs stay as they are."""
    nvfp4 = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": excluded}
    model = read(nvfp4, MIXTURE)
    assert (model.weight_dtype, model.mixer_dtype, model.dense_mlp_dtype) == ("nvfp4", "bf16", "nvfp4")
    whole = read({"quant_method": "modelopt", "quant_algo": "NVFP4"}, MIXTURE)
    assert model.weight_bytes - whole.weight_bytes == pytest.approx(
        model.mixer_weights * (2 - 9 / 16), rel=1e-9
    )


def test_modelopt_may_leave_its_own_name_out() -> None:
    model = read({"quant_algo": "FP8", "kv_cache_scheme": "FP8", "ignore": ["lm_head"]})
    assert (model.weight_dtype, model.kv_dtype) == ("fp8", "fp8")


def test_a_few_layers_left_out_change_nothing() -> None:
    few = {
        "quant_method": "awq",
        "bits": 4,
        "modules_to_not_convert": ["model.layers.0.", "layers.63.self_attn"],
    }
    assert read(few).mixer_dtype == read(few).weight_dtype == "int4"
    assert read(few | {"modules_to_not_convert": ["lm_head", "visual"]}).mixer_dtype == "int4"


def test_groups_are_for_their_targets() -> None:
    """Experts in 4 bits and the rest in 8, as compressed-tensors writes mixed precision."""
    groups = {
        "group_0": {
            "targets": ["re:.*mlp.experts.*"], "weights": {"num_bits": 4, "type": "int", "group_size": 128}
        },
        "group_1": {"targets": ["Linear"], "weights": FLOAT8, "input_activations": FLOAT8},
    }  # fmt: skip
    model = read({"quant_method": "compressed-tensors", "config_groups": groups}, MIXTURE)
    assert (model.weight_dtype, model.mixer_dtype, model.dense_mlp_dtype) == ("int4", "fp8", "fp8")


def test_mxfp4_is_of_experts_alone() -> None:
    oss = {
        "model_type": "gpt_oss", "hidden_size": 2880, "num_hidden_layers": 36, "num_attention_heads": 64,
        "num_local_experts": 128, "num_experts_per_tok": 4, "vocab_size": 201088,
        "quantization_config": {
            "quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]
        },
    }  # fmt: skip
    model = ModelGeometry.from_config(oss, "x")
    assert (model.weight_dtype, model.mixer_dtype) == ("mxfp4", "bf16")
    assert model.weight_bytes / 1e9 == pytest.approx(65.2, rel=5e-3)  # the repository's files


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        ({"quant_method": "aqlm"}, "quantization aqlm is not modelled"),
        ({"quant_method": "gptq", "bits": 3}, "quantization to 3 bits is not modelled"),
        (
            {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"},
            "quantization MIXED_PRECISION is not",
        ),
        ({"quant_method": None}, "quantization None is not modelled"),
        ({}, "quantization None is not modelled"),
        (packed({"num_bits": 2, "type": "int"}), "quantization of int 2 bits is not modelled"),
        (packed({"num_bits": "x", "type": ["y"]}), "is not modelled"),
        ({"quant_method": "compressed-tensors"}, "config_groups is missing"),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {}}}, "of a group without weights"),
        (packed(INT8, INT8, kv_cache_scheme={"num_bits": 4, "type": "int"}), "of the KV cache to int 4 bits"),
        ({"quant_method": "quark", "global_quant_config": 3}, "quantization quark"),
    ],
)
def test_what_is_not_modelled_is_refused_by_name(quantization: object, message: str) -> None:
    with pytest.raises(LatencyError, match=message) as caught:
        read(quantization)
    assert str(caught.value).startswith("model: ") and "\n" not in str(caught.value)


def test_regular_expressions_of_a_file_are_not_run() -> None:
    """One that would take for ever is read as wildcards."""
    evil = {
        "quant_method": "awq",
        "bits": 4,
        "modules_to_not_convert": ["re:(a+)+$" + "(a|b)" * 40, "re:((((" * 99],
    }
    assert read(evil).weight_dtype == "int4"


def test_weights_alone_run_on_every_gpu_and_read_their_own_bytes() -> None:
    """A decoding step of 4-bit weights on an A100, which has no units for them, takes a third of 16 bits'."""
    shape = StepShape(Role.TARGET, 1, 1, 500)
    plain, four = (
        RooflineLatency.of("a100_sxm", 1, model).predict_s(shape)
        for model in (read(None), read({"quant_method": "awq", "bits": 4}))
    )
    assert 0.25 < four / plain < 0.45
    assert data_sheet("a100_sxm").flop_per_s("int4") == data_sheet("a100_sxm").bf16_flop_per_s
    many = StepShape(Role.TARGET, 1, 8192, 0)
    times = [
        RooflineLatency.of("a100_sxm", 1, m).predict_s(many)
        for m in (read(None), read({"quant_method": "awq", "bits": 4}))
    ]
    # widened on the way: long prompts take longer than with 16-bit weights
    assert 1.2 < times[1] / times[0] < 1.7
