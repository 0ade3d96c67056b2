"""What a GPU costs by the hour: a small dated file that the user can replace."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from svsim.errors import LatencyError, printable
from svsim.reading import json_object

EXPECTED = (
    '{"usd_per_gpu_hour": {"h100_sxm": [2.5, "where"]}, "sources": {"where": {"title": "", "date": ""}}}'
)


@dataclass(frozen=True, slots=True)
class HourlyPrice:
    """US dollars per hour of one GPU, and who asked that price when."""

    usd_per_gpu_hour: float
    source: str


def hourly_prices(path: str | Path | None = None) -> Mapping[str, HourlyPrice]:
    """Prices by hardware name: the shipped examples, or a file of the same form."""
    if path is None:
        text = resources.files("svsim.latency").joinpath("prices.json").read_text("utf-8")
        return _prices(json.loads(text), "prices.json")
    return _prices(json_object(path, EXPECTED, LatencyError), printable(path))


def _prices(data: Mapping[str, Any], where: str) -> Mapping[str, HourlyPrice]:
    entries, sources = data.get("usd_per_gpu_hour"), data.get("sources")
    if not isinstance(entries, Mapping) or not isinstance(sources, Mapping):
        raise LatencyError(f"{where}: no price list; expected {EXPECTED}")
    return {str(name): _price(name, entry, sources, where) for name, entry in entries.items()}


def _price(name: str, entry: Any, sources: Mapping[str, Any], where: str) -> HourlyPrice:
    match entry:
        case [int() | float() as usd, str(key)] if 0 <= usd < 1e6 and isinstance(sources.get(key), Mapping):
            source = sources[key]
            parts = [printable(source[part], 200) for part in ("title", "date", "url") if source.get(part)]
            return HourlyPrice(float(usd), ", ".join(parts))
    raise LatencyError(
        f"{where}: price of {printable(name, 80)} is {printable(entry, 40)}; "
        "expected [dollars, key of sources]"
    )
