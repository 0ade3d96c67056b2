"""How methods and parts look: the same colour, dash and marker in every figure and both schemes.

Colours follow Okabe and Ito (2008), which people without full colour vision can tell apart; nothing
rests on colour alone: every method also has its own marker and dash, every part its own pattern.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from svsim.metrics.rows import ResultTable

T = TypeVar("T")

INK, MUTED, GRID, PAPER, WARNING = "#1b2330", "#5a6472", "#e3e7ec", "#ffffff", "#b3261e"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

# light colour -> its counterpart on a dark background
DARK: Mapping[str, str] = {
    INK: "#e8ebf0",
    MUTED: "#a3adba",
    GRID: "#2d3540",
    PAPER: "#171c24",
    WARNING: "#ff8a80",
    "#5f6773": "#b4bcc8",
    "#0072b2": "#56aee8",
    "#d55e00": "#ff8c42",
    "#009e73": "#36cfa0",
    "#b8860b": "#f0c04a",
    "#8a4f9e": "#c99add",
    "#7a4a2b": "#d2a27f",
    "#b0527f": "#eb9ac2",
    "#c9ced6": "#5d6775",
    "#7fb6e0": "#7fb6e1",
    "#eab464": "#eab465",
    "#34435a": "#9fb0c9",
    "#e0825f": "#e88f6d",
    "#7d9c8c": "#8fb3a1",
}
_TARGET_ONLY = "#5f6773"
_BOUND = "#b0527f"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b8860b", "#8a4f9e", "#7a4a2b")
_DASHES = ("solid", "dash", "dashdot", "longdash", "dot")
_MARKERS = {  # plotly's name -> the glyph that stands for it in text
    "square": "■",
    "circle": "●",
    "triangle-up": "▲",
    "diamond": "◆",
    "triangle-down": "▼",
    "star": "★",
    "pentagon": "⬟",
    "square-open": "□",
    "circle-open": "○",
    "triangle-up-open": "△",
    "diamond-open": "◇",
    "triangle-down-open": "▽",
    "star-open": "☆",
    "pentagon-open": "⬠",
    "triangle-left": "◀",
    "triangle-right": "▶",
    "triangle-left-open": "◁",
    "triangle-right-open": "▷",
    "hexagon": "⬢",
    "hexagon-open": "⬡",
}
_BOUND_MARKERS = {"cross": "✚", "asterisk-open": "✱", "star-diamond": "✦", "circle-cross-open": "⊕"}
_BOUND_DASHES = ("dot", "longdash", "dashdot", "dash")
_MAX_LABEL_LENGTH = 20


@dataclass(frozen=True, slots=True)
class MethodLook:
    """Colour (light scheme), line dash, plotly marker, its glyph, and a label that fits a figure."""

    label: str
    short: str
    colour: str
    dash: str
    marker: str
    glyph: str


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a stacked bar: a field of the rows or a derived count, how it is called and filled."""

    name: str
    words: str
    colour: str
    pattern: str  # of plotly, "" is solid


TIME_PARTS = (
    Part("overhead_time_s", "host overhead", "#c9ced6", ""),
    Part("draft_time_s", "draft", "#7fb6e0", "/"),
    Part("companion_time_s", "companion", "#eab464", "x"),
    Part("verify_time_s", "verify (target)", "#34435a", ""),
    Part("prefill_time_s", "prefill", "#7d9c8c", "\\"),
)
TOKEN_PARTS = (
    Part("accepted", "accepted", "#34435a", ""),
    Part("rejected", "verified, then rejected", "#e0825f", "/"),
    Part("unverified", "drafted, not verified", "#c9ced6", "."),
)


def looks(table: ResultTable) -> dict[str, MethodLook]:
    """The look of every method label of the table, by order of appearance."""
    bounds = {row.label for row in table.rows if row.is_bound}
    return looks_of({row.label: row.method for row in table.rows}, bounds)


def looks_of(methods: Mapping[str, str], bounds: Collection[str] = ()) -> dict[str, MethodLook]:
    """The look of every label (``sv:k=7``) of a method (``sv``), in their order; ``bounds`` are labels.

    Markers are all different up to 20 methods, pairs of colour and marker up to 60.
    """
    found: dict[str, MethodLook] = {}
    num_methods = num_bounds = 0
    for label, method in methods.items():
        if method == "td":
            look = (_TARGET_ONLY, "solid", "x", "✖")
        elif label in bounds:
            look = (_BOUND, _at(_BOUND_DASHES, num_bounds), *_at(list(_BOUND_MARKERS.items()), num_bounds))
            num_bounds += 1
        else:
            n = num_methods
            look = (_at(_COLOURS, n), _at(_DASHES, n), *_at(list(_MARKERS.items()), n))
            num_methods += 1
        found[label] = MethodLook(label, shortened(label), *look)
    return found


def _at(values: Sequence[T], number: int) -> T:
    """The value of that number, over and over."""
    return values[number % len(values)]


def shortened(label: str) -> str:
    """A label cut to what fits beside a figure; the marker still tells it apart."""
    return label if len(label) <= _MAX_LABEL_LENGTH else f"{label[: _MAX_LABEL_LENGTH - 1]}…"


def dashes(look: MethodLook) -> str:
    """The dash as an SVG ``stroke-dasharray``."""
    return {"solid": "none", "dash": "8 4", "dashdot": "8 3 2 3", "longdash": "13 4", "dot": "2 3"}[look.dash]
