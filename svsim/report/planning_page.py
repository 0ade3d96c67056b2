"""The page of a plan: the decision in words, the plans, the Pareto front, the best by rate, the hours."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from svsim.report.document import Plots, contents, footer, no_charts, page, write_page
from svsim.report.html import Html, element, text
from svsim.report.palette import MethodLook, looks_of
from svsim.report.plain_table import Lead
from svsim.report.planning import PlanShown
from svsim.report.planning_figures import (
    curve_looks,
    curve_name,
    hours_figure,
    objectives_figure,
    pareto_figure,
)
from svsim.report.sections import MAX_COMMAND_LENGTH, chip, lead_section, method_key, section
from svsim.report.tables import captioned, facts
from svsim.version import __version__

HEADINGS = {
    "advice": "Decision",
    "pareto": "Pareto front",
    "rate": "The best against its rate",
    "hours": "By hour",
    "provenance": "Provenance",
    "command": "Command",
}


class PlanOnPage(PlanShown, Protocol):
    """What a page shows beside that; ``svsim/planning/result.py``."""

    @property
    def points(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def hours(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def best(self) -> Mapping[str, Any]: ...
    @property
    def config(self) -> Mapping[str, Any]: ...


def write_plan(plan: PlanOnPage, path: str | os.PathLike[str], command: str) -> None:
    """Write the whole page or nothing."""
    write_page(render(plan, command), path)


def render(plan: PlanOnPage, command: str) -> str:
    """The document."""
    plots = Plots()
    sections = {
        "advice": lead_section(Lead(plan.sentences, plan.tables[:1])),
        "pareto": _pareto(plan, plots),
        "rate": _rate(plan, plots),
        "hours": _hours(plan, plots),
        "provenance": _provenance(plan),
        "command": section(
            "command",
            "Make this page again",
            f"With svsim {__version__}; the same trace and seed give the same bytes.",
            element("pre", element("code", text(command or "svsim plan", MAX_COMMAND_LENGTH))),
        ),
    }
    shown = {name: words for name, words in HEADINGS.items() if sections[name] is not None}
    parts = (_header(plan), contents(shown), no_charts(), *sections.values(), footer(__version__))
    body = element("main", *parts)
    return page("svsim plan", body, plots)


def _header(plan: PlanOnPage) -> Html:
    config, best = plan.config, plan.best
    chips = [
        chip(f"SLOs: {', '.join(config['slo'])}"),
        chip(f"demand: {config['demand'] or 'none asked'}"),
        chip(f"arrivals: {config['arrivals']}, lengths {config['lengths']}"),
        chip(f"step times: {best['latency_source']}"),
        chip(f"engine {best['engine']}") if best["engine"] != "none" else None,
        chip(f"{config['num_candidates']} candidates"),
    ]
    return element(
        "header",
        element("p", f"svsim {__version__} · plan, open loop", class_="eyebrow"),
        element("h1", "Which method, how many GPUs, at what cost?"),
        element("ul", *chips, class_="chips"),
    )


def _pareto(plan: PlanOnPage, plots: Plots) -> Html:
    figure = plots.add(
        pareto_figure(plan.points),
        "Tokens per GPU against tokens per user",
        "one curve per method and hardware",
    )
    return section(
        "pareto",
        "Pareto front",
        "Up: more output tokens per second of a GPU (cheaper). Right: more tokens per second of a user, 1 "
        "/ median TPOT. Every point is a rate that was simulated; pale points miss an SLO. Shaded: what "
        "some candidate reaches within all of them. vLLM's plot divides throughput by the users at once "
        "instead; the pointer tells that number too.",
        method_key(_drawn(plan.points), always=True),
        element("div", figure, class_="panels"),
    )


def _drawn(points: Sequence[Mapping[str, Any]]) -> dict[str, MethodLook]:
    drawn = {curve_name(p) for p in points if p["on_curve"]}
    return {name: look for name, look in curve_looks(points).items() if name in drawn}


def _rate(plan: PlanOnPage, plots: Plots) -> Html:
    best = plan.best
    names = ("method", "params", "deployment", "max_num_seqs", "max_num_batched_tokens")
    mine = [p for p in plan.points if all(p[name] == best[name] for name in names)]
    limits = {slo["text"]: _limit(slo["text"]) for slo in best["at_max_rate"]["slo"]}
    name = f"{best['label']} on {best['deployment']}"
    figure = plots.add(objectives_figure(mine, limits, best["max_rate"]), name, "objectives against rate")
    return section(
        "rate",
        "The best against its rate",
        "Each objective's number over its limit (of a share: requests that miss over those that may); met "
        "below the dotted line. Dashed: the largest rate that is sure. Means of replications.",
        method_key(_objective_looks(limits), always=True),
        element("div", figure, class_="panels"),
    )


def _limit(spelt: str) -> float:
    return float(spelt.rpartition("=")[2])


def _objective_looks(limits: Mapping[str, float]) -> dict[str, MethodLook]:
    return looks_of({name: name for name in limits})


def _hours(plan: PlanOnPage, plots: Plots) -> Html | None:
    if not plan.hours:
        return None
    figure = plots.add(hours_figure(plan.hours), "Replicas by hour", str(plan.config["demand"]))
    return section(
        "hours",
        "By hour",
        "Replicas for the highest rate of each hour; every number of replicas was simulated at the highest "
        "rate it is given. Starting and stopping is not simulated.",
        element("div", figure, class_="panels"),
        *map(captioned, plan.tables[1:]),
    )


def _provenance(plan: PlanOnPage) -> Html:
    notes = [element("li", note) for note in plan.notes]
    return section(
        "provenance",
        "Where the numbers come from",
        "What was asked, and how it was priced and served.",
        facts(plan.config),
        element("h3", "Notes") if notes else None,
        element("ul", *notes) if notes else None,
    )
