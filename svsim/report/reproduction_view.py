"""Figure 3 and the claims as plain tables and lines, for the terminal and the page alike."""

from svsim.papers.rows import Verdict
from svsim.papers.sv_paper.goodput_claims import predicted_ratio, published_ratio, slow_step_share
from svsim.papers.sv_paper.panels import BASE, HIDDEN, SLOWED, WHOLE_STEP, PanelResult, Prediction
from svsim.papers.sv_paper.savings import mean_context_tokens
from svsim.papers.sv_paper.step_times import roofline_token_s
from svsim.papers.sv_paper.sv_paper import Reproduction
from svsim.papers.sv_paper.verdicts import Claim
from svsim.report.formats import number
from svsim.report.plain_table import PlainTable
from svsim.report.reproduction_costs import modern_findings

LENGTHS = (5, 7)
_DATASETS = {"HumanEvalPack": "HE", "GSM8K": "GSM"}
METHOD_WORDS = {
    "td": "TD",
    "sd:k=5": "SD(5)",
    "sd:k=7": "SD(7)",
    "sv:k=5": "SV(5)",
    "sv:k=7": "SV(7)",
}


def headline(found: Reproduction) -> list[tuple[str, str]]:
    """(number, what it is) of the errors that matter."""
    sd7, serial = (_mean_error(found, prefix) for prefix in ("sd:k=7", "sv:"))
    hidden, slowed = (_sv_errors(found, name) for name in (HIDDEN, SLOWED))
    confirmed = sum(c.verdict is Verdict.CONFIRMED for c in found.claims)
    return [
        (f"{sd7:.1%}", "mean error of SD(7), predicted from TD and SD(5)"),
        (f"{serial:.0%}", "mean error of SV without overlap, all batches above 1"),
        (
            f"{min(hidden):+.0%} to {max(hidden):+.0%}",
            "error of SV with drafting hidden at no cost, largest batch",
        ),
        (f"{min(slowed):+.0%} to {max(slowed):+.0%}", "the same with verification x 1.1"),
        (f"{confirmed} of {len(found.claims)}", "claims confirmed"),
    ]


def findings(found: Reproduction) -> list[str]:
    """What the errors mean, in sentences."""
    sd = [abs(p.error) for r in found.panels for p in r.base.predictions if p.bar.method == "sd:k=7"]
    serial, hidden = _judged_errors(found, BASE), _sv_errors(found, HIDDEN)
    judged = {name: _judged_errors(found, name) for name in (HIDDEN, SLOWED)}
    low, high = slowed_by_panel(found)
    said = [
        f"Fixed lengths carry over: step times fitted to TD and SD(5) predict SD(7) within {max(sd):.0%} on "
        "all panels.",
        f"SV depends on overlap: with drafting before verification {sum(e < 0 for e in serial)} of "
        f"{len(serial)} SV bars are predicted too low; with drafting hidden at no cost "
        f"{sum(e > 0 for e in hidden)} of {len(hidden)} bars of the largest batch too high. The paper's "
        "system overlaps; how well decides.",
        f"No single cost of overlap fits. Over all batches above 1 SV is off by "
        f"{_mean_size(serial):.0%} without overlap, {_mean_size(judged[HIDDEN]):.0%} with drafting hidden at "
        f"no cost and {_mean_size(judged[SLOWED]):.0%} with verification x 1.1 beside it, from {low[1]:+.0%} "
        f"on {low[0]} to {high[1]:+.0%} on {high[0]}.",
    ]
    fast = [
        r.panel.name
        for r in found.panels
        if r.panel.bar("sv:k=5", r.panel.largest_batch).tok_s > r.accounting.hidden_tok_s
    ]
    if fast:
        said.append(
            f"{' and '.join(fast)}: published SV(5) is faster than free drafting would allow at the "
            "published rates, if all of SD's cost per drafted token were verification. Part of that cost "
            "must be the drafter's, which overlap hides."
        )
    return [*said, modern_findings(found.modern)]


def slowed_by_panel(found: Reproduction) -> tuple[tuple[str, float], tuple[str, float]]:
    """(panel, mean error of SV) where hidden drafting with verification x 1.1 is lowest, and highest."""
    means = {}
    for r in found.panels:
        errors = [p.error for p in r.judged_sv(r.slowed)]
        means[r.panel.name] = sum(errors) / len(errors)
    ranked = sorted(means.items(), key=lambda item: item[1])
    return ranked[0], ranked[-1]


def _sv_errors(found: Reproduction, scenario: str) -> list[float]:
    """Errors of SV at the largest batches."""
    return [p.error for r in found.panels for p in r.sv_at_largest(r.scenario(scenario))]


def _judged_errors(found: Reproduction, scenario: str) -> list[float]:
    """Errors of SV at every batch size that is judged."""
    return [p.error for r in found.panels for p in r.judged_sv(r.scenario(scenario))]


def _mean_size(errors: list[float]) -> float:
    return sum(map(abs, errors)) / len(errors)


def _mean_error(found: Reproduction, prefix: str) -> float:
    errors = [
        abs(p.error)
        for r in found.panels
        for p in r.base.predictions
        if p.is_judged and p.bar.method.startswith(prefix)
    ]
    return sum(errors) / len(errors)


def calibration_table(found: Reproduction) -> PlainTable:
    """What was fitted, panel by panel."""
    rows = []
    for result in found.panels:
        fit, made = result.fit, result.acceptance
        rows.append(
            (
                result.panel.name,
                f"{1e3 * fit.fixed_s:.1f}",
                f"{1e3 * fit.per_sequence_s:.3f}",
                f"{1e3 * fit.per_draft_pass_s:.2f}",
                f"{1e3 * fit.per_draft_token_s:.3f}",
                f"{1e3 * fit.draft_token_range_s[0]:.3f} to {1e3 * fit.draft_token_range_s[1]:.3f}",
                f"{1e3 * roofline_token_s(result.panel, mean_context_tokens(made)):.3f}",
                f"{fit.rms_residual:.1%}",
                str(fit.degrees_of_freedom),
                f"{result.panel.calibration_acceptance:.3f}",
                f"{made.verified_acceptance:.3f}",
                f"{made.information_gain_bits:.2f} of {made.information_ceiling_bits:.2f}",
            )
        )
    return PlainTable(
        "Calibration: TD, SD(5), and SD(5)'s rate",
        "T(B, k) = f + s B + k (d + c B) in ms; one bar left out: the range of c; residual: root mean square "
        "per degree of freedom; roofline's c: per verified token on the same GPUs. The acceptance is "
        "synthetic; bits: what S and A tell, of what could be known.",
        (
            "panel",
            "f",
            "s",
            "d",
            "c",
            "one bar left out",
            "roofline's c",
            "residual",
            "degrees of freedom",
            "published rate",
            "trace",
            "bits",
        ),
        tuple(rows),
        1,
    )


def errors_table(found: Reproduction) -> PlainTable:
    """Predicted bars of the largest batch."""
    rows = []
    for result in found.panels:
        batch = result.panel.largest_batch
        for p in result.base.predictions:
            if p.bar.batch_size != batch or p.is_calibration:
                continue
            low, high = result.range_of(p.bar.method, batch)
            rows.append(
                (
                    result.panel.name,
                    METHOD_WORDS[p.bar.method],
                    str(batch),
                    f"{p.bar.tok_s:,.0f} ± {p.bar.read_error_tok_s:,.0f}",
                    f"{p.tok_s:,.0f}",
                    f"{p.error:+.1%}",
                    f"{result.hidden.of(p.bar.method, batch).error:+.1%}",
                    f"{result.slowed.of(p.bar.method, batch).error:+.1%}",
                    f"{low:,.0f} to {high:,.0f}",
                )
            )
    return PlainTable(
        "Figure 3, largest batch: predicted, never fitted",
        "Without overlap; with drafting hidden at no cost, and with verification x 1.1 beside it; and the "
        "least and most of all scenarios. tok/s; ± is the error of reading the chart.",
        (
            "panel",
            "method",
            "batch",
            "published",
            "predicted",
            "error",
            "error if hidden",
            "hidden x 1.1",
            "all scenarios",
        ),
        tuple(rows),
        2,
    )


def scenario_table(found: Reproduction) -> PlainTable:
    """Errors of SD(7), SV(5) and SV(7) in every scenario."""
    names = dict.fromkeys(s.name for r in found.panels for s in (r.base, *r.scenarios))
    rows = []
    for name in names:
        cells = [name]
        for result in found.panels:
            scenario = next((s for s in (result.base, *result.scenarios) if s.name == name), None)
            for method in ("sv:k=5", "sv:k=7"):
                error = None if scenario is None else scenario.of(method, result.panel.largest_batch).error
                cells.append(number(error, "+.0%"))
        rows.append(tuple(cells))
    heads = [f"{_short(r)} {METHOD_WORDS[m]}" for r in found.panels for m in ("sv:k=5", "sv:k=7")]
    return PlainTable(
        "What the prediction of SV hangs on",
        "Error at the largest batch when one assumption changes. Dash: the panel's slope needs no such "
        "split. HE: HumanEvalPack.",
        ("scenario", *heads),
        tuple(rows),
        1,
    )


def _short(result: PanelResult) -> str:
    """``13B/HE``: a panel's name that fits a column head."""
    target, _, dataset = result.panel.name.partition("/")
    return f"{target.split('-')[-1]}/{_DATASETS.get(dataset, dataset)}"


def acceptance_table(found: Reproduction) -> PlainTable:
    """SV's verified acceptance rate and speedups, both predicted."""
    rows = []
    for result in found.panels:
        panel, batch = result.panel, result.panel.largest_batch
        base = result.base.of("sv:k=5", batch)
        whole = result.scenario(WHOLE_STEP).of("sv:k=5", batch)
        ratios = [
            f"{published_ratio(result, k):.2f} / {predicted_ratio(result, result.base, k):.2f} / "
            f"{predicted_ratio(result, result.hidden, k):.2f}"
            for k in LENGTHS
        ]
        account = result.accounting
        rows.append(
            (
                panel.name,
                f"{panel.verified_acceptance['sv:k=5']:.3f}",
                f"{base.verified_acceptance or 0.0:.3f}",
                f"{whole.verified_acceptance or 0.0:.3f}",
                *ratios,
                f"{panel.bar('sv:k=5', batch).tok_s:,.0f}",
                f"{account.serial_tok_s:,.0f}",
                f"{account.hidden_tok_s:,.0f}",
                f"{slow_step_share(result, batch):.0%}",
            )
        )
    return PlainTable(
        "SV(5)'s acceptance rate, SV over SD, and what the published rates allow",
        "Rates: published, predicted by the paper's rule, by svsim's. Ratios: published / without overlap / "
        "hidden. At most: tok/s that the fitted step times and the published rates allow, whatever the "
        "policy, with drafting before verification and with drafting free. Slow: SD(5) steps that TD would "
        "beat.",
        (
            "panel",
            "SV rate",
            "paper's rule",
            "svsim's",
            "SV/SD, draft 5",
            "SV/SD, draft 7",
            "SV(5) tok/s",
            "at most, serial",
            "at most, hidden",
            "slow steps",
        ),
        tuple(rows),
        1,
    )


def bars_table(found: Reproduction) -> PlainTable:
    """Every bar of figure 3."""
    rows = []
    for result in found.panels:
        for p in sorted(result.base.predictions, key=lambda p: (p.bar.batch_size, p.bar.method)):
            rows.append(
                (
                    result.panel.name,
                    METHOD_WORDS[p.bar.method],
                    _use(p),
                    str(p.bar.batch_size),
                    f"{p.bar.tok_s:,.1f}",
                    f"{p.bar.relative_read_error:.1%}",
                    f"{p.tok_s:,.1f}",
                    f"{p.error:+.1%}",
                    f"{p.mean_verification_length:.2f}",
                    number(p.verified_acceptance, ".3f"),
                    f"{1e3 * p.step_s:.1f}",
                )
            )
    return PlainTable(
        "Figure 3, every bar",
        "Base prediction. Batch 1 is too short a bar to judge by.",
        (
            "panel",
            "method",
            "used",
            "batch",
            "published",
            "read error",
            "predicted",
            "error",
            "verified",
            "rate",
            "step ms",
        ),
        tuple(rows),
        3,
    )


def _use(p: Prediction) -> str:
    if p.bar.batch_size == 1:
        return "not judged"
    return "calibration" if p.is_calibration else "predicted"


def claim_lines(claims: tuple[Claim, ...]) -> list[tuple[str, str, str, str]]:
    """(verdict, name, where and statement, reason) of every claim."""
    return [(c.verdict.value, c.name, f"{c.where}: {c.statement}", c.reason) for c in claims]
