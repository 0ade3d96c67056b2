"""An engine profile from JSON, read strictly: it prices every answer."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from svsim.errors import LatencyError, printable
from svsim.latency.engines.profile import (
    FACTORS,
    MEASURES,
    SECONDS,
    Constant,
    EngineProfile,
    ProfileErrors,
)
from svsim.reading import shown

EXPECTED = 'an engine profile: {"name": ..., "engine": ..., "summary": ..., "constants": {...}}'
MAX_SECONDS, MAX_FACTOR, MAX_ERROR = 1.0, 10.0, 10.0
MAX_TEXT = 400
_REQUIRED = ("name", "engine", "summary", "constants")
_OPTIONAL = (
    "first_version",
    "last_version",
    "variant",
    "prefills_apart",
    "errors",
    "price_error",
    "roofline_mixture_error",
    "largest_batch_size",
    "error_per_doubling",
)


def profile_from_json(entry: object, where: str) -> EngineProfile:
    """One profile from its parsed JSON object. LatencyError, one line, for anything that is not one."""
    top = _mapping(entry, where, "the profile", (*_REQUIRED, *_OPTIONAL))
    for key in _REQUIRED:
        if key not in top:
            raise LatencyError(f"{where}: key {key} is missing; expected {EXPECTED}")
    constants = _mapping(top["constants"], where, "constants", (*SECONDS, *FACTORS))
    errors = _mapping(top.get("errors") or {}, where, "errors", MEASURES)
    apart = top.get("prefills_apart", False)
    if not isinstance(apart, bool):
        raise LatencyError(f"{where}: prefills_apart is {shown(apart)}; expected true or false")
    return EngineProfile(
        name=_text(top, "name", where),
        engine=_text(top, "engine", where),
        summary=_text(top, "summary", where),
        versions=(_version(top, "first_version", where), _version(top, "last_version", where)),
        variant=_text(top, "variant", where) if top.get("variant") else "",
        prefills_apart=apart,
        constants={key: _constant(constants, key, where) for key in (*SECONDS, *FACTORS)},
        errors={key: _errors(value, f"{where}: errors.{key}") for key, value in errors.items()},
        price_error=_error(top, "price_error", where),
        roofline_mixture_error=_error(top, "roofline_mixture_error", where),
        largest_batch_size=_batch_size(top, where),
        error_per_doubling=_error(top, "error_per_doubling", where) or 0.0,
    )


def _constant(constants: Mapping[str, Any], key: str, where: str) -> Constant:
    """A number, or an object with its spread and panels; what is left out adds nothing."""
    least, most, neutral = (0.0, MAX_SECONDS, 0.0) if key in SECONDS else (0.1, MAX_FACTOR, 1.0)
    given, where = constants.get(key, neutral), f"{where}: {key}"
    if not isinstance(given, Mapping):
        value = _number(given, where, least, most)
        return Constant(value, value, value)
    parts = _mapping(given, where, "a constant", ("value", "low", "high", "panels"))
    value = _number(parts.get("value"), f"{where}.value", least, most)
    low, high = (_number(parts.get(end, value), f"{where}.{end}", least, most) for end in ("low", "high"))
    if not low <= value <= high:
        raise LatencyError(f"{where}: low {low:g}, value {value:g}, high {high:g}; expected a rising order")
    panels = parts.get("panels", [])
    if not isinstance(panels, list) or not all(isinstance(panel, str) for panel in panels):
        raise LatencyError(f"{where}.panels is {shown(panels)}; expected a list of names")
    return Constant(value, low, high, tuple(printable(panel, 100) for panel in panels))


def _errors(entry: object, where: str) -> ProfileErrors:
    names = ("num_cells", "num_panels", "mean", "p80", "p90")
    parts = _mapping(entry, where, "the entry", names)
    cells, panels, *shares = (_number(parts.get(name), f"{where}.{name}", 0.0, 1e9) for name in names)
    return ProfileErrors(int(cells), int(panels), *shares)


def _mapping(value: object, where: str, what: str, keys: Collection[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise LatencyError(f"{where}: {what} is {shown(value)}; expected a JSON object")
    unknown = sorted(str(key) for key in value if key not in keys)
    if unknown:
        raise LatencyError(f"{where}: unknown key {printable(unknown[0], 40)}; expected {', '.join(keys)}")
    return value


def _text(top: Mapping[str, Any], key: str, where: str) -> str:
    value = top.get(key)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
        raise LatencyError(
            f"{where}: {key} is {shown(value)}; expected a text, at most {MAX_TEXT} characters"
        )
    return printable(value, MAX_TEXT)


def _version(top: Mapping[str, Any], key: str, where: str) -> str | None:
    value = top.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"\d{1,3}(\.\d{1,3}){0,2}", value):
        raise LatencyError(f"{where}: {key} is {shown(value)}; expected a version such as 0.24, or null")
    return value


def _error(top: Mapping[str, Any], key: str, where: str) -> float | None:
    value = top.get(key)
    return None if value is None else _number(value, f"{where}: {key}", 0.0, MAX_ERROR)


def _batch_size(top: Mapping[str, Any], where: str) -> int | None:
    value = top.get("largest_batch_size")
    if value is None:
        return None
    size = _number(value, f"{where}: largest_batch_size", 1, 1e6)
    if size != int(size):
        raise LatencyError(f"{where}: largest_batch_size is {shown(value)}; expected a whole number")
    return int(size)


def _number(value: object, where: str, least: float, most: float) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
        return float(value)  # NaN is in no range
    raise LatencyError(f"{where} is {shown(value)}; expected a number from {least:g} to {most:g}")
