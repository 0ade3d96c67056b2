"""Hardware specifications such as ``h100_sxm:tp=4,draft=replicated,quant=fp8``."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, get_args

from svsim.errors import LatencyError, printable
from svsim.latency.geometry import ModelGeometry
from svsim.latency.precision import Dtype, KvDtype
from svsim.latency.shape import Role

MAX_TENSOR_PARALLEL = 1024
EXPECTED = "expected NAME or NAME:key=value,..., as h100_sxm:tp=4,draft=replicated,quant=fp8"


class Placement(StrEnum):
    """Where the draft or the companion lives among the GPUs that share the target.

    one:        whole on the first of them; the others wait.
    replicated: a copy on each, which serves its slice of the batch (data-parallel drafting, DP in
                Speculative Verification, arXiv 2509.24328).
    sharded:    split over all of them like the target (tensor parallel).
    """

    ONE = "one"
    REPLICATED = "replicated"
    SHARDED = "sharded"


# What an option may say; the order is that of the canonical text.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "draft": tuple(Placement),
    "companion": tuple(Placement),
    "quant": get_args(Dtype),
    "kv": get_args(KvDtype),
}


@dataclass(frozen=True, slots=True)
class HardwareSpec:
    """A GPU, how many of them share the target, and how the models lie on them; None: not said.

    draft, companion: their placement; not said is one GPU (of a step-time table: rows of the target's
    degree, if it has any). quant, kv: precision of the target's weights and KV cache in place of what
    its configuration says; the small models keep theirs. The name need not have a data sheet: a
    step-time table may hold any hardware.
    """

    name: str
    tensor_parallel: int | None = None
    draft: Placement | None = None
    companion: Placement | None = None
    quant: Dtype | None = None
    kv: KvDtype | None = None

    @classmethod
    def parse(cls, text: str) -> "HardwareSpec":
        """``h100_sxm``, ``h100_sxm:tp=4``, ``h100_sxm:tp=4,draft=replicated,companion=sharded,quant=fp8``."""
        name, separator, options = text.strip().partition(":")
        text = printable(text, 80)
        if not name or (separator and not options):
            raise LatencyError(f'hardware "{text}": {EXPECTED}')
        found: dict[str, Any] = {}
        for option in options.split(",") if options else []:
            key, _, value = (part.strip() for part in option.partition("="))
            if key in found or (key != "tp" and key not in _WORDS):
                known = f"tp=N, {', '.join(f'{k}={chr(124).join(words)}' for k, words in _WORDS.items())}"
                raise LatencyError(
                    f'hardware "{text}": option "{printable(option, 40)}"; expected, each once: {known}'
                )
            found[key] = _degree(value, text) if key == "tp" else _word(key, value, text)
        placements = {key: Placement(found[key]) for key in ("draft", "companion") if key in found}
        return cls(name, found.get("tp"), **placements, quant=found.get("quant"), kv=found.get("kv"))

    @property
    def options(self) -> str | None:
        """All but the name and tp, in canonical order (``draft=replicated,quant=fp8``); None without."""
        said = {key: getattr(self, key) for key in _WORDS}
        return ",".join(f"{key}={value}" for key, value in said.items() if value is not None) or None

    @property
    def placements(self) -> Mapping[Role, Placement]:
        """The placements that were said."""
        said = {Role.DRAFT: self.draft, Role.COMPANION: self.companion}
        return {role: placement for role, placement in said.items() if placement is not None}

    def roles(self, placement: Placement) -> frozenset[Role]:
        """The small models that were placed so."""
        return frozenset(role for role, said in self.placements.items() if said is placement)

    def quantized(self, role: Role, geometry: ModelGeometry) -> ModelGeometry:
        """The model of a role as it runs here."""
        if role is not Role.TARGET:
            return geometry
        if self.quant:
            geometry = replace(geometry, weight_dtype=self.quant, attention_dtype=None, dense_dtype=None)
        return replace(geometry, kv_dtype=self.kv or geometry.kv_dtype)

    def __str__(self) -> str:
        degree = [] if self.tensor_parallel is None else [f"tp={self.tensor_parallel}"]
        inside = ",".join(degree + ([self.options] if self.options else []))
        return f"{self.name}:{inside}" if inside else self.name


def _word(key: str, value: str, text: str) -> str:
    if value not in _WORDS[key]:
        raise LatencyError(
            f'hardware "{text}": {key} = "{printable(value, 20)}"; expected one of {", ".join(_WORDS[key])}'
        )
    return value


def _degree(value: str, text: str) -> int:
    if not (
        value.isascii() and value.isdigit() and len(value) <= 4 and 1 <= int(value) <= MAX_TENSOR_PARALLEL
    ):
        raise LatencyError(
            f'hardware "{text}": tp = "{printable(value, 20)}"; '
            f"expected a number of GPUs from 1 to {MAX_TENSOR_PARALLEL}"
        )
    return int(value)
