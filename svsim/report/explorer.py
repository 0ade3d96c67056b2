"""The explorer of a sweep: one offline page whose sliders choose among cells that are computed already.

Dimensions are what tells cells apart: batch size and deployment of the rows, and the axes of the grid; series
are methods. Nothing is interpolated: a slider stops at the values of the grid.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from svsim.errors import InputError
from svsim.report.html import Html, element, join, text
from svsim.report.palette import DARK, dashes, looks_of
from svsim.report.template import footer, resource, small_page, write_page
from svsim.spelling import deployment_name

Row = Mapping[str, Any]
MAX_PAGE_BYTES = 8_000_000
MAX_NAME_LENGTH = 120
DIGITS = 5
# axes that the rows say themselves, in a column of their own
IN_ROWS = frozenset({"axis_batch", "axis_hardware", "axis_method", "axis_tp", "axis_quant"})
DEPLOYMENT, BATCH = "deployment", "batch_size"
WORDS = {BATCH: "batch size", DEPLOYMENT: "hardware"}


@dataclass(frozen=True, slots=True)
class Metric:
    """A column of rows as the page shows it."""

    column: str
    words: str
    scale: float = 1.0
    higher: bool = True


METRICS = (
    Metric("speedup_vs_td", "speedup over td"),
    Metric("goodput_tok_s", "tokens/s"),
    Metric("speedup_vs_sd", "speedup over best sd"),
    Metric("output_tok_s", "output tokens/s"),
    Metric("max_rate", "requests/s per replica"),
    Metric("request_goodput", "good requests/s"),
    Metric("ttft_s_p99", "TTFT p99, ms", 1e3, higher=False),
    Metric("tpot_s_p99", "TPOT p99, ms", 1e3, higher=False),
    Metric("tpot_s", "ms per token", 1e3, higher=False),
    Metric("e2el_s_mean", "mean end-to-end, s", higher=False),
    Metric("mean_acceptance_length", "acceptance length"),
    Metric("usd_per_million_tokens", "$ per million tokens", higher=False),
    Metric("gpus", "GPUs", higher=False),
)


@dataclass(frozen=True, slots=True)
class Dimension:
    """What a slider (numbers) or a list (texts) chooses from."""

    name: str
    values: tuple[Any, ...]
    is_number: bool

    @property
    def words(self) -> str:
        """As the page calls it."""
        return WORDS.get(self.name, self.name.removeprefix("axis_").replace("_", " "))


def write_explorer(
    rows: Sequence[Row], command: str, version: str, made_by: str, path: str | os.PathLike[str]
) -> None:
    """Write the page. InputError where rows have no methods, or are too many for it."""
    document = render(rows, command, version, made_by)
    size = len(document.encode())
    if size > MAX_PAGE_BYTES:
        raise InputError(
            f"the explorer of {len(rows):,} rows would have {size / 1e6:.1f} MB, more than "
            f"{MAX_PAGE_BYTES / 1e6:.0f}; sweep fewer cells, or leave axes out"
        )
    write_page(document, path)


def render(rows: Sequence[Row], command: str, version: str, made_by: str) -> str:
    """The whole page."""
    answered = [dict(row) | {DEPLOYMENT: _deployment(row)} for row in rows if row.get("problem") is None]
    if not answered or "label" not in answered[0]:
        raise InputError(
            f"rows of svsim {command} have no methods to compare; explore a sweep of replay, analytic, "
            "serve-sim or plan"
        )
    dims, metrics = dimensions(answered), [m for m in METRICS if _is_known(answered, m.column)]
    if not metrics:
        raise InputError("no row has an answer to explore; see the column problem")
    title = f"Explore: svsim {command}"
    controls = [_control(number, dim) for number, dim in enumerate(dims)]
    numeric = [(number, dim.words) for number, dim in enumerate(dims) if dim.is_number]
    choices = [_list("metric", "what is shown", [(i, m.words) for i, m in enumerate(metrics)])]
    if numeric:
        choices.append(_list("along", "drawn along", numeric))
    heads = [element("th", "method", class_="words"), *(element("th", m.words) for m in metrics)]
    body = element(
        "main",
        element(
            "header",
            element("p", f"svsim {version} · {len(answered):,} rows of svsim {command}", class_="eyebrow"),
            element("h1", "What changes if ...?"),
        ),
        element(
            "div",
            element("form", *controls, element("hr"), *choices, class_="controls", autocomplete="off"),
            element(
                "div",
                element("p", "", class_="said", id="said", aria_live="polite"),
                element("div", "", class_="chart", id="chart"),
                element(
                    "div",
                    element(
                        "table",
                        element("thead", element("tr", *heads)),
                        element("tbody", "", id="rows"),
                    ),
                    class_="scroll",
                    tabindex="0",
                    role="region",
                    aria_label="All methods here",
                ),
            ),
            class_="desk",
        ),
        element(
            "noscript",
            element("p", "Sliders need JavaScript; all rows are in rows.parquet.", class_="notice"),
        ),
        element(
            "section", element("h2", "How this was made"), element("pre", text(made_by, 10_000)), id="made"
        ),
        footer(version),
    )
    data = _script_safe(data_of(answered, dims, metrics))
    scripts = (
        f'<script type="application/json" id="data">{data}</script>\n'
        f"<script>\n{resource('explorer.js')}</script>\n"
    )
    return small_page(title, resource("explorer.css"), join(body), scripts)


def dimensions(rows: Sequence[Row]) -> list[Dimension]:
    """What tells rows of one method apart: columns with more than one value."""
    names = [BATCH, DEPLOYMENT, *(n for n in rows[0] if n.startswith("axis_") and n not in IN_ROWS)]
    found = []
    for name in names:
        values: set[Any] = {row.get(name) for row in rows if row.get(name) is not None}
        if len(values) < 2 and not (name == BATCH and values):
            continue
        is_number = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        ordered = sorted(values) if is_number else list(dict.fromkeys(str(row.get(name)) for row in rows))
        found.append(Dimension(name, tuple(ordered), is_number))
    return found


def data_of(rows: Sequence[Row], dims: Sequence[Dimension], metrics: Sequence[Metric]) -> dict[str, Any]:
    """Columns of everything: places by dimension, series, values with their intervals."""
    labels = list(dict.fromkeys(row["label"] for row in rows))
    looks = looks_of({label: label.partition(":")[0] for label in labels}, _bounds(rows))
    places = [{value: i for i, value in enumerate(dim.values)} for dim in dims]
    kept = [row for row in rows if all(_key(row, dim) in at for dim, at in zip(dims, places, strict=True))]
    return {
        "dims": [
            {"words": dim.words, "is_number": dim.is_number, "values": [_shown(v) for v in dim.values]}
            for dim in dims
        ],
        "start": [len(dim.values) // 2 if dim.is_number else 0 for dim in dims],
        "series": [
            {
                "label": label[:MAX_NAME_LENGTH],
                "short": look.short,
                "glyph": look.glyph,
                "dash": dashes(look),
                "light": look.colour,
                "dark": DARK.get(look.colour, look.colour),
            }
            for label, look in looks.items()
        ],
        "metrics": [{"words": metric.words, "higher": metric.higher} for metric in metrics],
        "at": [[at[_key(row, dim)] for row in kept] for dim, at in zip(dims, places, strict=True)],
        "series_of": [labels.index(row["label"]) for row in kept],
        "values": [[_number(row.get(m.column), m.scale) for row in kept] for m in metrics],
        "low": [_ends(kept, m, "low") for m in metrics],
        "high": [_ends(kept, m, "high") for m in metrics],
    }


def _ends(rows: Sequence[Row], metric: Metric, end: str) -> list[float | None] | None:
    """Ends of intervals of the metric; None where it has none."""
    names = {f"{metric.column}_ci_{end}", f"{metric.column.removesuffix('_tok_s')}_ci_{end}"}
    name = next((name for name in names if name in rows[0]), None)
    return None if name is None else [_number(row.get(name), metric.scale) for row in rows]


def _key(row: Row, dim: Dimension) -> Any:
    value = row.get(dim.name)
    return value if dim.is_number or value is None else str(value)


def _shown(value: Any) -> Any:
    return value if isinstance(value, int | float) else str(value)[:MAX_NAME_LENGTH]


def _number(value: Any, scale: float) -> float | int | None:
    """Rounded to what a page can show."""
    if value is None or isinstance(value, bool | str) or not math.isfinite(value):
        return None
    rounded = float(f"{value * scale:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() else rounded


def _is_known(rows: Sequence[Row], column: str) -> bool:
    return any(_number(row.get(column), 1.0) is not None for row in rows)


def _bounds(rows: Sequence[Row]) -> set[str]:
    return {row["label"] for row in rows if row.get("is_bound")}


def _deployment(row: Row) -> str | None:
    hardware = row.get("hardware")
    if hardware is None:
        return None
    return deployment_name(str(hardware), _whole(row.get("tensor_parallel")), row.get("hardware_options"))


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _control(number: int, dim: Dimension) -> Html:
    """A slider with what it says, or a list."""
    if not dim.is_number:
        return _list(f"dim-{number}", dim.words, list(enumerate(dim.values)))
    name = f"dim-{number}"
    shown = element("output", "", id=f"out-{number}", for_=name)
    slider = element(
        "input", type="range", id=name, min="0", max=str(len(dim.values) - 1), step="1", value="0"
    )
    return join(element("label", element("span", dim.words), shown, for_=name), slider)


def _list(name: str, words: str, choices: Sequence[tuple[int, Any]]) -> Html:
    options = [element("option", text(value, MAX_NAME_LENGTH), value=str(i)) for i, value in choices]
    return join(element("label", words, for_=name), element("select", *options, id=name))


def _script_safe(document: Mapping[str, Any]) -> str:
    """JSON for a script element: no character in it can end the element."""
    packed = json.dumps(document, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return packed.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
