"""One offline HTML page of an open-loop run: decision, latencies, rates, the run's course, its seconds."""

import base64
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from svsim.errors import InputError
from svsim.report.document import Plots, contents, footer, no_charts, page, write_page
from svsim.report.html import Html, element, join, short_name, text
from svsim.report.palette import MethodLook, looks_of
from svsim.report.sections import MAX_COMMAND_LENGTH, chip, method_key, part_key, section
from svsim.report.serving import ServingResult, deployment_of, label_of, latency_table, server_table
from svsim.report.serving_figures import (
    SHARE_PARTS,
    course_figure,
    distribution_figure,
    rate_figure,
    seconds_figure,
)
from svsim.report.serving_view import (
    by_method,
    caveats,
    findings,
    limits_of,
    loops_table,
    number_table,
    rate_table,
    share_table,
    spells_of,
)
from svsim.report.tables import captioned, facts, folded, plain

Row = Mapping[str, Any]
Looks = Mapping[str, MethodLook]
LEAST_SHARE = 5e-4  # of the time; less is not named in the key
_WORDS = (
    ("open loop", "requests arrive by themselves, whatever the server does; a queue may grow"),
    ("TTFT", "first token - arrival"),
    ("TPOT", "(last token - first token)/(output tokens - 1) of one request"),
    ("ITL", "gap between two emissions of a request; with speculation of several tokens at once"),
    ("E2EL", "last token - arrival"),
    ("saturated", "the queue grows over the run: latencies grow with it, completions are the capacity"),
    ("good", "requests that finish and meet every objective about requests"),
    ("batch", "requests that decode in a step, on average over steps"),
    ("acceptance length", "tokens a request gains per step: accepted draft tokens and the bonus token"),
    ("warm-up", "requests that arrive in it are simulated and not measured"),
    ("interval", "95 %, of sampling: t over replications, or over 20 batches of a given workload"),
)
_COURSES = (
    ("num_waiting", "Queue", "requests waiting", 1.0),
    ("num_running", "Running", "requests running", 1.0),
    ("kv_use", "KV cache", "% of KV blocks", 100.0),
    ("output_tok_s", "Throughput", "tokens/s", 1.0),
    ("mean_acceptance_length", "Acceptance length", "tokens per step", 1.0),
    ("busy_share", "Busy", "% of the replicas' time", 100.0),
)


class PageResult(ServingResult, Protocol):
    """What the page needs beyond the terminal's tables."""

    @property
    def version(self) -> str: ...
    @property
    def trace(self) -> Mapping[str, Any] | None: ...
    @property
    def timelines(self) -> Sequence[Row]: ...
    @property
    def distributions(self) -> Sequence[Row]: ...
    def to_csv(self) -> str: ...


def write_serving_page(
    result: PageResult,
    curve: Sequence[Row],
    closed: Sequence[Row],
    path: str | os.PathLike[str],
    command: str,
) -> None:
    """Write the page to ``path``; InputError where that fails."""
    write_page(render(result, curve, closed, command), path)


def render(result: PageResult, curve: Sequence[Row], closed: Sequence[Row], command: str) -> str:
    """The page as text; the same input gives the same text.

    curve: rows at several rates, or empty; closed: the closed loop beside every row, or empty.
    """
    if not result.rows:
        raise InputError("the result holds no rows, so there is nothing to report; ask for a method")
    plots = Plots()
    bounds = {label_of(row) for row in result.rows if row["is_bound"]}
    look_of = looks_of({label_of(row): row["method"] for row in result.rows}, bounds)
    sections = {
        "answer": _answer(result, curve),
        "latencies": _latencies(result),
        "rates": _rates(result, curve, look_of, plots) if curve else None,
        "distributions": _distributions(result, look_of, plots),
        "course": _course(result, look_of, plots),
        "seconds": _seconds(result, look_of, plots),
        "loops": _loops(closed) if closed else None,
        "provenance": _provenance(result),
        "data": _data(result),
        "command": _closing(result, command),
    }
    headings = {
        "latencies": "Latencies",
        "rates": "Against rate",
        "distributions": "Distributions",
        "course": "Course of the run",
        "seconds": "Where the time goes",
        "loops": "Closed loop",
        "provenance": "Provenance",
        "data": "Every number",
        "command": "Command",
    }
    shown = {name: words for name, words in headings.items() if sections[name] is not None}
    body = element(
        "main", _header(result), contents(shown), no_charts(), *sections.values(), footer(result.version)
    )
    return page(f"svsim: {result.rows[0]['arrivals']}", body, plots)


def _names(result: ServingResult) -> list[str]:
    return list(dict.fromkeys(map(deployment_of, result.rows)))


def _header(result: PageResult) -> Html:
    first, config = result.rows[0], result.config
    rate = "" if first["rate"] is None else f", {first['rate']:.4g} requests/s on average"
    kinds = sorted({row["replay_kind"] for row in result.rows})
    engines = dict.fromkeys(row["engine"] for row in result.rows if row["engine"] != "none")
    chips = [
        chip(f"{first['arrivals']}{rate}"),
        chip(f"lengths: {config.get('lengths')}"),
        chip(f"{first['replicas']} replica{'s' * (first['replicas'] > 1)} of {', '.join(_names(result))}"),
        chip(f"scheduler: {first['scheduler']}, {first['scheduling']}; prompts are computed and counted"),
        chip(f"step times: {', '.join(dict.fromkeys(row['latency_source'] for row in result.rows))}"),
        *(chip(f"engine {name}") for name in engines),
        chip(f"{first['num_requests']:,} requests measured, {first['num_replications']} replications"),
        chip(f"{' and '.join(kinds)} acceptance"),
        *(chip(f"saturated: {label_of(row)}", caution=True) for row in result.rows if row["saturated"]),
    ]
    file = (result.trace or {}).get("file")
    where = ["open loop", *([str(file)] if file else [])]
    return element(
        "header",
        element("p", f"svsim {result.version} · ", short_name(" · ".join(where)), class_="eyebrow"),
        element("h1", "How long do users wait?"),
        element("ul", *chips, class_="chips"),
    )


def _answer(result: PageResult, curve: Sequence[Row]) -> Html:
    sentences = [element("li", words, class_="finding") for words in findings(result, curve)]
    doubts = [element("li", words) for words in dict.fromkeys(caveats(result))]
    return element(
        "section",
        element("h2", "The decision"),
        element("ul", *sentences) if sentences else element("p", "Nothing was compared: one method ran."),
        element("ul", *doubts, class_="caveats") if doubts else None,
        class_="answer",
        id="answer",
    )


def _latencies(result: PageResult) -> Html:
    tables = []
    for name in _names(result):
        rows = [row for row in result.rows if deployment_of(row) == name]
        tables += [captioned(latency_table(result, rows)), captioned(server_table(rows))]
    return section("latencies", "What users meet", "Means and percentiles of the measured requests.", *tables)


def _rates(result: PageResult, curve: Sequence[Row], look_of: Looks, plots: Plots) -> Html:
    panels, tables = [], []
    for name in _names(result):
        rows = by_method(curve, name)
        first = next(iter(rows.values()), ())
        for column, words, title in (
            ("ttft_s_p50", "TTFT, median", "TTFT p50 (ms)"),
            ("ttft_s_p99", "TTFT, 99th percentile", "TTFT p99 (ms)"),
            ("tpot_s_p50", "TPOT, median", "TPOT p50 (ms)"),
            ("tpot_s_p99", "TPOT, 99th percentile", "TPOT p99 (ms)"),
        ):
            metric, statistic = column.split("_s_")
            limits = limits_of(first, metric, statistic)
            panels.append(plots.add(rate_figure(rows, look_of, column, title, 1e3, limits), words, name))
        for column, words, title in (
            ("e2el_s_mean", "E2EL, mean", "seconds"),
            ("output_tok_s", "Throughput", "tokens/s"),
        ):
            is_log = column != "output_tok_s"
            panels.append(
                plots.add(rate_figure(rows, look_of, column, title, 1.0, is_log=is_log), words, name)
            )
        tables.append(folded(rate_table(rows)))
    return section(
        "rates",
        "Latencies against rate",
        "The same question at other rates, with the same random numbers. Hollow: saturated, latencies there "
        "grow with the run. Dotted uprights: requests/s that a saturated method completes, its capacity.",
        method_key(look_of, always=True),
        element("div", *panels, class_="panels"),
        *tables,
    )


def _distributions(result: PageResult, look_of: Looks, plots: Plots) -> Html | None:
    panels = []
    for name in _names(result):
        mine = {_label(one): one for one in result.distributions if one["hardware"] == name}
        rows = [row for row in result.rows if deployment_of(row) == name]
        for metric, words in (("ttft", "TTFT"), ("tpot", "TPOT"), ("e2el", "E2EL")):
            known = {label: one[f"{metric}_s"] for label, one in mine.items() if one[f"{metric}_s"]}
            if known:
                limits = limits_of(rows, metric)
                figure = distribution_figure(known, look_of, f"{words} (ms)", limits)
                panels.append(plots.add(figure, f"{words} of requests", name))
    if not panels:
        return None
    return section(
        "distributions",
        "Distributions",
        "Share of the measured requests, all replications together, that take at most so long. Uprights: "
        "objectives.",
        method_key(look_of, always=True),
        element("div", *panels, class_="panels"),
    )


def _label(one: Row) -> str:
    return str(one["method"])


def _course(result: PageResult, look_of: Looks, plots: Plots) -> Html | None:
    panels = []
    for name in _names(result):
        lines = {_label(one): one for one in result.timelines if one["hardware"] == name}
        for column, words, title, scale in _COURSES:
            if lines and not (column == "kv_use" and _has_endless_cache(result, name)):
                figure = course_figure(lines, look_of, column, title, scale, spells_of(result))
                panels.append(plots.add(figure, words, name))
    if not panels:
        return None
    bucket_s = result.timelines[0]["bucket_s"]
    return section(
        "course",
        "Course of the run",
        f"Means over replications, in steps of {bucket_s:.3g} s or what the width allows. Shaded: not "
        "measured (warm-up), or a replica that is down.",
        method_key(look_of, always=True),
        element("div", *panels, class_="panels"),
    )


def _has_endless_cache(result: PageResult, name: str) -> bool:
    return all(row["kv_blocks"] is None for row in result.rows if deployment_of(row) == name)


def _seconds(result: PageResult, look_of: Looks, plots: Plots) -> Html:
    parts = [p for p in SHARE_PARTS if any((row[p.name] or 0.0) >= LEAST_SHARE for row in result.rows)]
    panels, tables = [], []
    for name in _names(result):
        rows = {label_of(row): row for row in result.rows if deployment_of(row) == name}
        panels.append(plots.add(seconds_figure(rows, look_of), "Seconds of the replicas", name))
        tables.append(plain(share_table(list(rows.values()))))
    return section(
        "seconds",
        "Where the time goes",
        "Of the replicas' time in the measured window. Prompts: what chunks of prompts add to the target's "
        "passes; their drafting and scoring is under draft and companion. Idle: nothing to serve.",
        part_key(parts),
        element("div", *panels, class_="panels wide"),
        *tables,
    )


def _loops(closed: Sequence[Row]) -> Html:
    tables = []
    for name in dict.fromkeys(one["deployment"] for one in closed):
        mine = [one for one in closed if one["deployment"] == name]
        tables += [element("h3", short_name(name)), plain(loops_table(mine))]
    return section(
        "loops",
        "Beside the closed loop",
        "svsim replay at the mean batch of this run: decoding alone, a batch that never changes. A ratio "
        "above 1 is what prompts beside decoding and a batch that swings cost each token.",
        *tables,
    )


def _provenance(result: PageResult) -> Html:
    trace = {k: v for k, v in (result.trace or {}).items() if k not in ("software", "extra", "models")}
    return section(
        "provenance",
        "Where the numbers come from",
        "What arrived, what served it, and whose acceptance was borrowed.",
        element("h3", "Run"),
        facts(result.config),
        *((element("h3", "Trace"), facts(trace)) if trace else ()),
    )


def _data(result: PageResult) -> Html:
    data = base64.b64encode(result.to_csv().encode("utf-8", "replace")).decode()
    link = Html(
        f'<a class="screen-only" download="svsim-serving.csv" href="data:text/csv;base64,{data}">'
        "Save the rows as CSV, unrounded</a>"
    )
    tables = [folded(number_table([r for r in result.rows if deployment_of(r) == n])) for n in _names(result)]
    return section("data", "Every number", "With 95 % intervals. Undefined is a dash.", link, *tables)


def _closing(result: PageResult, command: str) -> Html:
    words = [part for word, meaning in _WORDS for part in (element("dt", word), element("dd", meaning))]
    return join(
        section(
            "command",
            "Make this page again",
            f"With svsim {result.version}; the same inputs and seed give the same bytes.",
            element("pre", element("code", text(command, MAX_COMMAND_LENGTH))),
        ),
        element("section", element("h2", "Words"), element("dl", *words), id="words"),
    )
