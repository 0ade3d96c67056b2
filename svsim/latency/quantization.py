"""Precision of weights and KV cache, as a checkpoint's configuration tells it.

Read from ``quantization_config`` (or ``compression_config``) of ``config.json``, from the same inside its
text_config, or from the sidecar that ModelOpt, GPTQ and AWQ write beside it (``SIDECARS``). Weights are taken
in their own bits. Modules that are left out are looked up by name, layer by layer: attention, dense MLPs
(shared experts, dense layers) and routed experts each keep 16 bits where most layers' are left out.
"""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice, product
from typing import Any, NamedTuple, NoReturn

from svsim.errors import LatencyError, printable
from svsim.latency.precision import Dtype, KvDtype

# Files beside config.json, in the order in which they are asked.
SIDECARS = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")
# Of weights with so many values per scale or fewer, scales are counted as of groups of 32; else of 128.
SMALL_GROUP = 64
MAX_ALTERNATIVES = 64

# (kind, bits) of weights and of their inputs -> precision. Inputs of None: the weights alone are quantized.
COMPRESSED: Mapping[tuple[tuple[str, int], tuple[str, int] | None], Dtype] = {
    (("float", 8), ("float", 8)): "fp8",
    (("float", 8), None): "int8_weights",
    (("int", 8), ("int", 8)): "int8",
    (("int", 8), None): "int8_weights",
    (("int", 4), None): "int4",
    (("float", 4), ("float", 4)): "nvfp4",
    (("float", 4), None): "nvfp4_weights",
}
MODELOPT: Mapping[str, Dtype] = {
    "FP8": "fp8",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8",
    "FP8_PB_WO": "fp8_block",
    "FP8_BLOCK_SCALES": "fp8_block",
    "NVFP4": "nvfp4",
    "NVFP4_AWQ": "nvfp4",
    "W4A16_NVFP4": "nvfp4_weights",
    "W4A16_AWQ": "int4",
    "W4A16_GPTQ": "int4",
    "W8A16": "int8_weights",
    "W8A16_GPTQ": "int8_weights",
    "W8A8_SQ_PER_CHANNEL": "int8",
    "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN": "int8",
}
QUARK: Mapping[str, Dtype] = {"fp8_e4m3": "fp8", "fp4": "mxfp4", "int4": "int4", "int8": "int8"}
INTEGER_WEIGHTS = ("awq", "gptq", "gptq_marlin", "awq_marlin", "auto-round", "autoround", "moe_wna16")
EXCLUSIONS = ("modules_to_not_convert", "ignore", "exclude_modules", "ignored_layers", "exclude")


class Precision(NamedTuple):
    """Of a model's matrices; attention and dense are None where they are as the (routed) MLPs' are."""

    weight_dtype: Dtype = "bf16"
    attention_dtype: Dtype | None = None
    dense_dtype: Dtype | None = None
    kv_dtype: KvDtype = "bf16"


class Layout(NamedTuple):
    """What is needed to name a model's modules."""

    num_layers: int
    is_mixture: bool


def with_sidecar(config: Mapping[str, Any], sidecars: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """A config.json with the quantization that a file beside it tells, unless it tells one itself."""
    nested = (value for value in config.values() if isinstance(value, Mapping))
    if any(_settings(place) is not None for place in (config, *nested)):
        return config
    told = (settings for place in sidecars if (settings := _settings(place)) is not None)
    settings = next(told, None)
    return config if settings is None else {**config, "quantization_config": dict(settings)}


def precision(places: Sequence[Mapping[str, Any]], layout: Layout, where: str) -> Precision:
    """What the first of ``places`` (config.json, its text_config) that quantizes says.

    LatencyError, one line with the name, for a method that is not modelled.
    """
    for place in places:
        found = _settings(place)
        if found is not None:
            return _of(found, layout, where)
    return Precision()


def _settings(place: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The quantization's own object, with ModelOpt's sidecar in the form of config.json."""
    for key in ("quantization_config", "compression_config"):
        if isinstance(place.get(key), Mapping):
            found: Mapping[str, Any] = place[key]
            return found
    inner = place.get("quantization")
    if isinstance(inner, Mapping):
        return {"quant_method": "modelopt", **inner}
    if "hidden_size" not in place and ("bits" in place or "w_bit" in place):
        return {"quant_method": "awq" if "w_bit" in place else "gptq", **place}
    return None


def _of(settings: Mapping[str, Any], layout: Layout, where: str) -> Precision:
    kv = _kv_dtype(settings, where)
    groups = _groups(settings, where)
    if not groups:
        return Precision(kv_dtype=kv)
    excluded = [name for key in EXCLUSIONS for name in _names(settings.get(key))]
    if not excluded and not groups[0].targets:
        return Precision(groups[0].dtype, kv_dtype=kv)

    def dtype_of(modules: Sequence[str]) -> Dtype:
        found = [_module_dtype(module, groups, excluded) for module in modules]
        return max(dict.fromkeys(found), key=found.count)

    layers = range(layout.num_layers)
    attention = dtype_of(
        [f"layers.{layer}.self_attn.{part}" for layer in layers for part in ("q_proj", "o_proj")]
    )
    dense = dtype_of([f"layers.{layer}.mlp.{part}" for layer in layers for part in ("up_proj", "down_proj")])
    if not layout.is_mixture:
        return Precision(dense, None if attention == dense else attention, None, kv)
    experts = dtype_of([f"layers.{layer}.mlp.experts.0.up_proj" for layer in layers])
    shared = dtype_of([f"layers.{layer}.mlp.{name}.up_proj" for layer in layers for name in SHARED_NAMES])
    return Precision(
        experts, None if attention == experts else attention, None if shared == experts else shared, kv
    )


SHARED_NAMES = ("shared_experts", "shared_expert", "shared_mlp")


class _Group(NamedTuple):
    """Modules of one precision: by name, or all linear ones (no targets)."""

    dtype: Dtype
    targets: tuple[str, ...]


def _module_dtype(module: str, groups: Sequence[_Group], excluded: Sequence[str]) -> Dtype:
    if any(_matches(module, name) for name in excluded):
        return "bf16"
    for group in groups:
        if not group.targets or any(_matches(module, name) for name in group.targets):
            return group.dtype
    return "bf16"


def _groups(settings: Mapping[str, Any], where: str) -> list[_Group]:
    """Precisions that a quantization makes, with the modules they are for."""
    named = settings.get("quant_method", "modelopt" if "quant_algo" in settings else "")
    method = str(named).lower()
    if method in ("fp8", "fbgemm_fp8", "deepspeed_fp8"):
        return [_Group("fp8_block" if settings.get("weight_block_size") else "fp8", ())]
    if method == "mxfp4":  # experts alone, as transformers and vLLM convert it
        return [_Group("mxfp4", ("*.experts*",))]
    if method in INTEGER_WEIGHTS:
        bits = settings.get("bits", settings.get("w_bit"))
        return [_Group(_integer(bits, settings.get("group_size", settings.get("q_group_size")), where), ())]
    if method == "bitsandbytes":
        return [_Group("int4" if settings.get("load_in_4bit") else "int8_weights", ())]
    if method.startswith("modelopt"):
        return _modelopt(settings, where)
    if method == "compressed-tensors":
        return [_compressed(group, where) for group in _config_groups(settings, where)]
    if method == "quark":
        return [_quark(settings, where)]
    _refuse(where, printable(settings.get("quant_method"), 40))


def _config_groups(settings: Mapping[str, Any], where: str) -> list[Mapping[str, Any]]:
    groups = settings.get("config_groups")
    found = (
        [group for group in groups.values() if isinstance(group, Mapping)]
        if isinstance(groups, Mapping)
        else []
    )
    if not found:
        raise LatencyError(
            f"{where}: quantization_config: config_groups is missing; expected group_0 with weights"
        )
    return found


def _compressed(group: Mapping[str, Any], where: str) -> _Group:
    weights, inputs = group.get("weights"), group.get("input_activations")
    if not isinstance(weights, Mapping):
        _refuse(where, "of a group without weights")
    key = (_kind(weights), _kind(inputs) if isinstance(inputs, Mapping) else None)
    dtype = COMPRESSED.get(key)
    if dtype is None:
        kinds = " and ".join(f"{kind} {bits}" for kind, bits in filter(None, key))
        _refuse(where, f"of {kinds} bits")
    size = weights.get("group_size")
    if dtype == "int4" and isinstance(size, int) and 0 < size <= SMALL_GROUP:
        dtype = "int4_group32"
    if dtype == "fp8" and weights.get("strategy") == "block":
        dtype = "fp8_block"
    if dtype in ("nvfp4", "nvfp4_weights") and size == 32:
        dtype = "mxfp4"
    targets = tuple(name for name in _names(group.get("targets")) if name != "Linear")
    return _Group(dtype, targets)


def _kind(scheme: Mapping[str, Any]) -> tuple[str, int]:
    bits = scheme.get("num_bits")
    return printable(scheme.get("type", "int"), 20), bits if isinstance(bits, int) else 0


def _modelopt(settings: Mapping[str, Any], where: str) -> list[_Group]:
    algorithm = settings.get("quant_algo")
    if algorithm is None and settings.get("config_groups") is None:
        return []  # the KV cache alone is quantized
    name = str(algorithm).upper()
    if name in MODELOPT:
        dtype = MODELOPT[name]
        small = isinstance(size := settings.get("group_size"), int) and 0 < size <= SMALL_GROUP
        return [_Group("int4_group32" if dtype == "int4" and small else dtype, ())]
    if algorithm is None:
        return [_compressed(group, where) for group in _config_groups(settings, where)]
    _refuse(where, printable(algorithm, 40))


def _quark(settings: Mapping[str, Any], where: str) -> _Group:
    overall = settings.get("global_quant_config")
    weights = overall.get("weight") if isinstance(overall, Mapping) else None
    kind = str(weights.get("dtype")) if isinstance(weights, Mapping) else ""
    if kind not in QUARK:
        _refuse(where, f"quark {printable(kind, 40)}")
    return _Group(QUARK[kind], ())


def _integer(bits: object, group_size: object, where: str) -> Dtype:
    if bits == 8:
        return "int8_weights"
    if bits != 4:
        _refuse(where, f"to {printable(bits, 20)} bits")
    return "int4_group32" if isinstance(group_size, int) and 0 < group_size <= SMALL_GROUP else "int4"


def _kv_dtype(settings: Mapping[str, Any], where: str) -> KvDtype:
    """FP8 caches of compressed-tensors and ModelOpt; 16 bits else."""
    scheme, algorithm = settings.get("kv_cache_scheme"), settings.get("kv_cache_quant_algo")
    if isinstance(scheme, Mapping):
        if _kind(scheme) == ("float", 8):
            return "fp8"
        _refuse(where, f"of the KV cache to {' '.join(map(str, _kind(scheme)))} bits")
    algorithm = scheme if isinstance(scheme, str) else algorithm
    if algorithm is None:
        return "bf16"
    if str(algorithm).upper() == "FP8":
        return "fp8"
    _refuse(where, f"of the KV cache by {printable(algorithm, 40)}")


def _refuse(where: str, what: str) -> NoReturn:
    raise LatencyError(
        f"{where}: quantization {what} is not modelled (fp8, nvfp4, mxfp4, int8, 4- and 8-bit weights are); "
        "measure its step times, or choose the nearest with `hardware` NAME:quant=... and a config.json "
        "without quantization_config"
    )


def _names(value: object) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _matches(module: str, name: str) -> bool:
    """Whether a module's name is meant: by a part of its path, a wildcard, or a simple regular expression.

    The file's regular expressions are never run: of them ``.*``, ``\\.``, anchors and alternatives are read.
    """
    if name.startswith("re:"):
        return any(_glob(module, pattern, "*") for pattern in _alternatives(name[3:]))
    return _glob(module, name, "")


def _glob(module: str, pattern: str, around: str) -> bool:
    for prefix in (
        "model.language_model.",
        "language_model.model.",
        "language_model.",
        "model.",
        "backbone.",
    ):
        pattern = pattern.removeprefix(prefix)
    if "*" in pattern:
        return fnmatchcase(module, pattern) or fnmatchcase(module, f"{pattern}.*")
    return f".{pattern.strip('.')}." in f".{module}."


@lru_cache(maxsize=1024)
def _alternatives(expression: str) -> list[str]:
    """Wildcard patterns of a simple regular expression."""
    text = expression.removeprefix("^").removesuffix("$").replace("\\.", "\\0").replace(".*", "*")
    text = text.replace("\\d+", "*").replace("[0-9]+", "*").replace("\\0", ".")
    parts: list[list[str]] = []
    while text:
        before, opened, rest = text.partition("(")
        parts.append([before])
        inside, _, text = rest.partition(")") if opened else ("", "", "")
        if opened:
            parts.append(inside.removeprefix("?:").split("|"))
    combined: Callable[[tuple[str, ...]], str] = "".join
    return [combined(choice) for choice in islice(product(*parts), MAX_ALTERNATIVES)]
