"""Write svsim/latency/architectures/class_defaults.json: what transformers' classes fill in for absent keys.

    python calibration/make_class_defaults.py

Of every ``model_type`` of the registry that this transformers knows, the configuration class's own defaults
of the keys that svsim reads. Needs the extra ``capture``; with the same version of transformers it
writes the same bytes again.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import transformers

from svsim.latency.architectures import architectures
from svsim.latency.config_keys import NAMES

OUT = Path(__file__).parents[1] / "svsim" / "latency" / "architectures" / "class_defaults.json"
READ_AS_THEY_ARE = (
    *("vocab_size", "kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"),
    *("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim"),
    *("linear_conv_kernel_dim", "conv_L_cache", "block_auto_adjust_ff_dim", "block_ffn_dim_multiplier"),
    *(
        "block_multiple_of",
        "sliding_window",
        "use_sliding_window",
        "max_window_layers",
        "attention_chunk_size",
    ),
    *("sliding_window_pattern", "global_attn_every_n_layers", "no_rope_layer_interval", "attn_layer_period"),
    *("attn_layer_offset", "expert_layer_period", "expert_layer_offset", "decoder_sparse_step"),
    *("moe_layer_interval", "moe_layer_end_index", "interleave_moe_layer_step", "moe_layer_freq"),
    *("mlp_only_layers", "intermediate_size_mlp", "n_positions", "max_position_embeddings", "multi_query"),
    *("new_decoder_architecture", "word_embed_proj_dim", "expansion_ratio", "mamba_ssm_cache_dtype"),
    *("moe_latent_size", "attention_k_eq_v", "num_kv_shared_layers", "use_double_wide_mlp"),
    *("hidden_size_per_layer_input", "vocab_size_per_layer_input", "enable_moe_block"),
    *("global_head_dim", "num_global_key_value_heads", "prefix_dense_intermediate_size"),
)


def read_keys() -> set[str]:
    """Every key that the reader asks for."""
    own = {key for rule in architectures().values() for key in rule.keys.values()}
    return {name for names in NAMES.values() for name in names} | set(READ_AS_THEY_ARE) | own


def class_defaults(model_type: str, keys: set[str]) -> dict[str, Any]:
    """Defaults of one configuration class; those of computed fields are left to the reader's rules."""
    fields = dataclasses.fields(transformers.CONFIG_MAPPING[model_type])
    known = {field.name: field.default for field in fields if field.name in keys}
    kinds = (bool, int, float, str)
    return {key: known[key] for key in sorted(known) if isinstance(known[key], kinds)}


def main() -> None:
    """Write the file."""
    keys = read_keys()
    known = [name for name in sorted(architectures()) if name in transformers.CONFIG_MAPPING]
    rows = ",\n".join(f'    "{name}": {json.dumps(class_defaults(name, keys))}' for name in known)
    source = json.dumps(
        f"dataclass fields of the configuration classes of transformers {transformers.__version__}"
    )
    OUT.write_text(f'{{\n  "source": {source},\n  "defaults": {{\n{rows}\n  }}\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
