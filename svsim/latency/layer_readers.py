"""Layers of a configuration that are more than counts: latent attention, windows, recurrences."""

from collections.abc import Callable, Mapping

from svsim.errors import printable
from svsim.latency.config_keys import ConfigKeys
from svsim.latency.gated_delta_net import GatedDeltaNet
from svsim.latency.latent_attention import LatentAttention
from svsim.latency.precision import BYTES_PER_VALUE
from svsim.latency.recurrent_layers import LinearAttention, RecurrentLayers, ShortConvolution, StateSpace

# Values of ``mamba_ssm_dtype``: bytes of one value of a recurrent state.
STATE_VALUE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Of a state space whose configuration does not say it, as vLLM keeps it by default: the model's 16 bits.
UNSAID_STATE_BYTES = BYTES_PER_VALUE


def latent_attention(keys: ConfigKeys) -> LatentAttention | None:
    """MLA, where the configuration has it."""
    if not keys.get("kv_lora_rank"):
        return None
    return LatentAttention(
        query_rank=keys.optional("q_lora_rank"),
        kv_rank=keys.count("kv_lora_rank"),
        rope_size=keys.count("qk_rope_head_dim"),
        nope_size=keys.count("qk_nope_head_dim"),
        value_size=keys.count("v_head_dim"),
    )


def _state_value_bytes(keys: ConfigKeys) -> int:
    """A state whose precision is not told has the model's 16 bits, as vLLM keeps it."""
    for name in ("mamba_ssm_dtype", "mamba_ssm_cache_dtype"):
        dtype = keys.get(name)
        if dtype is not None:
            if dtype not in STATE_VALUE_BYTES:
                known = ", ".join(STATE_VALUE_BYTES)
                keys.fail(f"{name} = {printable(dtype, 40)}; expected one of {known}")
            return STATE_VALUE_BYTES[dtype]
    return UNSAID_STATE_BYTES


def _gated_delta_net(keys: ConfigKeys, num_layers: int) -> GatedDeltaNet:
    """Qwen3-Next, Qwen3.5."""
    return GatedDeltaNet(
        num_layers=num_layers,
        num_key_heads=keys.count("linear_num_key_heads"),
        num_value_heads=keys.count("linear_num_value_heads"),
        key_head_size=keys.count("linear_key_head_dim"),
        value_head_size=keys.count("linear_value_head_dim"),
        kernel_size=keys.count("linear_conv_kernel_dim"),
        state_value_bytes=_state_value_bytes(keys),
    )


def _mamba2(keys: ConfigKeys, num_layers: int) -> StateSpace:
    """Bamba, Granite 4, Nemotron-H, Mamba-2 itself."""
    num_heads = keys.count("mamba_heads")
    head_size = keys.get("mamba_head_size")
    if head_size in (None, "auto"):
        inner = keys.count("mamba_expand", default=2) * keys.count("hidden_size")
        head_size = inner // num_heads
    else:
        head_size = keys.count("mamba_head_size")
    return StateSpace(
        num_layers=num_layers,
        num_heads=num_heads,
        head_size=head_size,
        num_groups=keys.count("mamba_groups", default=1),
        state_size=keys.count("mamba_state"),
        kernel_size=keys.count("mamba_kernel"),
        state_value_bytes=_state_value_bytes(keys),
    )


def _mamba(keys: ConfigKeys, num_layers: int) -> StateSpace:
    """Mamba itself, Falcon-Mamba, Jamba: channels of their own time step, of low rank."""
    hidden = keys.count("hidden_size")
    rank = keys.get("mamba_rank")
    return StateSpace(
        num_layers=num_layers,
        num_heads=keys.count("mamba_expand", default=2) * hidden,
        head_size=1,
        num_groups=1,
        state_size=keys.count("mamba_state"),
        kernel_size=keys.count("mamba_kernel"),
        time_step_rank=-(-hidden // 16) if rank in (None, "auto") else keys.count("mamba_rank"),
        state_value_bytes=_state_value_bytes(keys),
    )


def _linear_attention(keys: ConfigKeys, num_layers: int) -> LinearAttention:
    """MiniMax-Text-01; vLLM keeps its states in float32."""
    heads = keys.count("num_attention_heads")
    return LinearAttention(
        num_layers, heads, keys.count("head_dim", default=keys.count("hidden_size") // heads)
    )


def _short_convolution(keys: ConfigKeys, num_layers: int) -> ShortConvolution:
    """LFM2."""
    return ShortConvolution(num_layers, keys.count("hidden_size"), keys.count("conv_L_cache"))


RECURRENT: Mapping[str, Callable[[ConfigKeys, int], RecurrentLayers]] = {
    "gated_delta_net": _gated_delta_net,
    "mamba2": _mamba2,
    "mamba": _mamba,
    "linear_attention": _linear_attention,
    "short_convolution": _short_convolution,
}


def recurrent_layers(keys: ConfigKeys, kind: str, num_layers: int) -> RecurrentLayers | None:
    """The recurrent layers, if there are any; LatencyError if the architecture has no known kind of them."""
    if not num_layers:
        return None
    if not kind:
        keys.fail(
            "layer_types has linear or state-space layers, which this model_type is not known to have; "
            "correct model_type, or measure its step times and give them with `latency=FILE`"
        )
    return RECURRENT[kind](keys, num_layers)
