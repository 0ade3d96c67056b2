"""Predicted against measured as one offline page: errors beside targets, figures, tables, provenance."""

import os

from svsim.metrics.accuracy import TARGETS, Accuracy
from svsim.report.accuracy_figures import (
    agreement_figure,
    error_figure,
    goodput_figure,
    looks_of_accuracy,
    marginal_figure,
)
from svsim.report.accuracy_view import (
    PAIR_HEADS,
    AccuracyView,
    choice_table,
    crossover_table,
    marginal_table,
    pair_cells,
    summary_lines,
)
from svsim.report.document import Plots, contents, footer, no_charts, page, write_page
from svsim.report.html import Html, element, short_name, text
from svsim.report.plain_table import PlainTable
from svsim.report.sections import MAX_COMMAND_LENGTH, chip, method_key, section
from svsim.report.tables import captioned, facts, plain

_HEADLINES = (
    ("goodput_error_mean", "mean goodput error", "{:.1%}"),
    ("goodput_error_worst", "worst goodput error", "{:.1%}"),
    ("speedup_error_mean", "mean error of speedups", "{:.1%}"),
    ("marginal_error_mean", "mean error per verified token", "{:.1%}"),
    ("crossover_grid_steps_worst", "crossover, grid steps apart", "{:.0f}"),
    ("regret_worst", "worst regret", "{:.1%}"),
)
_BANDS = f"Bands: ± {TARGETS['goodput_error_mean']:.0%} and ± {TARGETS['goodput_error_worst']:.0%}. "
_BARS = "Bars: two standard errors of the measurement."


def write_accuracy_page(view: AccuracyView, path: str | os.PathLike[str], command: str, version: str) -> None:
    """Write the page to ``path``; InputError where that fails."""
    write_page(render(view, command, version), path)


def render(view: AccuracyView, command: str, version: str) -> str:
    """The page as text; the same input gives the same text."""
    plots = Plots()
    key = method_key(looks_of_accuracy(view.first), always=True)
    sections = {
        "answer": _answer(view),
        "goodput": _goodput(view.first, plots, key),
        "decisions": _decisions(view.first),
        "parts": _parts(view),
        "data": section(
            "data", "Every pair", "Speedups: each side over its own baseline.", plain(_pairs(view))
        ),
        "provenance": section("provenance", "Where it comes from", "", facts(view.facts)),
        "command": section(
            "command",
            "Make this page again",
            "Measured seconds differ from run to run; all else is the same.",
            element("pre", element("code", text(command, MAX_COMMAND_LENGTH))),
        ),
    }
    headings = {
        "goodput": "Goodput",
        "decisions": "Decisions",
        "parts": "Parts of a step" if "host_overhead_s" in view.facts else "Acceptance",
        "data": "Every pair",
        "provenance": "Provenance",
        "command": "Command",
    }
    shown = {name: words for name, words in headings.items() if sections[name] is not None}
    body = element(
        "main", _header(view, version), contents(shown), no_charts(), *sections.values(), footer(version)
    )
    return page(f"svsim: {view.title}", body, plots)


def _header(view: AccuracyView, version: str) -> Html:
    sizes = {row.batch_size for row in view.first.rows}
    methods = {row.label for row in view.first.rows}
    chips = [
        chip(f"{len(view.first.rows)} pairs: {len(methods)} methods, {len(sizes)} batch sizes"),
        *map(chip, view.notes),
        *(chip(line, caution=True) for line in view.cautions),
    ]
    return element(
        "header",
        element("p", f"svsim {version} · prediction against measurement", class_="eyebrow"),
        element("h1", "Is the prediction right?"),
        element("p", short_name(view.title), class_="models"),
        element("ul", *chips, class_="chips"),
    )


def _answer(view: AccuracyView) -> Html:
    """The figures that matter beside what is aimed for, then all of them."""
    summary = view.first.summary()
    tiles = []
    for name, words, form in _HEADLINES:
        value, target = summary[name], TARGETS[name]
        if value is None:
            continue
        verdict = "met" if value <= target else "missed"
        tiles.append(
            element(
                "div",
                element("b", form.format(value)),
                element("span", words),
                element("span", f"target {form.format(target)}: ", element("strong", verdict)),
            )
        )
    meanings = [element("li", f"{name}: {meaning}") for name, meaning in view.meanings.items()]
    lines = tuple(summary_lines(view.accuracies))
    heads = ("", *view.accuracies, "target", "met")
    return element(
        "section",
        element("h2", "Errors beside what is aimed for"),
        element("div", *tiles, class_="numbers"),
        plain(PlainTable("Errors", "", heads, lines, 1)),
        element("ul", *meanings, class_="caveats") if meanings else None,
        class_="answer",
        id="answer",
    )


def _goodput(accuracy: Accuracy, plots: Plots, key: Html) -> Html:
    panels = [
        plots.add(agreement_figure(accuracy), "Predicted against measured", "on the line they agree"),
        plots.add(error_figure(accuracy), "Error by batch size and method", "above 0: predicted too fast"),
        plots.add(goodput_figure(accuracy), "Goodput", "lines predicted, markers measured"),
    ]
    if accuracy.marginals:
        words = "what adaptive lengths hinge on: line predicted, markers measured"
        panels.append(plots.add(marginal_figure(accuracy), "Milliseconds per verified token", words))
    return section(
        "goodput",
        "Goodput",
        "Emitted tokens per second of the whole batch. " + _BANDS + _BARS,
        key,
        element("div", *panels, class_="panels"),
    )


def _decisions(accuracy: Accuracy) -> Html | None:
    tables = [make(accuracy) for make in (choice_table, crossover_table, marginal_table)]
    if not any(table.rows for table in tables):
        return None
    return section(
        "decisions",
        "Would it have decided well?",
        "An error that all methods share changes no decision; an error of the slope does.",
        *(captioned(table) for table in tables if table.rows),
    )


def _parts(view: AccuracyView) -> Html | None:
    if not view.tables:
        return None
    first, *others = view.tables
    return section("parts", first.caption, first.note, plain(first), *map(captioned, others))


def _pairs(view: AccuracyView) -> PlainTable:
    rows = tuple(pair_cells(row) for row in view.first.rows)
    return PlainTable("Every pair", "", PAIR_HEADS, rows, 2)
