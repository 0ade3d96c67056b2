"""GPUs by their data sheets."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from svsim.errors import LatencyError, printable
from svsim.latency.names import closest_names
from svsim.latency.precision import WEIGHT_ONLY, Dtype
from svsim.reading import json_object

_OPTIONAL = frozenset({"fp8_flop_per_s", "int8_op_per_s", "fp4_flop_per_s", "power_w"})


@dataclass(frozen=True, slots=True)
class GpuDataSheet:
    """Dense peaks of one GPU (or TPU); ``sources`` says per number which document it comes from.

    interconnect_bytes_per_s: one direction, from one GPU to its peers in the server.
    fp8_flop_per_s, int8_op_per_s, fp4_flop_per_s: None without such matrix units.
    power_w: of the whole card or module; None if it is not published.
    checked: what passes that the roofline priced on this GPU were compared with; None: with nothing.
    """

    name: str
    bf16_flop_per_s: float
    fp8_flop_per_s: float | None
    int8_op_per_s: float | None
    fp4_flop_per_s: float | None
    memory_bytes: float
    memory_bytes_per_s: float
    interconnect_bytes_per_s: float
    power_w: float | None
    sources: Mapping[str, str]
    checked: str | None = None

    def flop_per_s(self, dtype: Dtype) -> float | None:
        """Peak of matrix products whose weights and inputs are ``dtype``; None without such units.

        Weights that are widened before they are multiplied run on the 16-bit units.
        """
        if dtype in WEIGHT_ONLY:
            return self.bf16_flop_per_s
        return {
            "bf16": self.bf16_flop_per_s,
            "fp8": self.fp8_flop_per_s,
            "fp8_block": self.fp8_flop_per_s,
            "int8": self.int8_op_per_s,
            "nvfp4": self.fp4_flop_per_s,
        }[dtype]


_NUMBERS = tuple(
    field.name for field in fields(GpuDataSheet) if field.name not in ("name", "sources", "checked")
)


@cache
def _shipped() -> Mapping[str, Any]:
    text = resources.files("svsim.latency").joinpath("hardware.json").read_text("utf-8")
    shipped: Mapping[str, Any] = json.loads(text)
    return shipped


def canonical_name(name: str) -> str:
    """The canonical name of an alias (``h100``); any other name itself."""
    return str(_shipped()["aliases"].get(name, name))


@cache
def data_sheets() -> Mapping[str, GpuDataSheet]:
    """All known GPUs by canonical name (as aiconfigurator names them), in file order."""
    data = _shipped()
    cited = {key: f"{s['title']}, {s['date']}, {s['url']}" for key, s in data["sources"].items()}
    sheets = {}
    for name, numbers in data["gpus"].items():
        known = {key: pair for key, pair in numbers.items() if pair is not None}
        values: dict[str, Any] = {key: pair[0] if pair is not None else None for key, pair in numbers.items()}
        sheets[name] = GpuDataSheet(
            name=name,
            sources={key: cited[source] for key, (_, source) in known.items()},
            checked=data["checked"].get(name),
            **values,
        )
    return sheets


def data_sheet(name: str) -> GpuDataSheet:
    """The GPU of that canonical name, or described in a ``.json`` file (its stem is the name).

    LatencyError with the closest names if there is none.
    """
    if name.endswith(".json"):
        return _described(Path(name))
    sheets, name = data_sheets(), canonical_name(name)
    if name not in sheets:
        raise LatencyError(f"no data sheet of hardware {printable(name, 80)}; {closest_names(name, sheets)}")
    return sheets[name]


def _described(path: Path) -> GpuDataSheet:
    """A GPU from a file that holds its numbers by field name; optional ones may be left out."""
    numbers = json_object(path, f"a data sheet: {', '.join(_NUMBERS)}", LatencyError)
    unknown = sorted(set(numbers) - {*_NUMBERS, "note"})
    missing = [key for key in _NUMBERS if key not in _OPTIONAL and numbers.get(key) is None]
    if unknown or missing:
        wrong = f"unknown key {printable(unknown[0], 40)}" if unknown else f"key {missing[0]} is missing"
        raise LatencyError(f"{path}: {wrong}; a data sheet has {', '.join(_NUMBERS)}")
    for key in _NUMBERS:
        value = numbers.get(key)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 < value < 1e20):
            raise LatencyError(f"{path}: {key} = {printable(value, 40)}; expected a number > 0, in SI units")
    values: dict[str, Any] = {key: numbers.get(key) for key in _NUMBERS}
    known = [key for key, value in values.items() if value is not None]
    return GpuDataSheet(path.stem, **values, sources=dict.fromkeys(known, str(path)))
