"""A drafting head of so many parameters: what a drafter costs when its capacity is scaled."""

from typing import Any

from svsim.errors import LatencyError
from svsim.latency.draft_heads import head_of_target
from svsim.latency.geometry import ModelGeometry
from svsim.latency.head_shape import HeadKind

WIDEST_MLP = 8  # of a layer, in hidden sizes; larger heads have more layers


def head_config_of_size(target: ModelGeometry, num_parameters: float) -> dict[str, Any]:
    """The ``config.json`` of an EAGLE head on a target with ``num_parameters`` of its own.

    Fusion layer and attention are the target's sizes; MLPs take the rest, in as few layers as keep them
    within ``WIDEST_MLP`` hidden sizes. LatencyError where fusion layer and one attention are more already.
    """
    usual = head_of_target(HeadKind.EAGLE, target).geometry
    attention = usual.mixer_weights
    per_mlp_row = usual.mlp_weights(1)
    widest = WIDEST_MLP * usual.hidden_size
    rest = num_parameters - usual.fusion_weights
    num_layers = max(1, int(-(-rest // (attention + per_mlp_row * widest))))
    rows = round((rest / num_layers - attention) / per_mlp_row)
    if not 1 <= rows <= widest:
        least = usual.fusion_weights + attention + per_mlp_row
        raise LatencyError(
            f"`drafter_parameters` {num_parameters:g} is out of reach: a head on {target.name} has "
            f"{least:,} parameters at least (fusion layer and one attention)"
        )
    return {
        "architectures": ["EagleLlamaForCausalLM"],
        "model_type": "eagle",
        "hidden_size": usual.hidden_size,
        "intermediate_size": rows,
        "num_hidden_layers": num_layers,
        "num_attention_heads": usual.num_heads,
        "num_key_value_heads": usual.num_kv_heads,
        "head_dim": usual.head_size,
        "vocab_size": usual.vocabulary_size,
    }
