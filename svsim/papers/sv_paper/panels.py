"""Figure 3: SD(7), SV(5) and SV(7) of a panel predicted from its TD, SD(5) and one acceptance rate.

The *base* prediction: step times as fitted, the whole slope paid by the target; signals that tell as much as
the paper publishes for its pairs; the paper's own rule; no overlap. Every *scenario* changes one assumption
and nothing is fitted to a predicted bar, so the scenarios show what the prediction hangs on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from svsim.latency.shape import Role
from svsim.metrics.bootstrap import goodput_tok_s
from svsim.papers.sv_paper.acceptance import (
    LARGE_SPREAD,
    LESS,
    LITTLE,
    PanelTrace,
    panel_trace,
    with_perfect_signals,
)
from svsim.papers.sv_paper.published import CALIBRATION_METHODS, LEAST_JUDGED_BATCH, Bar, Panel
from svsim.papers.sv_paper.replays import PAPER_RULE, Records, replayed
from svsim.papers.sv_paper.step_times import AffineLatency, Split, StepTimeFit, fit_step_times, num_drafted
from svsim.records import RunRecord

SVSIM_RULE = ""  # the best count over the whole step's time, as `sv` has it by default
NO_SLOWDOWN = "overlap=full,draft_slowdown=1,verify_slowdown=1"
SLOWED_BY_A_TENTH = "overlap=full,draft_slowdown=1,verify_slowdown=1.1"
PAPER_SHARES = "overlap=full"
BASE = "base"
HIDDEN = "drafting overlapped, no slowdown"
SLOWED = "drafting overlapped, verification x 1.1"
SHARED = "drafting overlapped, GPU split 30 : 70"
DRAFTER_SLOPE = "part of the slope is the drafter's"
DRAFTER_SLOPE_HIDDEN = "the same, drafting overlapped, no slowdown"
WHOLE_STEP = "svsim's rule (whole step's time)"
BOUND = "perfect signals (a bound)"


@dataclass(frozen=True, slots=True)
class Prediction:
    """A bar beside what the replay gives; rates and lengths are those of the replay."""

    bar: Bar
    engine_method: str
    tok_s: float
    verified_acceptance: float | None
    mean_verification_length: float
    step_s: float
    verify_s: float

    @property
    def error(self) -> float:
        """Predicted over published - 1."""
        return self.tok_s / self.bar.tok_s - 1.0

    @property
    def is_calibration(self) -> bool:
        """Whether the bar was used: then its error says how well the fit closes, not how well it predicts."""
        return self._is_readable and self.bar.method in CALIBRATION_METHODS

    @property
    def is_judged(self) -> bool:
        """Whether the error counts: a predicted bar of a batch that can be read."""
        return self._is_readable and self.bar.method not in CALIBRATION_METHODS

    @property
    def is_sv(self) -> bool:
        """Whether the bar is of SV."""
        return self.bar.method.startswith("sv:")

    @property
    def _is_readable(self) -> bool:
        return self.bar.batch_size >= LEAST_JUDGED_BATCH


@dataclass(frozen=True, slots=True)
class Scenario:
    """One set of assumptions and its predictions: of the bars at the largest batch; ``BASE``, ``HIDDEN`` and
    ``SLOWED`` of every batch."""

    name: str
    predictions: tuple[Prediction, ...]

    def of(self, method: str, batch_size: int) -> Prediction:
        """The prediction of one bar."""
        return next(p for p in self.predictions if (p.bar.method, p.bar.batch_size) == (method, batch_size))


@dataclass(frozen=True, slots=True)
class Accounting:
    """What the published rates allow with the fitted step times, whatever the policy; SV(5), largest batch.

    most_verified     tokens per sequence and step that SV may verify: it emits at most what SD(5) does.
    serial_tok_s      the most SV can emit per second if drafting comes before verification.
    hidden_tok_s      the same if drafting and the companion cost no time at all.
    """

    most_verified: float
    serial_tok_s: float
    hidden_tok_s: float


@dataclass(frozen=True, slots=True)
class PanelResult:
    """A panel, how it was calibrated, the base prediction of all bars, and scenarios.

    records: of the base prediction, by (method of the bar, batch size).
    """

    panel: Panel
    fit: StepTimeFit
    acceptance: PanelTrace
    base: Scenario
    scenarios: tuple[Scenario, ...]
    accounting: Accounting
    records: Records

    @property
    def free_scenarios(self) -> tuple[Scenario, ...]:
        """Scenarios that a server could be in: all but the bound."""
        return tuple(s for s in self.scenarios if s.name != BOUND)

    @property
    def hidden(self) -> Scenario:
        """The scenario whose drafting is overlapped at no cost."""
        return self.scenario(HIDDEN)

    @property
    def slowed(self) -> Scenario:
        """The scenario whose drafting is overlapped and slows verification by a tenth."""
        return self.scenario(SLOWED)

    def scenario(self, name: str) -> Scenario:
        """The base or a scenario by name."""
        return next(s for s in (self.base, *self.scenarios) if s.name == name)

    def judged_sv(self, scenario: Scenario) -> list[Prediction]:
        """The scenario's predictions of SV at the batch sizes that are judged."""
        return [p for p in scenario.predictions if p.is_sv and p.is_judged]

    def sv_at_largest(self, scenario: Scenario) -> list[Prediction]:
        """The scenario's predictions of SV at the largest batch."""
        batch = self.panel.largest_batch
        return [p for p in scenario.predictions if p.bar.batch_size == batch and p.is_sv]

    def range_of(self, method: str, batch_size: int) -> tuple[float, float]:
        """Least and most of base and scenarios for a bar of the largest batch, the bound left out."""
        found = [s.of(method, batch_size).tok_s for s in (self.base, *self.free_scenarios)]
        return min(found), max(found)


def predict_panel(panel: Panel, seed: int = 0) -> PanelResult:
    """Calibrate on the panel's TD and SD(5), predict the rest."""
    fit = fit_step_times(panel)
    made = panel_trace(panel.calibration_acceptance, seed=seed)
    latency = fit.latency(Split.VERIFICATION)
    base, records = _predict(BASE, made, latency, PAPER_RULE, panel, panel.bars, seed)
    return PanelResult(
        panel, fit, made, base, tuple(_scenarios(panel, fit, made, seed)), account(panel, fit), records
    )


def account(panel: Panel, fit: StepTimeFit) -> Accounting:
    """The accounting of SV(5) at the largest batch."""
    b, k = panel.largest_batch, 5
    rate_sd, rate_sv = panel.calibration_acceptance, panel.verified_acceptance[f"sv:k={k}"]
    most = k * rate_sd / rate_sv
    verified = np.linspace(0.0, most, 201)
    passes = fit.latency(Split.VERIFICATION).passes
    target, draft, companion = (passes[role] for role in Role)
    verify_s = target.fixed_s + b * (target.per_sequence_s + target.per_new_token_s * (1 + verified))
    before_s = k * (draft.fixed_s + b * draft.per_new_token_s)
    before_s += companion.fixed_s + b * k * companion.per_new_token_s
    emitted = b * (1.0 + rate_sv * verified)
    return Accounting(most, float((emitted / (before_s + verify_s)).max()), float((emitted / verify_s).max()))


def _scenarios(panel: Panel, fit: StepTimeFit, made: PanelTrace, seed: int) -> Iterator[Scenario]:
    """One assumption changed at a time."""
    whole, capped = fit.latency(Split.VERIFICATION), fit.latency(Split.CAPPED)
    rate = panel.calibration_acceptance
    largest = tuple(b for b in panel.predicted if b.batch_size == panel.largest_batch)

    def run(
        name: str,
        made: PanelTrace,
        latency: AffineLatency,
        rule: str = PAPER_RULE,
        bars: Sequence[Bar] = largest,
    ) -> Scenario:
        return _predict(name, made, latency, rule, panel, bars, seed)[0]

    yield run("signals tell less", panel_trace(rate, LESS, seed=seed), whole)
    yield run("signals tell little", panel_trace(rate, LITTLE, seed=seed), whole)
    uneven = panel_trace(rate, spread=LARGE_SPREAD, seed=seed)
    yield run("requests differ twice as much", uneven, whole)
    yield run(WHOLE_STEP, made, whole, SVSIM_RULE)
    yield run("companion pass twice as long", made, fit.latency(Split.VERIFICATION, companion_passes=2.0))
    if fit.per_draft_token_s > fit.per_sequence_s:
        yield run(DRAFTER_SLOPE, made, capped)
        yield run(DRAFTER_SLOPE_HIDDEN, made, capped, f"{PAPER_RULE},{NO_SLOWDOWN}")
    yield run(HIDDEN, made, whole, f"{PAPER_RULE},{NO_SLOWDOWN}", panel.predicted)
    yield run(SLOWED, made, whole, f"{PAPER_RULE},{SLOWED_BY_A_TENTH}", panel.predicted)
    yield run(SHARED, made, whole, f"{PAPER_RULE},{PAPER_SHARES}")
    yield run(BOUND, with_perfect_signals(made), whole, SVSIM_RULE)


def _predict(
    name: str,
    made: PanelTrace,
    latency: AffineLatency,
    rule: str,
    panel: Panel,
    bars: Sequence[Bar],
    seed: int,
) -> tuple[Scenario, Records]:
    texts = {bar.method: _spelled(bar.method, rule) for bar in bars}
    sizes = sorted({bar.batch_size for bar in bars})
    records = replayed(made.trace, list(dict.fromkeys(texts.values())), sizes, latency, seed)
    found = tuple(
        _prediction(bar, texts[bar.method], records[texts[bar.method], bar.batch_size]) for bar in bars
    )
    by_bar = {(bar.method, bar.batch_size): records[texts[bar.method], bar.batch_size] for bar in bars}
    return Scenario(name, found), by_bar


def _spelled(method: str, rule: str) -> str:
    """The bar's method under a rule; only SV has one."""
    return f"{method},{rule}" if method.startswith("sv:") and rule else method


def _prediction(bar: Bar, engine_method: str, record: RunRecord) -> Prediction:
    total = {
        name: float(getattr(record.sums, name).sum())
        for name in ("accepted_tokens", "verified_tokens", "sequence_steps", "steps", "verify_s", "seconds")
    }
    verified = total["verified_tokens"]
    return Prediction(
        bar,
        engine_method,
        goodput_tok_s(record),
        total["accepted_tokens"] / verified if num_drafted(bar.method) and verified else None,
        verified / total["sequence_steps"],
        total["seconds"] / total["steps"],
        total["verify_s"] / total["steps"],
    )
