"""Three causal language models with one tokenizer: loaded, compared, refused with a reason."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svsim.device.extras import quiet_transformers, torch_device, torch_dtype
from svsim.device.out_of_memory import is_out_of_memory
from svsim.errors import InfeasibleError, InputError
from svsim.trace_capture.cached_model import CachedModel, check_reads_chains
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
    """Load and compare the three models. Raises InputError, one line, naming the model."""
    names = {role: str(getattr(settings, role)) for role in ROLES}
    quiet_transformers()
    for name in names.values():
        _check_folder(name)
    tokenizers = {role: _load_tokenizer(names[role]) for role in ROLES}
    _check_same_tokenizer(names, tokenizers)
    raw = {role: _load_weights(names[role], settings) for role in ROLES}
    size = _common_vocabulary(names, raw, len(tokenizers["target"]))
    models = {role: CachedModel(model, size) for role, model in raw.items()}
    for role, model in models.items():
        check_reads_chains(model, names[role])
    return LoadedModels(
        models,
        tokenizers["target"],
        size,
        min(_max_tokens(model.config) for model in raw.values()),
        _end_tokens(raw["target"]),
        {role: describe(names[role], model) for role, model in raw.items()},
    )


def _check_folder(name: str) -> None:
    """InputError for what can only be a folder and is not there: the hub would be asked for it, in vain."""
    is_hub_id = name.count("/") <= 1 and not name.startswith((".", "/", "~"))
    if not is_hub_id and not Path(name).exists():
        raise InputError(f"{name}: no such folder; {_expected(name)}")


def _load_tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{name}: no tokenizer could be read ({_first_line(error)}); {_expected(name)}"
        ) from None


def _load_weights(name: str, settings: CaptureSettings) -> Any:
    from transformers import AutoModelForCausalLM

    device, dtype = torch_device(settings.device), torch_dtype(settings.dtype, settings.device)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=dtype,
            use_safetensors=None if settings.trust_pickle_weights else True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError) as error:
        raise InputError(
            f"{name}: no model could be read ({_first_line(error)}); {_expected(name)}"
        ) from None
    except Exception as error:
        # safetensors raises its own exception type for a broken file
        if type(error).__module__.startswith("safetensors") or "Safetensor" in type(error).__name__:
            raise InputError(
                f"{name}: broken safetensors file ({_first_line(error)}); {_expected(name)}"
            ) from None
        raise
    try:
        return model.to(device).eval()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise InfeasibleError(
            f"{name}: its weights do not fit into the memory that is left on {device}"
        ) from None


def _expected(name: str) -> str:
    kind = "folder" if Path(name).exists() else "local folder or hub id"
    return f"expected a {kind} with config.json, tokenizer.json and *.safetensors"


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:160] if text else type(error).__name__


def _check_same_tokenizer(names: dict[str, str], tokenizers: dict[str, Any]) -> None:
    """The same text must mean the same ids to all three."""
    reference = tokenizers["target"].get_vocab()
    for role in ("draft", "companion"):
        other = tokenizers[role].get_vocab()
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


def describe(name: str, model: Any) -> dict[str, Any]:
    """Name (a folder's own name, not its path) and geometry, as the trace's metadata has them."""
    config = _text_config(model.config)
    # keys of a Hugging Face config.json, so that the geometry can be read back as one
    geometry = {key: getattr(config, key, None) for key in GEOMETRY_KEYS}
    geometry["architecture"] = type(model).__name__
    geometry["num_parameters"] = sum(p.numel() for p in model.parameters())
    return {
        "name": Path(name).name if Path(name).exists() else name,
        "dtype": str(model.dtype).removeprefix("torch."),
        "geometry": {key: value for key, value in geometry.items() if value is not None},
    }
