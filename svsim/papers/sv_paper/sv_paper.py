"""Speculative Verification (arXiv 2509.24328 v2), reproduced as far as its numbers allow, in one call."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from svsim.papers.sv_paper.claims import judge_claims
from svsim.papers.sv_paper.goodput_claims import predicted_ratio, published_ratio, slow_step_share
from svsim.papers.sv_paper.modern_engine import ModernRow, modern_rows
from svsim.papers.sv_paper.overlap_claims import mean_ratios
from svsim.papers.sv_paper.panels import PanelResult, Prediction, predict_panel
from svsim.papers.sv_paper.published import sv_paper
from svsim.papers.sv_paper.savings import (
    PanelSavings,
    implied_lengths,
    panel_fairness,
    panel_savings,
)
from svsim.papers.sv_paper.serial_cost import SerialCost, serial_costs
from svsim.papers.sv_paper.signals import CELLS, signals_of_files
from svsim.papers.sv_paper.variants import VariantPrediction, VariantsResult, predict_variants
from svsim.papers.sv_paper.verdicts import Claim, Evidence
from svsim.progress import Count, OnProgress
from svsim.version import __version__


@dataclass(frozen=True, slots=True)
class Reproduction(Evidence):
    """Everything that was predicted, beside what is published, and what it says of the claims."""

    claims: tuple[Claim, ...]
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: plain values, seconds and tokens per second, nothing rounded."""
        return {
            "svsim": __version__,
            "paper": "arXiv 2509.24328 v2",
            "seed": self.seed,
            "figure_3": [_panel_dict(result) for result in self.panels],
            "figure_4": _variants_dict(self.variants),
            "figure_5b": {
                "published": _by_batch(self.published.overlapped_sv_over_sd),
                "predicted": {name: _by_batch(ratios) for name, ratios in mean_ratios(self).items()},
                "qwen3-32b": {n: _by_batch(ratios) for n, ratios in self.variants.sv_over_sd.items()},
            },
            "serial_cost": [_serial_dict(s) for s in self.serial_costs],
            "modern_engine": [_modern_dict(row) for row in self.modern],
            "table_1": {"cells": list(CELLS), "traces": [asdict(s) for s in self.signals]},
            "table_3": {
                "predicted": [_savings_dict(s) for s in self.savings],
                "implied_lengths": [asdict(i) for i in self.implied],
            },
            "table_9": [
                {"panel": result.panel.name, **fairness.to_dict()}
                for result, fairness in zip(self.panels, self.fairness, strict=True)
            ],
            "claims": [asdict(claim) for claim in self.claims],
        }


def reproduce_sv_paper(
    traces: Sequence[Path] = (),
    seed: int = 0,
    progress: OnProgress | None = None,
    *,
    skip_traces: bool = True,
) -> Reproduction:
    """Predict figures 3, 4, 5b and tables 3, 9, and compare; ``traces`` for tables 1 and 8 (may be none).

    A trace without the columns of these tables is left out, or with ``skip_traces=False`` an error.

    Deterministic for a seed. ``progress`` is called after every panel and after the rest.
    """
    signals = signals_of_files(traces, seed, skip=skip_traces)
    published = sv_paper()
    total = len(published.panels) + 3
    report = Count(progress, "reproduced", total)
    panels = []
    for panel in published.panels:
        panels.append(predict_panel(panel, seed))
        report(len(panels))
    variants = predict_variants(published.variants, panels, seed)
    report(total - 2)
    modern = tuple(row for result in panels for row in modern_rows(result, seed))
    report(total - 1)
    evidence = Evidence(
        published=published,
        panels=tuple(panels),
        savings=tuple(map(panel_savings, panels)),
        implied=implied_lengths(published.savings),
        fairness=tuple(map(panel_fairness, panels)),
        variants=variants,
        signals=signals,
        serial_costs=tuple(cost for result in panels for cost in serial_costs(result)),
        modern=modern,
    )
    claims = judge_claims(evidence)
    report(total)
    rests_on = {field.name: getattr(evidence, field.name) for field in fields(evidence)}
    return Reproduction(**rests_on, claims=claims, seed=seed)


def _panel_dict(result: PanelResult) -> dict[str, Any]:
    fit, made = result.fit, result.acceptance
    batch = result.panel.largest_batch
    return {
        "panel": result.panel.name,
        "calibration": {
            "fixed_s": fit.fixed_s,
            "per_sequence_s": fit.per_sequence_s,
            "per_draft_pass_s": fit.per_draft_pass_s,
            "per_draft_token_s": fit.per_draft_token_s,
            "per_draft_token_range_s": list(fit.draft_token_range_s),
            "degrees_of_freedom": fit.degrees_of_freedom,
            "rms_residual": fit.rms_residual,
            "residuals": [
                {"method": r.bar.method, "batch_size": r.bar.batch_size, "relative": r.relative}
                for r in fit.residuals
            ],
        },
        "acceptance": {
            "kind": "synthetic",
            "published_verified_acceptance_sd5": result.panel.calibration_acceptance,
            "verified_acceptance_sd5": made.verified_acceptance,
            "information_gain_bits": made.information_gain_bits,
            "information_ceiling_bits": made.information_ceiling_bits,
            "paper_gain_bits": made.paper_gain_bits,
            "overlap_correlation": made.overlap_correlation,
        },
        "published_verified_acceptance_sv5": result.panel.verified_acceptance["sv:k=5"],
        "sv_over_sd": {
            str(k): {
                "published": published_ratio(result, k),
                "predicted": predicted_ratio(result, result.base, k),
            }
            for k in (5, 7)
        },
        "slow_step_share_sd5": slow_step_share(result, batch),
        "accounting": asdict(result.accounting),
        "base": [_prediction_dict(p) for p in result.base.predictions],
        "scenarios": [
            {"name": s.name, "predictions": [_prediction_dict(p) for p in s.predictions]}
            for s in result.scenarios
        ],
    }


def _prediction_dict(p: Prediction) -> dict[str, Any]:
    return {
        "method": p.bar.method,
        "engine_method": p.engine_method,
        "batch_size": p.bar.batch_size,
        "published_tok_s": p.bar.tok_s,
        "read_error_tok_s": p.bar.read_error_tok_s,
        "predicted_tok_s": p.tok_s,
        "error": p.error,
        "used_in_calibration": p.is_calibration,
        "judged": p.is_judged,
        "verified_acceptance": p.verified_acceptance,
        "mean_verification_length": p.mean_verification_length,
        "step_s": p.step_s,
        "verify_s": p.verify_s,
    }


def _by_batch(values: Mapping[int, float]) -> dict[str, float]:
    return {str(batch_size): value for batch_size, value in values.items()}


def _serial_dict(s: SerialCost) -> dict[str, Any]:
    return {**asdict(s), "missing_s": s.missing_s, "missing_share": s.missing_share}


def _modern_dict(row: ModernRow) -> dict[str, Any]:
    return {**asdict(row), "sv_over_sd": {name: row.sv_over_sd(name) for name in row.sv}}


def _savings_dict(s: PanelSavings) -> dict[str, Any]:
    return {
        **asdict(s),
        "saved_share": s.saved_share,
        "companion_share": s.companion_share,
    }


def _variants_dict(result: VariantsResult) -> dict[str, Any]:
    def rows(found: Sequence[VariantPrediction]) -> list[dict[str, Any]]:
        return [
            {
                "method": p.bar.method,
                "batch_size": p.bar.batch_size,
                "published_tok_s": p.bar.tok_s,
                "predicted_tok_s": p.tok_s,
                "error": p.error,
                "used_in_calibration": p.is_calibration,
                "accept_length": p.accept_length,
                "mean_verification_length": p.mean_verification_length,
            }
            for p in found
        ]

    return {
        "shift_s": result.shift_s,
        "stretch": result.stretch,
        "verified_acceptance_sd5": result.verified_acceptance,
        "implied": [
            {**asdict(i), "step_s": {str(b): s for b, s in i.step_s.items()}} for i in result.implied
        ],
        "rank_agreement": [
            {"k": k, "batch_size": b, "kendall_tau": tau} for (k, b), tau in result.rank_agreement.items()
        ],
        "serial": rows(result.serial),
        "overlapped": rows(result.overlapped),
    }
