"""Step times that are linear in tokens, read from a small JSON file."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.errors import LatencyError
from svsim.files import read_at_most
from svsim.latency.model import OutOfRange
from svsim.latency.shape import Role, StepShape

MAX_FILE_BYTES = 1 << 20
MAX_COEFFICIENT_S = 1e6
COEFFICIENTS = ("fixed_s", "per_new_token_s", "per_kv_token_s")
TOP_KEYS = frozenset({"kind", "overhead_per_step_s", "draft_is_one_pass", *Role})


@dataclass(frozen=True, slots=True)
class LinearPass:
    """One forward pass = fixed_s + per_new_token_s * new tokens + per_kv_token_s * KV tokens."""

    fixed_s: float
    per_new_token_s: float
    per_kv_token_s: float


@dataclass(frozen=True, slots=True)
class LinearLatency:
    """Linear step times of the target and, where given, of the draft and the companion.

    A straight line has no calibrated range of its own: ``out_of_range`` is always ``extrapolate``.
    """

    passes: Mapping[Role, LinearPass]
    hardware: str
    overhead_per_step_s: float = 0.0
    draft_is_one_pass: bool = False

    @classmethod
    def from_file(cls, path: str | Path) -> "LinearLatency":
        """Read a linear latency file; ``hardware`` is its stem. Raises LatencyError, one line."""
        path = Path(path)
        return cls.from_json(_read_json(path), path.stem, where=str(path))

    @classmethod
    def from_json(cls, obj: object, name: str, where: str | None = None) -> "LinearLatency":
        """Build from the parsed JSON object; ``name`` becomes ``hardware``, ``where`` leads errors."""
        where = name if where is None else where
        top = _mapping(obj, where, "the file", TOP_KEYS)
        if top.get("kind") != "linear":
            raise LatencyError(f'{where}: kind must be "linear", got {_shown(top.get("kind"))}')
        if Role.TARGET not in top:
            raise LatencyError(f"{where}: key target is missing; expected {{{', '.join(COEFFICIENTS)}}}")
        passes = {role: _linear_pass(top[role], where, role) for role in Role if role in top}
        overhead_s = _seconds(top, "overhead_per_step_s", where, "")
        one_pass = top.get("draft_is_one_pass", None if Role.DRAFT in passes else False)
        if not isinstance(one_pass, bool):
            got = "is missing" if "draft_is_one_pass" not in top else f"must not be {_shown(one_pass)}"
            raise LatencyError(f"{where}: draft_is_one_pass {got}; expected true or false")
        return cls(MappingProxyType(passes), name, overhead_s, one_pass)

    @property
    def tensor_parallel(self) -> None:
        """Not said by a linear file."""

    @property
    def source(self) -> str:
        """``linear``."""
        return "linear"

    @property
    def out_of_range(self) -> OutOfRange:
        """Always ``extrapolate``."""
        return "extrapolate"

    @property
    def separates_head(self) -> bool:
        """Never: a line says nothing of the head."""
        return False

    @property
    def roles(self) -> frozenset[Role]:
        """The roles the file gives coefficients for."""
        return frozenset(self.passes)

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass, float64 of the broadcast shape."""
        shape.checked(self.passes.keys(), self.hardware)
        _, tokens, kv = shape.broadcast()
        line = self.passes[shape.role]
        pass_s = line.fixed_s + line.per_new_token_s * tokens + line.per_kv_token_s * kv
        return np.asarray(pass_s * shape.layers)


def _read_json(path: Path) -> object:
    def reject_constant(name: str) -> float:
        raise LatencyError(f"{path}: {name} is not a latency; expected finite numbers >= 0")

    def reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        obj = dict(pairs)
        if len(obj) < len(pairs):
            twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
            raise LatencyError(f"{path}: key {_shown(twice)} appears twice; keep one")
        return obj

    try:
        data = read_at_most(path, MAX_FILE_BYTES)
        if data is None:
            raise LatencyError(
                f"{path}: larger than {MAX_FILE_BYTES} bytes; a linear latency file holds a few numbers"
            )
        return json.loads(
            data.decode("utf-8"), parse_constant=reject_constant, object_pairs_hook=reject_duplicates
        )
    except OSError as error:
        raise LatencyError(f"{path}: cannot be read ({error.strerror}); expected a JSON file") from None
    except (ValueError, RecursionError) as error:
        detail = str(error).splitlines()[0]
        raise LatencyError(f"{path}: not valid JSON ({detail}); expected a linear latency file") from None


def _linear_pass(obj: object, where: str, role: Role) -> LinearPass:
    values = _mapping(obj, where, role, frozenset(COEFFICIENTS))
    return LinearPass(*(_seconds(values, key, where, f"{role}.") for key in COEFFICIENTS))


def _mapping(obj: object, where: str, what: str, keys: frozenset[str]) -> Mapping[str, Any]:
    if not isinstance(obj, Mapping):
        raise LatencyError(f"{where}: {what} must be a JSON object, got {_shown(obj)}")
    unknown = sorted(str(key) for key in obj if key not in keys)
    if unknown:
        raise LatencyError(
            f"{where}: unknown key {_shown(unknown[0])} in {what}; expected {', '.join(sorted(keys))}"
        )
    return obj


def _seconds(obj: Mapping[str, Any], key: str, where: str, prefix: str) -> float:
    if key not in obj:
        raise LatencyError(f"{where}: key {prefix}{key} is missing; expected seconds >= 0")
    value = obj[key]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= MAX_COEFFICIENT_S:
        raise LatencyError(
            f"{where}: {prefix}{key} = {_shown(value)} is not a latency; "
            f"expected a number of seconds from 0 to {MAX_COEFFICIENT_S:g}"
        )
    return float(value)


def _shown(value: object) -> str:
    """A short, one-line picture of a value from outside."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 40 else text[:37] + "..."
