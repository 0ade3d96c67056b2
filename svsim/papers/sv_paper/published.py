"""The numbers of Speculative Verification (arXiv 2509.24328 v2), as ``sv_paper.json`` holds them.

Bars are read off raster charts: ``read_error_tok_s`` is the error of reading, not of the experiment, which
the paper does not give. Bars of batch 1 are too short to read (4 to 36 %) and are never judged.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from svsim.latency.geometry import ModelGeometry, model_geometry
from svsim.latency.shape import Role

CALIBRATION_METHODS = ("td", "sd:k=5")
LEAST_JUDGED_BATCH = 2


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a figure: method as the command line spells it, batch size, tokens per second."""

    method: str
    batch_size: int
    tok_s: float
    read_error_tok_s: float

    @property
    def relative_read_error(self) -> float:
        """Read error over the bar's height."""
        return self.read_error_tok_s / self.tok_s


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel of figure 3: three models, a data set, goodput of TD, SD and SV.

    verified_acceptance: accepted over verified tokens by method, at the largest batch.
    """

    name: str
    models: Mapping[Role, ModelGeometry]
    verified_acceptance: Mapping[str, float]
    bars: tuple[Bar, ...]

    @property
    def calibration(self) -> tuple[Bar, ...]:
        """Bars that step times are fitted to: TD and SD(5), batch 1 left out."""
        return tuple(
            b for b in self.bars if b.method in CALIBRATION_METHODS and b.batch_size >= LEAST_JUDGED_BATCH
        )

    @property
    def calibration_acceptance(self) -> float:
        """Published verified acceptance rate of SD(5), the one rate that may be used."""
        return self.verified_acceptance["sd:k=5"]

    @property
    def predicted(self) -> tuple[Bar, ...]:
        """Bars that are predicted: SD(7), SV(5), SV(7)."""
        return tuple(b for b in self.bars if b.method not in CALIBRATION_METHODS)

    @property
    def largest_batch(self) -> int:
        """The largest batch size of the panel."""
        return max(b.batch_size for b in self.bars)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Batch sizes of the panel, ascending."""
        return tuple(sorted({b.batch_size for b in self.bars}))

    def bar(self, method: str, batch_size: int) -> Bar:
        """The bar of a method at a batch size."""
        return next(b for b in self.bars if (b.method, b.batch_size) == (method, batch_size))


@dataclass(frozen=True, slots=True)
class VariantsFigure:
    """Figure 4: rivals on one target model. Accept length: accepted tokens per step, bonus not counted."""

    models: Mapping[Role, ModelGeometry]
    bars: tuple[Bar, ...]
    prediction_accuracy: Mapping[str, float]
    accept_length: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SavingsRow:
    """A row of table 3: rates of SD and SV, operations in TFLOP (of what amount of work it does not say)."""

    family: str
    draft: str
    companion: str
    target: str
    accept_rate_sd: float
    accept_rate_sv: float
    tflop_sd: float
    tflop_saved: float
    tflop_companion: float

    @property
    def name(self) -> str:
        """The triple in one line."""
        return f"{self.family} {self.draft}/{self.companion}/{self.target}"

    @property
    def saved_share(self) -> float:
        """Verification saved, over SD's."""
        return self.tflop_saved / self.tflop_sd

    @property
    def companion_share(self) -> float:
        """The companion's operations over SD's."""
        return self.tflop_companion / self.tflop_sd


@dataclass(frozen=True, slots=True)
class Published:
    """Everything the reproduction reads of the paper; ``tables`` by name, as in the file.

    overlapped_sv_over_sd: figure 5b by batch size. Its models and its draft length are not transcribed.
    """

    panels: tuple[Panel, ...]
    variants: VariantsFigure
    savings: tuple[SavingsRow, ...]
    overlapped_sv_over_sd: Mapping[int, float]
    tables: Mapping[str, Any]


@cache
def sv_paper() -> Published:
    """The paper's numbers."""
    data = json.loads(resources.files("svsim.papers.sv_paper").joinpath("sv_paper.json").read_text("utf-8"))
    return Published(
        panels=tuple(_panel(p) for p in data["figure_3"]["panels"]),
        variants=_variants(data["figure_4"]),
        savings=tuple(SavingsRow(**row) for row in data["table_3"]),
        overlapped_sv_over_sd={int(b): x for b, x in data["figure_5b"]["sv_over_sd"].items()},
        tables={name: data[name] for name in ("table_1", "table_2", "table_7", "table_8", "table_9")},
    )


def _models(entry: Mapping[str, Any]) -> dict[Role, ModelGeometry]:
    return {role: model_geometry(entry[role.value]) for role in Role}


def _panel(entry: Mapping[str, Any]) -> Panel:
    error = float(entry["read_error_tok_s"])
    bars = tuple(
        Bar(method, int(batch), tok_s, error)
        for method, by_batch in entry["goodput_tok_s"].items()
        for batch, tok_s in by_batch.items()
    )
    return Panel(entry["name"], _models(entry), entry["verified_acceptance"], bars)


def _variants(entry: Mapping[str, Any]) -> VariantsFigure:
    errors = entry["read_error_tok_s"]
    bars = tuple(
        Bar(f"{method}:k={length}", int(batch), tok_s, errors[batch])
        for length, by_method in entry["goodput_tok_s"].items()
        for method, by_batch in by_method.items()
        for batch, tok_s in by_batch.items()
    )
    return VariantsFigure(_models(entry), bars, entry["prediction_accuracy"], entry["accept_length"])
