"""GPUs by their data sheets, and hardware specifications such as ``h100_sxm:tp=4``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from svsim.errors import LatencyError, printable
from svsim.latency.json_file import read_json_object
from svsim.latency.names import closest_names

MAX_TENSOR_PARALLEL = 1024
_OPTIONAL = frozenset({"fp8_flop_per_s", "int8_op_per_s", "fp4_flop_per_s", "power_w"})


@dataclass(frozen=True, slots=True)
class GpuDataSheet:
    """Dense peaks of one GPU (or TPU); ``sources`` says per number which document it comes from.

    interconnect_bytes_per_s: one direction, from one GPU to its peers in the server.
    fp8_flop_per_s, int8_op_per_s, fp4_flop_per_s: None without such matrix units.
    power_w: of the whole card or module; None if it is not published.
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


_NUMBERS = tuple(field.name for field in fields(GpuDataSheet) if field.name not in ("name", "sources"))


@cache
def data_sheets() -> Mapping[str, GpuDataSheet]:
    """All known GPUs by canonical name (as aiconfigurator names them), in file order."""
    data = json.loads(resources.files("svsim.latency").joinpath("hardware.json").read_text("utf-8"))
    cited = {key: f"{s['title']}, {s['date']}, {s['url']}" for key, s in data["sources"].items()}
    sheets = {}
    for name, numbers in data["gpus"].items():
        known = {key: pair for key, pair in numbers.items() if pair is not None}
        values: dict[str, Any] = {key: pair[0] if pair is not None else None for key, pair in numbers.items()}
        sheets[name] = GpuDataSheet(
            name=name, sources={key: cited[source] for key, (_, source) in known.items()}, **values
        )
    return sheets


def data_sheet(name: str) -> GpuDataSheet:
    """The GPU of that canonical name, or described in a ``.json`` file (its stem is the name).

    LatencyError with the closest names if there is none.
    """
    if name.endswith(".json"):
        return _described(Path(name))
    sheets = data_sheets()
    if name not in sheets:
        raise LatencyError(f"no data sheet of hardware {printable(name, 80)}; {closest_names(name, sheets)}")
    return sheets[name]


def _described(path: Path) -> GpuDataSheet:
    """A GPU from a file that holds its numbers by field name; optional ones may be left out."""
    numbers = read_json_object(path, f"a data sheet: {', '.join(_NUMBERS)}")
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


@dataclass(frozen=True, slots=True)
class HardwareSpec:
    """A GPU name and the number of GPUs that share the target; None: not said.

    The name need not have a data sheet: a step-time table may hold any hardware.
    """

    name: str
    tensor_parallel: int | None = None

    @classmethod
    def parse(cls, text: str) -> "HardwareSpec":
        """``h100_sxm`` or ``h100_sxm:tp=4``."""
        name, separator, options = text.strip().partition(":")
        text = printable(text, 80)
        if not name or (separator and not options):
            raise LatencyError(f'hardware "{text}": expected NAME or NAME:tp=N, as h100_sxm:tp=4')
        degree = None
        for option in options.split(",") if options else []:
            key, _, value = option.partition("=")
            if key.strip() != "tp" or degree is not None:
                raise LatencyError(
                    f'hardware "{text}": option "{printable(option, 40)}"; the only option is tp=N, once'
                )
            degree = _degree(value.strip(), text)
        return cls(name, degree)

    def __str__(self) -> str:
        return self.name if self.tensor_parallel is None else f"{self.name}:tp={self.tensor_parallel}"


def _degree(value: str, text: str) -> int:
    if not (
        value.isascii() and value.isdigit() and len(value) <= 4 and 1 <= int(value) <= MAX_TENSOR_PARALLEL
    ):
        raise LatencyError(
            f'hardware "{text}": tp = "{printable(value, 20)}"; '
            f"expected a number of GPUs from 1 to {MAX_TENSOR_PARALLEL}"
        )
    return int(value)
