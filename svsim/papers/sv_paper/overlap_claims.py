"""The claim of figure 5b: what overlapping the drafting is worth to SV."""

from collections.abc import Mapping, Sequence

import numpy as np

from svsim.papers.sv_paper.panels import BASE, HIDDEN, SLOWED, PanelResult
from svsim.papers.sv_paper.verdicts import AGREES, Claim, Evidence, decided

SV, SD = "sv:k=5", "sd:k=5"


def published_sv_over_sd(results: Sequence[PanelResult], batch_size: int) -> list[float]:
    """SV(5) over SD(5) of figure 3's bars, panel by panel."""
    panels = [r.panel for r in results]
    return [p.bar(SV, batch_size).tok_s / p.bar(SD, batch_size).tok_s for p in panels]


def predicted_sv_over_sd(results: Sequence[PanelResult], scenario: str, batch_size: int) -> list[float]:
    """SV(5) in a scenario over SD(5) as calibrated, panel by panel."""
    return [r.scenario(scenario).of(SV, batch_size).tok_s / r.base.of(SD, batch_size).tok_s for r in results]


def mean_ratios(e: Evidence) -> Mapping[str, Mapping[int, float]]:
    """By scenario and batch size of figure 5b: SV over SD, the mean of the panels."""
    sizes = e.published.overlapped_sv_over_sd
    return {
        name: {b: float(np.mean(predicted_sv_over_sd(e.panels, name, b))) for b in sizes}
        for name in (BASE, HIDDEN, SLOWED)
    }


def overlap(e: Evidence) -> Claim:
    """Figure 5b."""
    published = e.published.overlapped_sv_over_sd
    means = mean_ratios(e)
    seen = {b: float(np.mean(published_sv_over_sd(e.panels, b))) for b in published}
    added = {b: means[SLOWED][b] / means[BASE][b] for b in published}
    qwen = {name: {b: e.variants.sv_over_sd[name][b] for b in published} for name in means}
    return Claim(
        "What overlap gives SV",
        "figure 5b",
        f"with its drafting overlapped SV is {_ratios(published)} times as fast as SD at batch "
        f"{' / '.join(map(str, published))}",
        decided(_agree(means[SLOWED], published)),
        f"Predicted at draft 5, mean of the four panels: {_ratios(means[BASE])} without overlap, "
        f"{_ratios(means[SLOWED])} with verification x 1.1, {_ratios(means[HIDDEN])} with drafting hidden at "
        f"no cost; on Qwen3-32B as calibrated for figure 4: {_ratios(qwen[BASE])}, {_ratios(qwen[SLOWED])}, "
        f"{_ratios(qwen[HIDDEN])}. Overlap multiplies a serial SV "
        f"by {_ratios(added)}, less as drafting becomes less of a step, so a ratio that falls with the batch "
        f"speaks of overlap. Figure 3's own bars are {_ratios(seen)} at these batch sizes. The "
        "models and the draft length of figure 5b are not in the data.",
    )


def _agree(predicted: Mapping[int, float], published: Mapping[int, float]) -> bool:
    return all(abs(predicted[b] / ratio - 1.0) <= AGREES for b, ratio in published.items())


def _ratios(by_batch: Mapping[int, float]) -> str:
    return " / ".join(f"{x:.2f}" for x in by_batch.values())
