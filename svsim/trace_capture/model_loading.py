"""Causal language models with one tokenizer: loaded, compared, refused with a reason."""

from dataclasses import dataclass
from typing import Any

from svsim.device.extras import quiet_transformers
from svsim.errors import InputError
from svsim.trace_capture.cached_model import CachedModel, check_reads_chains
from svsim.trace_capture.checkpoints import (
    Checkpoint,
    file_digest,
    find_checkpoint,
    load_tokenizer,
    load_weights,
    own_vocabulary,
    quantization_of,
)
from svsim.trace_capture.settings import CaptureSettings

ROLES = ("target", "draft", "companion")
GEOMETRY_KEYS = (
    *("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim"),
    *("intermediate_size", "vocab_size", "tie_word_embeddings", "num_local_experts", "num_experts"),
    *("num_experts_per_tok", "moe_intermediate_size", "n_routed_experts", "n_shared_experts"),
    *("shared_expert_intermediate_size", "first_k_dense_replace", "moe_layer_freq", "decoder_sparse_step"),
    *("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "layer_types"),
    *("full_attention_interval", "linear_conv_kernel_dim", "linear_key_head_dim", "linear_value_head_dim"),
    *("linear_num_key_heads", "linear_num_value_heads", "mamba_ssm_dtype", "mamba_d_state"),
)


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """The models by role, their common tokenizer, and what the trace says about them.

    max_tokens: the longest context that all three can read. end_tokens: the target's end-of-sequence ids.
    """

    models: dict[str, CachedModel]
    tokenizer: Any
    vocabulary_size: int
    max_tokens: int
    end_tokens: frozenset[int]
    descriptions: dict[str, dict[str, Any]]

    @property
    def device(self) -> Any:
        """Where the models are."""
        return self.models["target"].device

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, with the tokenizer's own special tokens."""
        return list(self.tokenizer(text)["input_ids"])


def load_models(settings: CaptureSettings) -> LoadedModels:
    """Load and compare the models. Raises InputError, one line, naming the model."""
    names = {role: str(getattr(settings, role)) for role in ROLES if getattr(settings, role) is not None}
    quiet_transformers()
    found = {role: find_checkpoint(name) for role, name in names.items()}
    tokenizers = {role: load_tokenizer(checkpoint) for role, checkpoint in found.items()}
    entries = {role: own_vocabulary(found[role], tokenizers[role]) for role in found}
    _check_same_tokenizer(names, entries)
    raw = {
        role: load_weights(checkpoint, settings.device, settings.dtype, settings.trust_pickle_weights)
        for role, checkpoint in found.items()
    }
    size = _common_vocabulary(names, raw, len(entries["target"]))
    models = {role: CachedModel(model, size) for role, model in raw.items()}
    for role, model in models.items():
        check_reads_chains(model, names[role])
    return LoadedModels(
        models,
        tokenizers["target"],
        size,
        min(_max_tokens(model.config) for model in raw.values()),
        _end_tokens(raw["target"]),
        {role: describe(found[role], models[role]) for role in models},
    )


def _check_same_tokenizer(names: dict[str, str], entries: dict[str, dict[str, int]]) -> None:
    """The same text must mean the same ids to all of them."""
    reference = entries["target"]
    for role in [role for role in ROLES[1:] if role in entries]:
        other = entries[role]
        if other != reference:
            num = len(reference.items() ^ other.items())
            raise InputError(
                f"{names[role]}: the {role}'s tokenizer differs from the target's, {names['target']}, in "
                f"{num} entries ({len(other)} against {len(reference)} tokens); expected one vocabulary"
            )


def _common_vocabulary(names: dict[str, str], models: dict[str, Any], num_tokens: int) -> int:
    """Width of the logits to use: the smallest one, which must hold every token."""
    widths = {role: _text_config(model.config).vocab_size for role, model in models.items()}
    smallest = min(widths, key=lambda role: widths[role])
    if widths[smallest] < num_tokens:
        raise InputError(
            f"{names[smallest]}: {widths[smallest]} logits for a tokenizer of {num_tokens} tokens; "
            "expected at least one logit per token"
        )
    return int(widths[smallest])


def _text_config(config: Any) -> Any:
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def _max_tokens(config: Any) -> int:
    """Context length, and no more than a sliding window: beyond it the cache would have to forget."""
    config = _text_config(config)
    length = int(getattr(config, "max_position_embeddings", None) or 2**31)
    window = getattr(config, "sliding_window", None)
    if window is None or not getattr(config, "use_sliding_window", True):
        return length
    return min(length, int(window))


def _end_tokens(model: Any) -> frozenset[int]:
    ids = getattr(model.generation_config, "eos_token_id", None)
    ids = model.config.eos_token_id if ids is None else ids
    if ids is None:
        return frozenset()
    return frozenset(ids if isinstance(ids, list) else [ids])


def describe(checkpoint: Checkpoint, cached: CachedModel) -> dict[str, Any]:
    """Name (a folder's own name, not its path), weights and geometry, as the trace's metadata has them.

    ``digest`` tells models of one shape apart (``CachedModel.digest``); ``file_digest`` is a GGUF file's.
    """
    config = _text_config(cached.model.config)
    # keys of a Hugging Face config.json, so that the geometry can be read back as one
    geometry = {key: getattr(config, key, None) for key in GEOMETRY_KEYS}
    geometry["architecture"] = type(cached.model).__name__
    geometry["num_parameters"] = sum(p.numel() for p in cached.model.parameters())
    about: dict[str, Any] = {
        "name": checkpoint.label,
        "dtype": str(cached.dtype).removeprefix("torch."),
        "digest": cached.digest(),
        "geometry": {key: value for key, value in geometry.items() if value is not None},
    }
    if checkpoint.gguf is not None:
        about |= {
            "dequantized_from": quantization_of(checkpoint),
            "file_digest": file_digest(checkpoint.gguf),
        }
    return about
