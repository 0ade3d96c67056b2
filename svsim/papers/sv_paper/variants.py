"""Figure 4: rival methods on Qwen3-32B, as ranks and ratios.

The figure has no TD and no SD, so less can be calibrated than on a panel. SmartSpec and EAGLE-3 are used up:
their lengths do not look at draft tokens, so their acceptance needs no assumption about signals. From them:

- acceptance of the draft model: SmartSpec's accepted over verified tokens at its mean length (the figure's
  accept length over its prediction accuracy); EAGLE's head has an acceptance of its own, taken as published;
- step times: those of the CodeLlama-34B panels (as large a model on the same GPUs), stretched and shifted by
  two numbers >= 0 that fit the six bars of the two at draft 5.

SVIP, Staged and SV are predicted, and all five at draft 7. What a step must have lasted follows from a bar
and the published accept length alone (``Implied``): no model is needed to see whether the five fit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.optimize import brentq, nnls
from scipy.stats import kendalltau

from svsim.metrics.bootstrap import goodput_tok_s
from svsim.papers.sv_paper.acceptance import panel_trace
from svsim.papers.sv_paper.panels import (
    BASE,
    HIDDEN,
    NO_SLOWDOWN,
    SLOWED,
    SLOWED_BY_A_TENTH,
    PanelResult,
)
from svsim.papers.sv_paper.published import Bar, VariantsFigure
from svsim.papers.sv_paper.replays import PAPER_RULE, Records, replayed
from svsim.papers.sv_paper.step_times import AffineLatency, AffinePass, Split, StepTimeFit, num_drafted
from svsim.records import RunRecord

CALIBRATION_VARIANTS = ("smartspec", "eagle")
BASIS = "CodeLlama-34B/HumanEvalPack"
LENGTH, BATCH = 5, 32  # where accept lengths and accuracies are published
PIPELINES = {BASE: "", HIDDEN: NO_SLOWDOWN, SLOWED: SLOWED_BY_A_TENTH}
_SD, _SV = f"sd:k={LENGTH}", f"sv:k={LENGTH}"
# A decoder layer and the output head over 64 layers and it: what one pass of the head costs of a target pass.
HEAD_SHARE = 0.04


@dataclass(frozen=True, slots=True)
class Implied:
    """What bars and accept lengths say by themselves, draft 5.

    mean_verification_length: accept length over prediction accuracy; step_s: by batch size.
    """

    variant: str
    mean_verification_length: float
    step_s: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class VariantPrediction:
    """A bar beside its prediction, and the replay's accepted and verified tokens per sequence and step."""

    bar: Bar
    variant: str
    tok_s: float
    accept_length: float
    mean_verification_length: float

    @property
    def error(self) -> float:
        """Predicted over published - 1."""
        return self.tok_s / self.bar.tok_s - 1.0

    @property
    def is_calibration(self) -> bool:
        """Whether the bar was fitted to."""
        return self.variant in CALIBRATION_VARIANTS and num_drafted(self.bar.method) == LENGTH


@dataclass(frozen=True, slots=True)
class VariantsResult:
    """Figure 4 with SV serial (``serial``) and with its drafting hidden at no cost (``overlapped``).

    shift_s, stretch: the two fitted numbers. rank_agreement: Kendall's tau of the five bars by (draft length,
    batch size), SV overlapped. sv_over_sd: SV over SD at draft 5 by scenario and batch size; SD has no bar.
    """

    implied: tuple[Implied, ...]
    shift_s: float
    stretch: float
    verified_acceptance: float
    serial: tuple[VariantPrediction, ...]
    overlapped: tuple[VariantPrediction, ...]
    rank_agreement: Mapping[tuple[int, int], float]
    sv_over_sd: Mapping[str, Mapping[int, float]]

    def of(self, method: str, batch_size: int, *, overlapped: bool = False) -> VariantPrediction:
        """One prediction."""
        found = self.overlapped if overlapped else self.serial
        return next(p for p in found if (p.bar.method, p.bar.batch_size) == (method, batch_size))


def predict_variants(figure: VariantsFigure, panels: Sequence[PanelResult], seed: int = 0) -> VariantsResult:
    """Calibrate on two variants, predict the others."""
    fit = next(r.fit for r in panels if r.panel.name == BASIS)
    implied = tuple(_implied(figure, variant) for variant in figure.accept_length)
    shift_s, stretch = _fit(fit, {i.variant: i for i in implied})
    latency = _latency(fit, shift_s, stretch)
    smartspec = next(i for i in implied if i.variant == "smartspec")
    rate = _rate_at_5(figure.prediction_accuracy["smartspec"], smartspec.mean_verification_length)
    head_rate = figure.accept_length["eagle"] / LENGTH
    drafts, heads = panel_trace(rate, seed=seed).trace, panel_trace(head_rate, seed=seed).trace
    sizes = sorted({bar.batch_size for bar in figure.bars})

    def records(pipeline: str) -> Records:
        methods = {bar.method: _spelled(bar.method, pipeline) for bar in figure.bars} | {_SD: _SD}
        own = [text for method, text in methods.items() if method.startswith("eagle")]
        others = [text for text in methods.values() if text not in own]
        found = replayed(drafts, others, sizes, latency, seed) | replayed(heads, own, sizes, latency, seed)
        return {(method, b): found[text, b] for method, text in methods.items() for b in sizes}

    found = {name: records(pipeline) for name, pipeline in PIPELINES.items()}
    serial, overlapped = (_predictions(figure, found[name]) for name in (BASE, HIDDEN))
    ratios = {
        name: {b: goodput_tok_s(r[_SV, b]) / goodput_tok_s(r[_SD, b]) for b in sizes}
        for name, r in found.items()
    }
    return VariantsResult(implied, shift_s, stretch, rate, serial, overlapped, _agreement(overlapped), ratios)


def _implied(figure: VariantsFigure, variant: str) -> Implied:
    accepted = figure.accept_length[variant]
    seconds = {
        bar.batch_size: bar.batch_size * (1.0 + accepted) / bar.tok_s
        for bar in figure.bars
        if bar.method == f"{variant}:k={LENGTH}"
    }
    return Implied(variant, accepted / figure.prediction_accuracy[variant], seconds)


def _fit(fit: StepTimeFit, implied: Mapping[str, Implied]) -> tuple[float, float]:
    """Shift and stretch of the basis' step times that meet the calibration bars (relative least squares)."""
    lines, seconds = [], []
    for variant in CALIBRATION_VARIANTS:
        length = implied[variant].mean_verification_length
        for batch_size, step_s in implied[variant].step_s.items():
            target_s = fit.fixed_s + fit.per_sequence_s * batch_size
            slope_s = fit.per_draft_token_s * batch_size * length
            draft_s = length * (HEAD_SHARE * target_s if variant == "eagle" else fit.per_draft_pass_s)
            lines.append((1.0, target_s + slope_s + draft_s))
            seconds.append(step_s)
    known = np.array(seconds)
    found, _ = nnls(np.array(lines) / known[:, None], np.ones(len(known)))
    return float(found[0]), float(found[1])


def _latency(fit: StepTimeFit, shift_s: float, stretch: float) -> AffineLatency:
    """The basis stretched; the shift is host time of a step."""
    passes = {
        role: AffinePass(*(stretch * x for x in (line.fixed_s, line.per_sequence_s, line.per_new_token_s)))
        for role, line in fit.latency(Split.VERIFICATION).passes.items()
    }
    return AffineLatency("2 x a100, Qwen3-32B", MappingProxyType(passes), overhead_per_step_s=shift_s)


def _rate_at_5(rate: float, length: float) -> float:
    """Accepted over verified at length 5 from that at another mean length, acceptance constant."""

    def accepted(a: float, depth: float) -> float:
        return float(a * (1.0 - a**depth) / (1.0 - a))

    a = float(brentq(lambda a: accepted(a, length) / length - rate, 1e-6, 1.0 - 1e-9))
    return accepted(a, LENGTH) / LENGTH


def _spelled(method: str, pipeline: str) -> str:
    if method.startswith("sv:"):
        return ",".join(filter(None, (method, PAPER_RULE, pipeline)))
    return f"{method},head_share={HEAD_SHARE}" if method.startswith("eagle") else method


def _predictions(figure: VariantsFigure, records: Records) -> tuple[VariantPrediction, ...]:
    return tuple(_prediction(bar, records[bar.method, bar.batch_size]) for bar in figure.bars)


def _prediction(bar: Bar, record: RunRecord) -> VariantPrediction:
    steps = float(record.sums.sequence_steps.sum())
    return VariantPrediction(
        bar,
        bar.method.partition(":")[0],
        goodput_tok_s(record),
        float(record.sums.accepted_tokens.sum()) / steps,
        float(record.sums.verified_tokens.sum()) / steps,
    )


def _agreement(predictions: Sequence[VariantPrediction]) -> dict[tuple[int, int], float]:
    groups = dict.fromkeys((num_drafted(p.bar.method), p.bar.batch_size) for p in predictions)
    found = {}
    for length, batch_size in groups:
        mine = [
            p for p in predictions if (num_drafted(p.bar.method), p.bar.batch_size) == (length, batch_size)
        ]
        tau = kendalltau([p.bar.tok_s for p in mine], [p.tok_s for p in mine]).statistic
        found[length, batch_size] = float(tau)
    return found
