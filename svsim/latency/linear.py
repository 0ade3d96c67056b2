"""Step times that are linear in tokens, read from a small JSON file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.errors import LatencyError, printable
from svsim.latency.context_costs import AttentionCosts, ContextCosts
from svsim.latency.mixed_pass import MixedPass, attention_s, predict_mixed_s
from svsim.latency.model import OutOfRange
from svsim.latency.pass_costs import PassCosts
from svsim.latency.shape import Role, StepShape
from svsim.reading import MAX_SMALL_BYTES, parse_json, read_bytes, shown
from svsim.step_time_format import MAX_PASS_S, MIN_PASS_S

EXPECTED = 'a linear latency file, {"kind": "linear", "target": {"fixed_s": ...}}'
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
        where = printable(path)
        data = read_bytes(path, EXPECTED, MAX_SMALL_BYTES, LatencyError)
        return cls.from_json(parse_json(data, where, EXPECTED, LatencyError), path.stem, where)

    @classmethod
    def from_json(cls, obj: object, name: str, where: str | None = None) -> "LinearLatency":
        """Build from the parsed JSON object; ``name`` becomes ``hardware``, ``where`` leads errors."""
        where = name if where is None else where
        top = _mapping(obj, where, "the file", TOP_KEYS)
        if top.get("kind") != "linear":
            raise LatencyError(f'{where}: kind must be "linear", got {shown(top.get("kind"))}')
        if Role.TARGET not in top:
            raise LatencyError(f"{where}: key target is missing; expected {{{', '.join(COEFFICIENTS)}}}")
        passes = {role: _linear_pass(top[role], where, role) for role in Role if role in top}
        token_s = passes[Role.TARGET].fixed_s + passes[Role.TARGET].per_new_token_s
        if token_s < MIN_PASS_S:
            raise LatencyError(
                f"{where}: a target pass of one token takes fixed_s + per_new_token_s = {token_s:g} s; "
                f"expected at least {MIN_PASS_S:g} s, the start of one GPU kernel"
            )
        overhead_s = _seconds(top, "overhead_per_step_s", where, "")
        one_pass = top.get("draft_is_one_pass", None if Role.DRAFT in passes else False)
        if not isinstance(one_pass, bool):
            got = "is missing" if "draft_is_one_pass" not in top else f"must not be {shown(one_pass, 'null')}"
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

    def predict_mixed_s(
        self, decode: StepShape, chunk_tokens: ArrayLike, chunk_kv: ArrayLike
    ) -> NDArray[np.float64]:
        """Seconds of each mixed pass: see ``MixedLatencyModel``."""
        mixed = MixedPass.of(decode, chunk_tokens, chunk_kv, self.roles, self.hardware)
        return predict_mixed_s(self, decode, mixed)

    def attention_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass that depend on contexts: see ``MixedLatencyModel``."""
        return attention_s(self, shape)

    def pass_costs(self, role: Role) -> PassCosts:
        """The terms of a role's pass."""
        line = self.passes[role]

        def token_s(tokens: NDArray[np.float64]) -> NDArray[np.float64]:
            return line.fixed_s + line.per_new_token_s * tokens

        return PassCosts(token_s, ContextCosts.in_proportion(AttentionCosts(line.per_kv_token_s)))


def _linear_pass(obj: object, where: str, role: Role) -> LinearPass:
    values = _mapping(obj, where, role, frozenset(COEFFICIENTS))
    return LinearPass(*(_seconds(values, key, where, f"{role}.") for key in COEFFICIENTS))


def _mapping(obj: object, where: str, what: str, keys: frozenset[str]) -> Mapping[str, Any]:
    if not isinstance(obj, Mapping):
        raise LatencyError(f"{where}: {what} must be a JSON object, got {shown(obj)}")
    unknown = sorted(str(key) for key in obj if key not in keys)
    if unknown:
        raise LatencyError(
            f"{where}: unknown key {shown(unknown[0])} in {what}; expected {', '.join(sorted(keys))}"
        )
    return obj


def _seconds(obj: Mapping[str, Any], key: str, where: str, prefix: str) -> float:
    if key not in obj:
        raise LatencyError(f"{where}: key {prefix}{key} is missing; expected seconds >= 0")
    value = obj[key]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= MAX_PASS_S:
        raise LatencyError(
            f"{where}: {prefix}{key} = {shown(value, 'null')} is not a latency; "
            f"expected a number of seconds from 0 to {MAX_PASS_S:g}"
        )
    return float(value)
