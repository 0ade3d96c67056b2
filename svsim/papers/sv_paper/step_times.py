"""Seconds per step of the paper's engine, fitted to target-only decoding and SD(5) of one panel.

A step of B sequences that drafts k tokens each and verifies all of them takes::

    T(B, k) = f + s B + k (d + c B)

f, s: target pass and engine, fixed and per sequence; d, c: per draft token, fixed and per sequence. Goodput
G = B m / T with m = 1 + k v tokens per sequence and step, v the verified acceptance rate (TD: m = 1), so a
bar gives T = B m / G. Four parameters, all >= 0, relative least squares; SD(7) and SV play no part.

What of c is the target's (one token more to verify) and what the drafter's (one more sequence in a draft
pass) cannot be told from TD and SD(5) alone. ``Split`` says what is assumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from svsim.latency.model import OutOfRange
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.papers.sv_paper.published import Bar, Panel

# Two A100 80 GB PCIe (Azure NC48ads A100 v4).
HARDWARE, TENSOR_PARALLEL = "a100_pcie", 2


class Split(StrEnum):
    """Who pays c, the cost of a drafted and verified token beyond its draft pass's fixed time.

    VERIFICATION: the target, but for the drafter's share of the operations.
    CAPPED: the target pays no more than for one more sequence of TD (which holds a token, too); what is left
    is paid per drafted token.
    """

    VERIFICATION = "verification"
    CAPPED = "capped"


@dataclass(frozen=True, slots=True)
class AffinePass:
    """A pass = fixed_s + per_sequence_s * sequences + per_new_token_s * new tokens; no cost of context."""

    fixed_s: float
    per_sequence_s: float
    per_new_token_s: float


@dataclass(frozen=True, slots=True)
class AffineLatency:
    """Step times in three numbers per model; see ``LatencyModel`` for the attributes."""

    hardware: str
    passes: Mapping[Role, AffinePass]
    tensor_parallel: int | None = None
    source: str = "published"
    out_of_range: OutOfRange = "extrapolate"
    overhead_per_step_s: float = 0.0
    draft_is_one_pass: bool = False
    separates_head: bool = False

    @property
    def roles(self) -> frozenset[Role]:
        """The models that are priced."""
        return frozenset(self.passes)

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass, float64 of the broadcast shape."""
        shape.checked(self.passes.keys(), self.hardware)
        sequences, tokens, _ = shape.broadcast()
        line = self.passes[shape.role]
        pass_s = line.fixed_s + line.per_sequence_s * sequences + line.per_new_token_s * tokens
        return np.asarray(shape.layers * pass_s, np.float64)


@dataclass(frozen=True, slots=True)
class Residual:
    """How the fitted line misses a bar it was fitted to: fitted over published step time - 1."""

    bar: Bar
    relative: float


@dataclass(frozen=True, slots=True)
class StepTimeFit:
    """f, s, d, c of the module's formula, in seconds, and how well they meet the calibration bars.

    draft_token_range_s: least and most c of the fits that leave one bar out.
    """

    panel: Panel
    fixed_s: float
    per_sequence_s: float
    per_draft_pass_s: float
    per_draft_token_s: float
    residuals: tuple[Residual, ...]
    draft_token_range_s: tuple[float, float]

    @property
    def degrees_of_freedom(self) -> int:
        """Bars minus parameters."""
        return len(self.residuals) - 4

    @property
    def rms_residual(self) -> float:
        """Root mean square of the relative residuals, per degree of freedom."""
        return float(np.sqrt(sum(r.relative**2 for r in self.residuals) / self.degrees_of_freedom))

    def step_s(self, batch_size: int, k: int) -> float:
        """T(B, k) of the module's formula, in seconds."""
        target_s = self.fixed_s + self.per_sequence_s * batch_size
        return target_s + k * (self.per_draft_pass_s + self.per_draft_token_s * batch_size)

    def latency(self, split: Split, companion_passes: float = 1.0) -> AffineLatency:
        """Step times under a split; the companion's pass costs the fixed time of ``companion_passes`` draft
        passes, and per token its share of the target's operations."""
        target, draft, companion = (self.panel.models[role].num_parameters for role in Role)
        share = draft / target
        c = self.per_draft_token_s / (1.0 + share)
        if split is Split.CAPPED:
            c = min(c, self.per_sequence_s)
        passes = {
            Role.TARGET: AffinePass(self.fixed_s, self.per_sequence_s - c, c),
            Role.DRAFT: AffinePass(self.per_draft_pass_s, 0.0, self.per_draft_token_s - c),
            Role.COMPANION: AffinePass(companion_passes * self.per_draft_pass_s, 0.0, c * companion / target),
        }
        return AffineLatency(f"2 x a100, {self.panel.name}", MappingProxyType(passes))


def published_step_s(bar: Bar, verified_acceptance: float) -> float:
    """Step time that a bar of TD or SD(k) implies at a verified acceptance rate, in seconds."""
    k = num_drafted(bar.method)
    return bar.batch_size * (1.0 + k * verified_acceptance) / bar.tok_s


def num_drafted(method: str) -> int:
    """k of ``sd:k=5``; 0 of ``td``."""
    return int(method.partition("k=")[2].partition(",")[0] or 0)


def roofline_token_s(panel: Panel, mean_context_tokens: float) -> float:
    """Seconds per verified token of the largest batch on the paper's GPUs, by the roofline.

    The mean over verifications of 1 to 6 tokens per sequence; to be compared with c.
    """
    target, draft, companion = (panel.models[role] for role in Role)
    roofline = RooflineLatency.of(HARDWARE, TENSOR_PARALLEL, target, draft, companion)
    b = panel.largest_batch
    tokens = np.array([b, 6 * b])
    seconds = roofline.predict_s(StepShape(Role.TARGET, b, tokens, b * mean_context_tokens))
    return float((seconds[1] - seconds[0]) / (tokens[1] - tokens[0]))


def fit_step_times(panel: Panel) -> StepTimeFit:
    """f, s, d, c from the calibration bars of a panel and its published acceptance of SD(5)."""
    bars = panel.calibration
    seconds = np.array([published_step_s(b, panel.calibration_acceptance) for b in bars])
    lines = np.array(
        [(1, b.batch_size, k := num_drafted(b.method), k * b.batch_size) for b in bars], np.float64
    )
    relative = lines / seconds[:, None]
    found = _least_squares(relative)
    residuals = relative @ found - 1.0
    f, s, d, c = map(float, found)
    missed = tuple(Residual(b, float(r)) for b, r in zip(bars, residuals, strict=True))
    without_one = [float(_least_squares(np.delete(relative, i, axis=0))[3]) for i in range(len(bars))]
    return StepTimeFit(panel, f, s, d, c, missed, (min(without_one), max(without_one)))


def _least_squares(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    """f, s, d, c >= 0 that bring every row's sum closest to 1."""
    found, _ = nnls(relative, np.ones(len(relative)))
    return np.asarray(found, np.float64)
