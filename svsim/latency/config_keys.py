"""Values of a parsed ``config.json`` by one name per fact, whatever its authors called it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from svsim.errors import LatencyError, printable

# One fact, its names: the first is the one used here. A dot leads into a nested object.
NAMES: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("num_attention_heads", "n_head", "n_heads", "attention_heads", "num_heads"),
    "num_key_value_heads": ("num_key_value_heads", "num_kv_heads", "attn_config.kv_n_heads"),
    "head_dim": ("head_dim", "kv_channels"),
    "intermediate_size": (
        "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "block_ff_dim",
        "ffn_config.ffn_hidden_size",
    ),
    "num_experts": (
        "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts",
        "ffn_config.moe_num_experts",
    ),
    "num_experts_per_tok": (
        "num_experts_per_tok", "num_experts_per_token", "experts_per_token", "moe_k", "moe_topk",
        "top_k_experts", "ffn_config.moe_top_k",
    ),
    "moe_intermediate_size": ("moe_intermediate_size", "expert_ffn_hidden_size"),
    "num_shared_experts": (
        "n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts",
    ),
    "shared_intermediate_size": (
        "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size",
        "share_expert_dim",
    ),
    "num_dense_layers": ("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index"),
    "tie_word_embeddings": ("tie_word_embeddings", "tie_embedding"),
    "layer_types": ("layer_types", "layers_block_type"),
    "mamba_heads": ("mamba_n_heads", "mamba_num_heads"),
    "mamba_head_size": ("mamba_d_head", "mamba_head_dim"),
    "mamba_groups": ("mamba_n_groups", "n_groups"),
    "mamba_state": ("mamba_d_state", "ssm_state_size", "state_size"),
    "mamba_kernel": ("mamba_d_conv", "conv_kernel"),
    "mamba_expand": ("mamba_expand", "expand"),
    "mamba_rank": ("mamba_dt_rank", "time_step_rank"),
}  # fmt: skip
MOST = 10**9


@dataclass(frozen=True, slots=True)
class ConfigKeys:
    """One model's configuration: ``values`` as the file has them, ``defaults`` of its class for absent keys.

    where: file, for messages. more: an architecture's own names.
    """

    values: Mapping[str, Any]
    where: str
    defaults: Mapping[str, Any]
    more: Mapping[str, str]

    def get(self, name: str) -> Any:
        """The value of a fact, the class's default if the file does not mention it; None: there is none.

        LatencyError if two of its names say different things.
        """
        mentioned = {key: value for key in self.names(name) for value in self._at(self.values, key)}
        said = {key: value for key, value in mentioned.items() if value is not None}
        if len({repr(value) for value in said.values()}) > 1:
            told = ", ".join(f"{key} = {printable(value, 40)}" for key, value in said.items())
            raise LatencyError(f"{self.where}: contradicting keys: {told}; expected one value")
        if mentioned:
            return next(iter(said.values()), None)
        known = (self.defaults.get(key) for key in self.names(name))
        return next((value for value in known if value is not None), None)

    def said(self, name: str) -> bool:
        """Whether the file itself says it."""
        return any(value is not None for key in self.names(name) for value in self._at(self.values, key))

    def names(self, name: str) -> tuple[str, ...]:
        """All names of a fact, the architecture's own first."""
        known = NAMES.get(name, (name,))
        return (self.more[name], *known) if name in self.more else known

    def count(self, name: str, *, least: int = 1, default: int | None = None) -> int:
        """A whole number >= ``least``; LatencyError if it is absent and there is no default."""
        value = self.get(name)
        if value is None:
            if default is None:
                self.fail(f"key {name} is missing; expected a Hugging Face config.json")
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST:
            self.fail(f"{self.key_of(name)} = {printable(value, 40)}; expected a whole number >= {least}")
        return value

    def optional(self, name: str) -> int:
        """A whole number >= 0; 0 if it is absent."""
        return self.count(name, least=0, default=0)

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false; ``default`` if it is absent."""
        value = self.get(name)
        return default if value is None else bool(value)

    def numbers(self, name: str, most: int) -> list[int] | None:
        """A list of whole numbers below ``most``; None if it is absent."""
        value = self.get(name)
        if value is None:
            return None
        is_known = isinstance(value, list) and all(
            isinstance(item, int) and not isinstance(item, bool) and 0 <= item < most for item in value
        )
        if not is_known:
            self.fail(
                f"{self.key_of(name)} = {printable(value, 40)}; expected a list of whole numbers below {most}"
            )
        return list(value)

    def key_of(self, name: str) -> str:
        """The name under which the file says a fact; the first of its names if it does not."""
        names = self.names(name)
        return next(
            (key for key in names if any(v is not None for v in self._at(self.values, key))), names[0]
        )

    def fail(self, what: str) -> NoReturn:
        """LatencyError that leads with the file."""
        raise LatencyError(f"{self.where}: {what}")

    @staticmethod
    def _at(values: Mapping[str, Any], key: str) -> tuple[Any, ...]:
        """The value at a key, alone; nothing if the file does not have the key."""
        outer, _, inner = key.partition(".")
        if outer not in values:
            return ()
        if not inner:
            return (values[outer],)
        nested = values[outer]
        return (nested[inner],) if isinstance(nested, Mapping) and inner in nested else ()
