"""A reproduction as one offline page: what was predicted, what it hangs on, and a verdict per claim."""

import os

from svsim.papers.sv_paper.claims import verdict_counts
from svsim.papers.sv_paper.savings import mean_context_tokens
from svsim.papers.sv_paper.step_times import roofline_token_s
from svsim.papers.sv_paper.sv_paper import Reproduction
from svsim.report.document import Plots, contents, footer, no_charts, page, write_page
from svsim.report.html import Html, element, text
from svsim.report.palette import MethodLook, looks_of
from svsim.report.reproduction_costs import modern_table, serial_cost_table
from svsim.report.reproduction_figures import (
    FIGURE_METHODS,
    SCENARIO_LOOKS,
    goodput_figure,
    resolution_figure,
    resolution_looks,
    scenario_figure,
    variants_figure,
)
from svsim.report.reproduction_tables import (
    VARIANT_WORDS,
    fairness_table,
    implied_lengths_table,
    implied_steps_table,
    resolution_table,
    savings_table,
    variants_table,
)
from svsim.report.reproduction_view import (
    acceptance_table,
    bars_table,
    calibration_table,
    claim_lines,
    errors_table,
    findings,
    headline,
    scenario_table,
)
from svsim.report.sections import MAX_COMMAND_LENGTH, chip, method_key, section
from svsim.report.strip import glyph, tone
from svsim.report.tables import captioned, folded

_HEADINGS = {
    "figure-3": "Figure 3",
    "hinges": "What it hangs on",
    "modern": "A modern engine",
    "figure-4": "Figure 4",
    "tables": "Tables 3 and 9",
    "table-1": "Table 1",
    "claims": "Claims",
    "method": "How",
    "data": "Every bar",
    "command": "Command",
}


def write_reproduction_page(
    found: Reproduction, path: str | os.PathLike[str], command: str, version: str
) -> None:
    """Write the page to ``path``; InputError where that fails."""
    write_page(render(found, command, version), path)


def render(found: Reproduction, command: str, version: str) -> str:
    """The page as text; the same input gives the same text."""
    plots = Plots()
    sections = {
        "answer": _answer(found),
        "figure-3": _figure_3(found, plots),
        "hinges": _hinges(found, plots),
        "modern": _modern(found),
        "figure-4": _figure_4(found, plots),
        "tables": _tables(found),
        "table-1": _table_1(found, plots),
        "claims": _claims(found),
        "method": _method(found),
        "data": section("data", "Every bar", "", folded(bars_table(found))),
        "command": section(
            "command",
            "Make this page again",
            "The same seed and traces give the same bytes.",
            element("pre", element("code", text(command, MAX_COMMAND_LENGTH))),
        ),
    }
    shown = {name: words for name, words in _HEADINGS.items() if sections[name] is not None}
    body = element(
        "main", _header(found, version), contents(shown), no_charts(), *sections.values(), footer(version)
    )
    return page("svsim: Speculative Verification, reproduced", body, plots)


def _header(found: Reproduction, version: str) -> Html:
    counts = [chip(f"{count} claims {verdict}") for verdict, count in verdict_counts(found.claims) if count]
    return element(
        "header",
        element("p", f"svsim {version} · arXiv 2509.24328 v2, figures and tables", class_="eyebrow"),
        element("h1", "Speculative Verification: does its evidence follow from its own baselines?"),
        element(
            "ul",
            *counts,
            chip(
                "synthetic acceptance: one published rate per panel, the rest assumed and varied",
                caution=True,
            ),
            chip("published bars are read off charts"),
            class_="chips",
        ),
    )


def _answer(found: Reproduction) -> Html:
    tiles = [
        element("div", element("b", number), element("span", words)) for number, words in headline(found)
    ]
    return element(
        "section",
        element("h2", "In short"),
        element("div", *tiles, class_="numbers"),
        element("ul", *(element("li", words, class_="finding") for words in findings(found))),
        class_="answer",
        id="answer",
    )


def _figure_3(found: Reproduction, plots: Plots) -> Html:
    key = method_key(looks_of({m: m.partition(":")[0] for m in FIGURE_METHODS}), always=True)
    figures = [plots.add(goodput_figure(r), r.panel.name) for r in found.panels]
    return section(
        "figure-3",
        "Figure 3: goodput of four panels",
        "Lines and open markers: predicted without overlap. Filled markers: published. TD and SD(5) were "
        "used to calibrate, SD(7) and SV were not.",
        key,
        element("div", *figures, class_="panels"),
        captioned(errors_table(found)),
    )


def _hinges(found: Reproduction, plots: Plots) -> Html:
    return section(
        "hinges",
        "What the prediction hangs on",
        "The largest batch of every panel, one assumption changed at a time. On the dotted line a prediction "
        "is right; the black bar is the error of reading the chart.",
        _scenario_key(),
        element(
            "div", plots.add(scenario_figure(found.panels), "Predicted over published", ""), class_="panels"
        ),
        captioned(scenario_table(found)),
        captioned(acceptance_table(found)),
        captioned(serial_cost_table(found)),
    )


def _modern(found: Reproduction) -> Html:
    return section(
        "modern",
        "When SV pays on a modern engine",
        "The panels' models and acceptance, not their step times: passes from the kernel database, steps as "
        "the engine profile prices them. SD may choose its length at every batch size.",
        captioned(modern_table(found)),
    )


def _scenario_key() -> Html:
    items = [
        element("li", glyph(look), look.label, class_="tone", style=tone(look.colour))
        for look in SCENARIO_LOOKS.values()
    ]
    return element("ul", *items, class_="key methods always")


def _figure_4(found: Reproduction, plots: Plots) -> Html:
    looks = {
        name: MethodLook(VARIANT_WORDS[name], look.short, look.colour, look.dash, look.marker, look.glyph)
        for name, look in looks_of({v: v for v in VARIANT_WORDS}).items()
    }
    return section(
        "figure-4",
        "Figure 4: rival methods on Qwen3-32B",
        "Calibrated on SmartSpec and EAGLE-3, draft 5; only SV overlaps. There is no TD or SD in the figure, "
        "so ranks and ratios are all that can be asked.",
        method_key(looks, always=True),
        element(
            "div",
            plots.add(variants_figure(found.variants), "Predicted over published", "draft 5"),
            class_="panels",
        ),
        captioned(implied_steps_table(found.variants)),
        captioned(variants_table(found.variants)),
    )


def _tables(found: Reproduction) -> Html:
    return section(
        "tables",
        "Tables 3 and 9: operations and fairness",
        "Computed from the base predictions' replays; both are open to any replay (svsim.metrics.flops, "
        "svsim.metrics.fairness).",
        *map(captioned, (savings_table(found), implied_lengths_table(found), fairness_table(found))),
    )


def _table_1(found: Reproduction, plots: Plots) -> Html | None:
    if not found.signals:
        return None
    figure = resolution_figure(found.signals, found.published)
    return section(
        "table-1",
        "Table 1: what the signals tell, by resolution",
        "Traces of other models than the paper's; X = acceptance probability in five equal bins, which is a "
        "guess.",
        method_key(resolution_looks(found.signals), always=True),
        element("div", plots.add(figure, "Bits about X", "shuffle-corrected"), class_="panels"),
        folded(resolution_table(found)),
    )


def _claims(found: Reproduction) -> Html:
    parts = []
    for verdict, name, statement, reason in claim_lines(found.claims):
        words = chip(verdict, caution=verdict != "confirmed")
        parts += [
            element("h3", name),
            element("p", statement, class_="muted"),
            element("ul", words, class_="chips"),
            element("p", reason),
        ]
    return section("claims", "What the paper says", "Verdicts follow from the numbers of this run.", *parts)


def _method(found: Reproduction) -> Html:
    steps = (
        "Step times: T(B, k) = f + s B + k (d + c B), four parameters >= 0, fitted to TD and SD(5) of all "
        "batch sizes above 1 with the published verified acceptance rate of SD(5). The companion's pass "
        "costs the fixed time of one draft pass and its share of the target's operations per token.",
        "Acceptance: a synthetic trace whose SD(5) has the published rate. What S and A tell is published "
        "for the pair 68M/160M only (0.49 bits, which is half of what could be known on such a trace); the "
        "base takes half everywhere.",
        "Predictions: the replay of svsim with the paper's rule (accepted tokens per second of verification, "
        "tokens added until it falls, at least one), closed loop, half of the requests to learn the belief "
        "from.",
        "Reading of the rate: accepted over verified tokens. It makes the step times of SD(5) agree between "
        "the two data sets of either target, and EAGLE-3's accept length over accuracy is 4.93 of 5 verified "
        "tokens.",
        f"The engine: on these panels its cost per drafted token is {_slopes(found)} times a roofline's on "
        "the same GPUs, so its ratios carry over to a modern engine only as far as that cost does.",
    )
    return section(
        "method",
        "How it was done",
        "Nothing is fitted to a predicted bar.",
        element("ul", *(element("li", words) for words in steps)),
        captioned(calibration_table(found)),
    )


def _slopes(found: Reproduction) -> str:
    """The fitted cost per drafted token over a roofline's, least and most panel."""
    ratios = [
        r.fit.per_draft_token_s / roofline_token_s(r.panel, mean_context_tokens(r.acceptance))
        for r in found.panels
    ]
    return f"{min(ratios):.1f} to {max(ratios):.1f}"
