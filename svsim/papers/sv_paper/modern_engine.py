"""The panels' acceptance on a modern engine: what is left of SV's lead over the best fixed length.

Not the paper's step times but svsim's own prices: the same models on the SXM form of the paper's GPU, from
the kernel database, under the profile of an engine that public panels pin. SD may choose its length per
batch size, which the paper's SD(5) may not; SV plans with the whole step's time.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from svsim.latency.database import database_latency
from svsim.latency.engines.catalogue import DEFAULT_ENGINE, engine_profile
from svsim.latency.engines.latency import EngineLatency
from svsim.latency.shape import Role
from svsim.metrics.bootstrap import goodput_tok_s
from svsim.metrics.verdict import HALF_90
from svsim.papers.sv_paper.panels import SLOWED_BY_A_TENTH, PanelResult
from svsim.papers.sv_paper.published import Panel
from svsim.papers.sv_paper.replays import replayed

MODERN_HARDWARE, MODERN_TENSOR_PARALLEL = "a100_sxm", 2
BATCH_SIZES = (8, 32, 64)
SD_LENGTHS, SV_LENGTHS = (1, 2, 3, 5, 7), (3, 5, 7)
SERIAL, BESIDE, HALVED = "serial", "two micro-batches", "two halves of the batch"
_PIPELINES = {
    SERIAL: "",
    BESIDE: f",{SLOWED_BY_A_TENTH}",
    HALVED: f",{SLOWED_BY_A_TENTH.replace('full', 'half')}",
}


@dataclass(frozen=True, slots=True)
class Best:
    """The best draft length of a method: tokens per second over target-only decoding."""

    num_draft_tokens: int
    speedup_vs_td: float


@dataclass(frozen=True, slots=True)
class ModernRow:
    """A panel's models and acceptance at one batch size; ``sv``: by pipeline.

    price_error: relative, 1 sigma, of the engine profile's speedups over target-only decoding at this batch.
    """

    panel: str
    engine: str
    hardware: str
    latency_source: str
    batch_size: int
    price_error: float
    sd: Best
    sv: Mapping[str, Best]

    @property
    def is_to_be_measured(self) -> bool:
        """Whether every lead of SV lies inside the error bar of a verdict (prices alone)."""
        return all(self.sv_over_sd(name) < math.exp(HALF_90 * self.price_error) for name in self.sv)

    def sv_over_sd(self, pipeline: str) -> float:
        """The best SV over the best SD, of the same sequences in flight or (``BESIDE``) of twice as many."""
        return self.sv[pipeline].speedup_vs_td / self.sd.speedup_vs_td


def modern_rows(result: PanelResult, seed: int = 0) -> tuple[ModernRow, ...]:
    """TD, SD and SV of a panel's models at ``BATCH_SIZES``."""
    return tuple(_rows(result.panel, result, modern_latency(result.panel), seed))


def modern_latency(panel: Panel) -> EngineLatency:
    """The panel's models on ``MODERN_HARDWARE`` under the default engine profile."""
    target, draft, companion = (panel.models[role] for role in Role)
    profile = engine_profile(DEFAULT_ENGINE)
    assert profile is not None
    base = database_latency(MODERN_HARDWARE, MODERN_TENSOR_PARALLEL, target, draft, companion)
    return EngineLatency(base, profile, target)


def _rows(panel: Panel, result: PanelResult, latency: EngineLatency, seed: int) -> Iterator[ModernRow]:
    sd = {k: f"sd:k={k}" for k in SD_LENGTHS}
    sv = {name: {k: f"sv:k={k}{words}" for k in SV_LENGTHS} for name, words in _PIPELINES.items()}
    methods = ["td", *sd.values(), *(text for texts in sv.values() for text in texts.values())]
    records = replayed(result.acceptance.trace, methods, BATCH_SIZES, latency, seed)
    for b in BATCH_SIZES:
        tok_s = {text: goodput_tok_s(records[text, b]) for text in methods}
        yield ModernRow(
            panel.name,
            latency.profile.name,
            f"{latency.hardware}:tp={latency.tensor_parallel}",
            latency.source,
            b,
            latency.price_error_at(b) or 0.0,
            _best(sd, tok_s),
            {name: _best(texts, tok_s) for name, texts in sv.items()},
        )


def _best(texts: Mapping[int, str], tok_s: Mapping[str, float]) -> Best:
    k = max(texts, key=lambda k: tok_s[texts[k]])
    return Best(k, tok_s[texts[k]] / tok_s["td"])


def least_and_most(rows: Sequence[ModernRow], pipeline: str) -> tuple[float, float]:
    """SV over SD, least and most of the rows."""
    ratios = [row.sv_over_sd(pipeline) for row in rows]
    return min(ratios), max(ratios)
