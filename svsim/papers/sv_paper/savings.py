"""Tables 3 and 9: operations saved by verifying less, and how evenly requests are verified.

Table 3 gives a rate of SD, a rate of SV and operations saved, which are not independent: at g verified tokens
per sequence and step and a rate r, a token costs (1 + g)/(1 + r g) target tokens (bonus row counted) or
g/(1 + r g) (drafted rows only). ``ImpliedLength`` solves for g; where none lies in 0..5, the three numbers
cannot be pooled rates of the same steps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from svsim.metrics.fairness import Fairness, fairness_of
from svsim.metrics.flops import DecodingFlops, decoding_flops, weights_per_token
from svsim.papers.sv_paper.acceptance import PanelTrace
from svsim.papers.sv_paper.panels import PanelResult
from svsim.papers.sv_paper.published import SavingsRow

LENGTH = 5


@dataclass(frozen=True, slots=True)
class PanelSavings:
    """What SV(5) saves in the base prediction of a panel at its largest batch."""

    panel: str
    fixed: DecodingFlops
    adaptive: DecodingFlops
    rate_sd: float
    rate_sv: float
    companion_weight_share: float

    @property
    def saved_share(self) -> float:
        """Of SD's target operations."""
        return self.adaptive.saved_share(self.fixed)

    @property
    def companion_share(self) -> float:
        """The companion's operations over SD's target operations."""
        return self.adaptive.companion_share(self.fixed)


@dataclass(frozen=True, slots=True)
class ImpliedLength:
    """Verified tokens per step that make a row's saving follow from its rates; None: no length from 0 to 5.

    is_possible: some length does, in one of the two counts, at some value that the row's digits stand for.
    """

    row: SavingsRow
    with_bonus_row: float | None
    drafted_rows_only: float | None
    is_possible: bool


def panel_savings(result: PanelResult) -> PanelSavings:
    """Operations per emitted token of SD(5) and SV(5) in the base prediction."""
    panel, batch = result.panel, result.panel.largest_batch
    models = {role.value: geometry for role, geometry in panel.models.items()}
    context = mean_context_tokens(result.acceptance)
    sd, sv = f"sd:k={LENGTH}", f"sv:k={LENGTH}"
    fixed = decoding_flops(result.records[sd, batch], models, context, uses_companion=False)
    adaptive = decoding_flops(result.records[sv, batch], models, context, uses_companion=True)
    rates = [result.base.of(method, batch).verified_acceptance or 0.0 for method in (sd, sv)]
    small, large = models["companion"], models["target"]
    return PanelSavings(
        panel.name, fixed, adaptive, rates[0], rates[1], weights_per_token(small) / weights_per_token(large)
    )


def panel_fairness(result: PanelResult) -> Fairness:
    """Verification lengths per request of SV(5) in the base prediction at the largest batch."""
    return fairness_of(result.records[f"sv:k={LENGTH}", result.panel.largest_batch])


def mean_context_tokens(made: PanelTrace) -> float:
    """Context tokens at a mean output position of the trace."""
    trace = made.trace
    lengths = trace.num_output_tokens
    return float((lengths * (trace.num_prompt_tokens + lengths / 2)).sum() / lengths.sum())


def implied_lengths(rows: Sequence[SavingsRow]) -> tuple[ImpliedLength, ...]:
    """Every row of table 3, solved."""
    found = []
    for row in rows:
        with_bonus, without = (
            _implied(row.accept_rate_sd, row.accept_rate_sv, row.saved_share, bonus) for bonus in (1.0, 0.0)
        )
        possible = any(
            _implied(*values, bonus) is not None for values in _rounded(row) for bonus in (1.0, 0.0)
        )
        found.append(ImpliedLength(row, with_bonus, without, possible))
    return tuple(found)


def _rounded(row: SavingsRow) -> Iterator[tuple[float, float, float]]:
    """Rates and saved share at the ends of what the printed digits stand for."""
    ends = (-0.5, 0.0, 0.5)
    for sd, sv, saved, whole in product(ends, repeat=4):
        share = (row.tflop_saved + saved) / (row.tflop_sd + whole)
        yield row.accept_rate_sd + 0.01 * sd, row.accept_rate_sv + 0.01 * sv, share


def _implied(rate_sd: float, rate_sv: float, saved_share: float, bonus: float) -> float | None:
    """g of (bonus + g)/(1 + r g) = (1 - saved) (bonus + 5)/(1 + 5 v), if it lies in 0..5."""
    cost = (1.0 - saved_share) * (bonus + LENGTH) / (1.0 + LENGTH * rate_sd)
    slope = 1.0 - cost * rate_sv
    length = (cost - bonus) / slope if slope > 0 else -1.0
    return length if 0.0 <= length <= LENGTH else None
