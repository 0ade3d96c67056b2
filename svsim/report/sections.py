"""The sections of the page, top to bottom; each returns its markup, or nothing where it has no data."""

from collections.abc import Mapping, Sequence
from typing import Any

from svsim.metrics.agreement import WARNING_SHARE, compare
from svsim.metrics.rows import ResultTable
from svsim.report.canvas import plain
from svsim.report.html import Html, element, join, short_name, text
from svsim.report.palette import MethodLook, Part, dashes
from svsim.report.plain_table import Lead, PlainTable
from svsim.report.recommendation import caveats, findings
from svsim.report.strip import band_strip, glyph, tone
from svsim.report.tables import captioned, csv_link, facts, row_tables
from svsim.report.tables import plain as plain_table
from svsim.report.verdict import engine_words

MAX_COMMAND_LENGTH = 10_000

KINDS = {
    "captured": "recorded from the running models",
    "reconstructed": "rebuilt from published statistics, not recorded from these models",
    "synthetic": "made by a generator, not recorded from any model",
    "imported": "taken from another tool's recording",
}
_LENGTHY = ("models", "software", "extra")  # of the trace's metadata; the models are in the header
_TRUSTED_KINDS = ("captured", "imported")
_PATTERN_CLASSES = {
    "": "fill",
    "/": "fill slash",
    "\\": "fill backslash",
    "x": "fill cross",
    ".": "fill dots",
}
_WORDS = (
    ("td", "target-only decoding: one token per sequence and step; the baseline"),
    ("sd:k", "speculative decoding that always verifies k draft tokens (a fixed length)"),
    ("sv", "Speculative Verification: a companion model's signals choose how many draft tokens to verify"),
    ("oracle", "a bound, not a method: it verifies exactly what will be accepted"),
    ("oracle-belief", "a bound: it knows the acceptance probabilities, not the coins"),
    ("share of the bound's gain", "a method's gain over target-only decoding by that of the fastest bound"),
    ("goodput", "emitted tokens per second of the whole batch"),
    ("mean acceptance length", "tokens a sequence gains per step: accepted draft tokens and the bonus token"),
    ("draft / verified acceptance rate", "accepted over drafted / accepted over verified tokens"),
    ("TPOT", "mean time per output token of one sequence"),
    ("interval", "95 %, bootstrap over requests; speedups are paired: both sides on the same requests"),
    ("exact / approximate", "whether the trace allows this method's steps to be replayed without bias"),
    ("closed loop", "a finished request is replaced, the batch stays full; arrival times play no part"),
)


def header(table: ResultTable) -> Html:
    """Title, models, and what the numbers rest on."""
    trace, config = table.trace, table.config
    kind = str(trace.get("acceptance_kind"))
    sources = ", ".join(dict.fromkeys(r.latency_source for r in table.rows))
    requests = ", ".join(dict.fromkeys(f"{r.num_requests:,}" for r in table.rows))
    approximate = dict.fromkeys(
        r.label for r in table.rows if r.replay_kind == "approximate" and not r.is_bound
    )
    lossy = dict.fromkeys(r.label for r in table.rows if not r.lossless and not r.is_bound)
    chips = [
        chip(f"{kind} acceptance: {KINDS.get(kind, 'of unknown origin')}", kind not in _TRUSTED_KINDS),
        chip(f"step times: {sources}"),
        *(
            chip(words)
            for words in dict.fromkeys(w for r in table.rows for w in engine_words(table, r.deployment))
        ),
        chip(f"{requests} requests replayed"),
        chip(f"approximate replay: {', '.join(approximate)}") if approximate else chip("exact replay"),
        chip(f"not lossless: {', '.join(lossy)}") if lossy else chip("every method lossless"),
    ]
    refill = config.get("refill")
    setting = f"{config.get('engine', 'replay')}, closed loop" + (f", {refill} refill" if refill else "")
    return element(
        "header",
        element(
            "p",
            f"svsim {table.version} · {setting} · ",
            short_name(trace.get("file") or "trace"),
            class_="eyebrow",
        ),
        element("h1", "Which method is fastest at which batch size?"),
        _models(trace.get("models")),
        element("ul", *chips, class_="chips"),
    )


def chip(words: str, caution: bool = False) -> Html:
    """A short fact in the list under a title."""
    return element("li", words, class_="caution" if caution else None)


def _models(models: Any) -> Html | None:
    if not isinstance(models, Mapping):
        return None
    parts: list[Html] = []
    for role in ("target", "draft", "companion"):
        model = models.get(role)
        if isinstance(model, Mapping) and model.get("name"):
            parts.append(element("span", f"{role} ", element("b", short_name(model["name"]))))
    return element("p", *parts, class_="models") if parts else None


def answer(table: ResultTable, look_of: Mapping[str, MethodLook]) -> Html:
    """The recommendation: the strip, then its sentences, then what to distrust."""
    found = [element("li", sentence, class_="finding") for sentence in findings(table)]
    doubts = [element("li", sentence) for sentence in caveats(table)]
    return element(
        "section",
        band_strip(table, look_of),
        element("ul", *found) if found else None,
        element("ul", *doubts, class_="caveats") if doubts else None,
        class_="answer",
        id="answer",
    )


def lead_section(lead: Lead) -> Html:
    """Sentences and tables that come before all else."""
    return element(
        "section",
        element("h2", "What to do"),
        element("ul", *(element("li", sentence, class_="finding") for sentence in lead.sentences)),
        *map(captioned, lead.tables),
        class_="answer",
        id="advice",
    )


def section(anchor: str, heading: str, intro: str, *children: Html | None) -> Html:
    """A section with a heading and one line on how to read it."""
    return element(
        "section", element("h2", heading), element("p", intro, class_="intro"), *children, id=anchor
    )


def method_key(look_of: Mapping[str, MethodLook], *, always: bool = False) -> Html:
    """Line samples and full names, which single out a method; shown on phones, or ``always``."""
    items = []
    for look in look_of.values():
        line = Html(
            '<svg width="36" height="12" aria-hidden="true"><line x1="0" y1="6" x2="36" y2="6" '
            f'stroke="var(--tone)" stroke-width="2" stroke-dasharray="{dashes(look)}"/></svg>'
        )
        items.append(
            element(
                "li",
                line,
                glyph(look),
                look.label,
                class_="tone",
                style=tone(look.colour),
                role="button",
                tabindex="0",
                data_method=plain(look.label),
            )
        )
    return element("ul", *items, class_="key methods always" if always else "key methods")


def part_key(parts: Sequence[Part]) -> Html:
    """Fill samples of stacked bars."""
    items = [
        element(
            "li",
            element("span", class_=f"{_PATTERN_CLASSES[part.pattern]} tone", style=tone(part.colour)),
            part.words,
        )
        for part in parts
    ]
    return element("ul", *items, class_="key")


def analytic_section(table: ResultTable, analytic: ResultTable, *figures: Html) -> Html:
    """The two ways to the same number: differences, and a warning for each above 2 %."""
    differences = compare(table, analytic)
    large = sorted((d for d in differences if d.is_warning), key=lambda d: -abs(d.relative))
    worst = max((abs(d.relative) for d in differences), default=0.0)
    notice = None
    if large:
        rows = [
            (
                d.row.deployment,
                d.row.label,
                str(d.row.batch_size),
                f"{d.row.goodput_tok_s:,.1f}",
                f"{d.analytic_tok_s:,.1f}",
                f"{d.relative:+.2%}",
            )
            for d in large[:30]
        ]
        heads = ("hardware", "method", "batch", "replay tok/s", "analytic tok/s", "difference")
        notice = join(
            element(
                "p",
                element("b", "Warning. "),
                f"{len(large)} of {len(differences)} rows differ by more than {WARNING_SHARE:.0%}: "
                "trust the replay there, and look for what the analytic model leaves out.",
                class_="notice",
            ),
            plain_table(PlainTable("Rows that differ", "", heads, rows, 2)),
        )
    summary = f"Largest difference: {worst:.2%} over {len(differences)} rows."
    return section(
        "analytic",
        "Analytic model against replay",
        "The same coins and step times, computed in two ways that share prices and nothing else. " + summary,
        *figures,
        notice,
    )


def provenance_section(table: ResultTable) -> Html:
    """Where the trace, the step times and the settings come from."""
    trace = table.trace
    kind = str(trace.get("acceptance_kind"))
    notice = None
    if kind not in _TRUSTED_KINDS:
        notice = element(
            "p",
            element("b", f"{kind.capitalize()} acceptance: "),
            f"{KINDS.get(kind, 'its origin is not known')}. "
            "Conclusions about methods that use its signals wait for a captured trace.",
            class_="notice",
        )
    times = {r.deployment: r.latency_source for r in table.rows}
    return section(
        "provenance",
        "Where the numbers come from",
        "What was recorded, by whom it was priced, and under which settings it was replayed.",
        notice,
        element("h3", "Trace"),
        facts({key: value for key, value in trace.items() if key not in _LENGTHY}),
        element("h3", "Step times, by hardware"),
        facts(times),
        element("h3", "Settings of the run"),
        facts(table.config),
        element(
            "details",
            element("summary", "Everything else the trace records"),
            facts({key: trace[key] for key in _LENGTHY if trace.get(key)}),
        ),
    )


def data_section(table: ResultTable) -> Html:
    """All rows, folded."""
    return section(
        "data",
        "Every number",
        "Times are means per step. Undefined is a dash. Speedups are paired with the baseline.",
        csv_link(table),
        element("details", element("summary", f"Table of all {len(table.rows):,} rows"), row_tables(table)),
    )


def closing_section(table: ResultTable, command: str) -> Html:
    """Words, notes, and the command that makes this page again."""
    words = [part for word, meaning in _WORDS for part in (element("dt", word), element("dd", meaning))]
    notes = [element("li", note) for note in table.notes]
    return join(
        section(
            "command",
            "Make this page again",
            f"With svsim {table.version}; the same trace and seed give the same bytes.",
            element("pre", element("code", text(command, MAX_COMMAND_LENGTH))),
        ),
        element("section", element("h2", "Notes"), element("ul", *notes), id="notes") if notes else None,
        element("section", element("h2", "Words"), element("dl", *words), id="words"),
    )
