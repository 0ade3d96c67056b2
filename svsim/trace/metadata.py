"""Where a trace comes from, as JSON: the Parquet metadata key ``svsim``."""

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NoReturn, get_args

from svsim.errors import InputError, TraceError, printable
from svsim.limits import MAX_SPECULATIVE_TOKENS
from svsim.reading import parse_json
from svsim.trace.schema import METADATA_KEY
from svsim.trace.token_trace import FORMAT_VERSION, AcceptanceKind, Chains, TraceMetadata

MAX_METADATA_BYTES = 1 << 20
MAX_EXITS, MAX_LAYERS, MAX_BLOCKS = 32, 1000, 32
MOST_OF_TREES = {"depths": 64, "children": 256, "beam": 256, "levels": 64, "siblings": 255}

_KNOWN = tuple(field.name for field in fields(TraceMetadata) if field.name != "extra")
_REQUIRED = ("format_version", "num_speculative_tokens", "acceptance_kind", "chains")
_CHOICES = {"acceptance_kind": get_args(AcceptanceKind), "chains": get_args(Chains)}
_OBJECTS = ("models", "sampling", "software")
_TEXTS = ("dataset", "hardware", "command", "date")


def creation_date() -> str:
    """Today (UTC) as YYYY-MM-DD, or the day of ``SOURCE_DATE_EPOCH`` where that is set."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return datetime.now(UTC).date().isoformat()
    try:
        return datetime.fromtimestamp(int(epoch), UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        raise InputError(
            f"SOURCE_DATE_EPOCH is {printable(epoch, 40)!r}; expected seconds since 1970, or unset it"
        ) from None


def encode_metadata(metadata: TraceMetadata, file: str) -> bytes:
    """The JSON bytes of ``metadata`` (sorted keys, ASCII, unset fields left out)."""
    clash = sorted(set(metadata.extra) & set(_KNOWN))
    if clash:
        raise TraceError(f"{file}: metadata.extra holds the reserved key {printable(clash[0])}; rename it")
    known = {name: getattr(metadata, name) for name in _KNOWN}
    values = {**metadata.extra, **{name: value for name, value in known.items() if value is not None}}
    try:
        data = json.dumps(values, sort_keys=True, allow_nan=False, default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TraceError(f"{file}: the metadata is no JSON ({printable(error)}); use plain values") from None
    decode_metadata(data, file)
    return data


def decode_metadata(data: bytes, file: str) -> TraceMetadata:
    """The TraceMetadata of the JSON bytes; TraceError names the key that breaks the format."""
    if len(data) > MAX_METADATA_BYTES:
        raise TraceError(
            f"{file}: metadata key {METADATA_KEY} holds {len(data)} bytes, "
            f"expected at most {MAX_METADATA_BYTES}; keep long texts outside the trace"
        )
    values = _parse(data, file)
    for name in _REQUIRED:
        if name not in values:
            _fail(file, name, "missing", "a value")
    version = values["format_version"]
    if type(version) is not int or version != FORMAT_VERSION:
        raise TraceError(
            f"{file}: trace format version {printable(version)}, expected {FORMAT_VERSION}; "
            "use the svsim that wrote it, or write the trace again"
        )
    _check_types(values, file)
    known = {name: values[name] for name in _KNOWN if values.get(name) is not None}
    return TraceMetadata(**known, extra={name: value for name, value in values.items() if name not in _KNOWN})


def _plain(value: object) -> object:
    """Mappings that are no dict, for json.dumps."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _parse(data: bytes, file: str) -> dict[str, Any]:
    where = f"{file}: metadata key {METADATA_KEY}"
    values = parse_json(data, where, "the JSON object that svsim writes", TraceError)
    if not isinstance(values, dict):
        raise TraceError(f"{where} holds no JSON object; write the trace again with svsim")
    return values


def _check_types(values: dict[str, Any], file: str) -> None:
    k = values["num_speculative_tokens"]
    if type(k) is not int or not 1 <= k <= MAX_SPECULATIVE_TOKENS:
        _fail(file, "num_speculative_tokens", k, f"an integer in 1..{MAX_SPECULATIVE_TOKENS}")
    for name, choices in _CHOICES.items():
        if values[name] not in choices:
            _fail(file, name, values[name], f"one of {', '.join(choices)}")
    for name in _OBJECTS:
        if not isinstance(values.get(name, {}), dict):
            _fail(file, name, values[name], "an object")
    for name in _TEXTS:
        if not isinstance(values.get(name), str | None):
            _fail(file, name, values[name], "a string")
    if values.get("seed") is not None and type(values["seed"]) is not int:
        _fail(file, "seed", values["seed"], "an integer")
    _check_extents(values, file)
    for role, model in values.get("models", {}).items():
        if not isinstance(model, dict) or not isinstance(model.get("name", ""), str):
            _fail(file, f"models.{role}", model, 'an object with a "name"')
    if not isinstance(values.get("sampling", {}).get("greedy", False), bool):
        _fail(file, "sampling.greedy", values["sampling"]["greedy"], "true or false")
    for package, version in values.get("software", {}).items():
        if not isinstance(version, str):
            _fail(file, f"software.{package}", version, "a string")


def _check_extents(values: dict[str, Any], file: str) -> None:
    """Exit layers and block lengths: rising whole numbers."""
    exits, blocks = values.get("exits"), values.get("blocks")
    if exits is not None:
        said = exits if isinstance(exits, dict) else {}
        layers, of = said.get("layers") or [], said.get("num_layers")
        if not (_rises(layers, MAX_EXITS) and type(of) is int and layers[-1] < of <= MAX_LAYERS):
            _fail(file, "exits", exits, '{"layers": [rising exit layers], "num_layers": more than the last}')
    if blocks is not None and not (_rises(blocks, MAX_BLOCKS) and blocks[-1] <= MAX_SPECULATIVE_TOKENS):
        _fail(file, "blocks", blocks, f"rising block lengths of at most {MAX_SPECULATIVE_TOKENS}")
    trees = values.get("trees")
    if trees is not None and not _are_trees(trees):
        most = ", ".join(f"{name} up to {number}" for name, number in MOST_OF_TREES.items())
        _fail(file, "trees", trees, f"whole numbers from 1 on: {most}; and a rule in words")


def _are_trees(trees: object) -> bool:
    """Whether they say sizes that columns of trees may have."""
    if not isinstance(trees, dict) or not isinstance(trees.get("rule", ""), str):
        return False
    sizes = {name: value for name, value in trees.items() if name != "rule"}
    return all(
        type(value) is int and 1 <= value <= MOST_OF_TREES.get(name, 0) for name, value in sizes.items()
    )


def _rises(numbers: object, most: int) -> bool:
    """Whether they are a list of 1 to ``most`` whole numbers from 1 on, each larger than the last."""
    if not isinstance(numbers, list) or not 1 <= len(numbers) <= most:
        return False
    whole = all(type(number) is int for number in numbers)
    return whole and numbers[0] >= 1 and all(low < high for low, high in pairwise(numbers))


def _fail(file: str, key: str, got: object, expected: str) -> NoReturn:
    raise TraceError(
        f"{file}: metadata key {METADATA_KEY}, {printable(key, 80)}: got {printable(repr(got), 80)}, "
        f"expected {expected}; write the trace again with svsim"
    )
