"""Which kind every layer of a configuration is: its mixer (attention, window, recurrence), and its MLP.

Lists of the file come first, under all their names; then rules of the file (a period, a first index); then
the architecture's own. A list of another length than the number of layers contradicts it and is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from svsim.errors import printable
from svsim.latency.architectures import Architecture
from svsim.latency.config_keys import ConfigKeys


class Mixer(StrEnum):
    """What mixes tokens in a layer."""

    FULL = "full"
    WINDOW = "window"
    RECURRENT = "recurrent"
    NONE = "none"


class Mlp(StrEnum):
    """What follows."""

    DENSE = "dense"
    MIXTURE = "mixture"
    NONE = "none"


# Words of ``layer_types`` and its like; MLPs are among them where layers are one or the other (Nemotron-H).
MIXERS = {
    **dict.fromkeys(("full_attention", "attention", "indexed_attention", "*"), Mixer.FULL),
    **dict.fromkeys(("sliding_attention", "chunked_attention", "local", "sliding"), Mixer.WINDOW),
    **dict.fromkeys(("linear_attention", "mamba", "mamba2", "conv", "M"), Mixer.RECURRENT),
    **dict.fromkeys(("mlp", "moe", "-", "E"), Mixer.NONE),
}
MLPS = {"mlp": Mlp.DENSE, "-": Mlp.DENSE, "moe": Mlp.MIXTURE, "E": Mlp.MIXTURE}
MLP_WORDS = {"dense": Mlp.DENSE, "sparse": Mlp.MIXTURE, "moe": Mlp.MIXTURE, "mlp": Mlp.DENSE}
FULL_ATTENTION_INTERVAL = 4


def layer_words(keys: ConfigKeys, num_layers: int) -> list[str] | None:
    """The file's own word for every layer, as ``layer_types`` has them; None if it has no list."""
    words = keys.get("layer_types")
    pattern = keys.get("hybrid_override_pattern")
    if words is None and isinstance(pattern, str):
        words = list(pattern)
    if words is None:
        words = _from_numbers(keys)
    if words is None:
        return None
    name = "layer_types" if pattern is None else "hybrid_override_pattern"
    if not isinstance(words, list) or len(words) != num_layers:
        length = f"{len(words)} of them" if isinstance(words, list) else printable(words, 40)
        keys.fail(
            f"contradicting keys: {name}: expected {num_layers} names (num_hidden_layers), got {length}"
        )
    unknown = next((word for word in words if not isinstance(word, str) or word not in MIXERS), None)
    if unknown is not None:
        known = ", ".join(word for word in MIXERS if len(word) > 1)
        keys.fail(
            f'{name}: "{printable(unknown, 40)}" is no known kind of layer; expected each one of {known}'
        )
    return words


def _from_numbers(keys: ConfigKeys) -> list[str] | None:
    """Lists of 0 and 1: MiniMax-Text (1: attention, 0: linear), MiMo-V2 (1: window, 0: full)."""
    for name, words in (
        ("attn_type_list", ("linear_attention", "full_attention")),
        ("hybrid_layer_pattern", ("full_attention", "sliding_attention")),
    ):
        listed = keys.numbers(name, 2)
        if listed is not None:
            return [words[value] for value in listed]
    return None


def mixers(keys: ConfigKeys, rule: Architecture, num_layers: int) -> list[Mixer]:
    """What mixes tokens in every layer."""
    words = layer_words(keys, num_layers)
    if words is not None:
        return [MIXERS[word] for word in words]
    full = _full_layers(keys, rule, num_layers)
    return [Mixer.FULL if layer in full else Mixer(rule.others) for layer in range(num_layers)]


def _full_layers(keys: ConfigKeys, rule: Architecture, num_layers: int) -> frozenset[int]:
    """Layers with full attention where no list of kinds says it."""
    everywhere = range(num_layers)
    for name in ("full_attn_idxs", "attn_layer_indices"):
        listed = keys.numbers(name, num_layers)
        if listed is not None:
            return frozenset(listed)
    if keys.get("attn_layer_period") is not None:
        period, offset = keys.count("attn_layer_period"), keys.optional("attn_layer_offset")
        return frozenset(layer for layer in everywhere if layer % period == offset)
    if rule.attention == "windowed":
        return frozenset()
    if rule.attention == "above_max_window_layers":
        most = keys.count("max_window_layers", least=0, default=num_layers)
        return frozenset(layer for layer in everywhere if layer < most)
    if rule.attention == "every":
        every = rule.attention_every
        if rule.attention_every_key:
            every = keys.count(rule.attention_every_key, default=every)
        full = {layer for layer in everywhere if (layer + 1) % every == 0}
        return frozenset(full | ({0} if rule.first_is_full else set()))
    return frozenset(everywhere)


def mlps(keys: ConfigKeys, num_layers: int) -> list[Mlp]:
    """What follows in every layer of a mixture: experts, but where a list, a period or a start says not."""
    words = layer_words(keys, num_layers)
    if words is not None and any(word in MLPS for word in words):
        return [MLPS.get(word, Mlp.NONE) for word in words]
    listed = keys.get("mlp_layer_types")
    if listed is not None:
        return _listed(keys, listed, num_layers)
    is_mixture = _mixture_rule(keys, num_layers)
    return [Mlp.MIXTURE if is_mixture(layer) else Mlp.DENSE for layer in range(num_layers)]


def _listed(keys: ConfigKeys, words: object, num_layers: int) -> list[Mlp]:
    if not isinstance(words, list) or len(words) != num_layers or any(w not in MLP_WORDS for w in words):
        keys.fail(f"mlp_layer_types: expected {num_layers} names, each one of {', '.join(MLP_WORDS)}")
    return [MLP_WORDS[word] for word in words]


def _mixture_rule(keys: ConfigKeys, num_layers: int) -> Callable[[int], bool]:
    """Whether layer i has experts; every rule of the file has to agree."""
    rules: list[Callable[[int], bool]] = []
    frequency = keys.get("moe_layer_freq")
    if isinstance(frequency, list):
        chosen = _marked(keys, "moe_layer_freq", frequency, num_layers)
        return lambda layer: layer in chosen
    if frequency is not None:
        period = keys.count("moe_layer_freq")
        rules.append(lambda layer: layer % period == 0)
    listed = keys.numbers("moe_layers", num_layers)
    if listed is not None:
        chosen = frozenset(listed)
        return lambda layer: layer in chosen
    for name in ("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval"):
        step = keys.count(name, default=1)
        rules.append(lambda layer, step=step: (layer + 1) % step == 0)  # type: ignore[misc]
    if keys.get("expert_layer_period") is not None:
        every, offset = keys.count("expert_layer_period"), keys.optional("expert_layer_offset")
        rules.append(lambda layer: layer % every == offset)
    dense = frozenset(keys.numbers("mlp_only_layers", num_layers) or ())
    first = keys.optional("num_dense_layers")
    if first > num_layers:
        keys.fail(
            f"contradicting keys: {keys.key_of('num_dense_layers')} = {first} dense layers, but "
            f"num_hidden_layers = {num_layers}; correct one of them"
        )
    end = keys.get("moe_layer_end_index")
    last = num_layers - 1 if end in (None, -1) else keys.count("moe_layer_end_index")
    rules.append(lambda layer: first <= layer <= last and layer not in dense)
    return lambda layer: all(rule(layer) for rule in rules)


def _marked(keys: ConfigKeys, name: str, values: Sequence[Any], num_layers: int) -> frozenset[int]:
    """Layers marked with 1 in a list of 0 and 1."""
    if len(values) != num_layers or any(value not in (0, 1) for value in values):
        keys.fail(
            f"contradicting keys: {name}: expected {num_layers} values (num_hidden_layers), each 0 or 1"
        )
    return frozenset(layer for layer, value in enumerate(values) if value)


def counted(kinds: Sequence[StrEnum]) -> Mapping[StrEnum, int]:
    """How many layers of each kind."""
    return {kind: kinds.count(kind) for kind in set(kinds)}
