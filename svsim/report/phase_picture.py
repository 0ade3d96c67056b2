"""Phase diagrams as one SVG picture: regions of the fastest method, hatched where it is too close to call."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from svsim.metrics.phase import PhaseCell, PhaseDiagram
from svsim.report.html import Html, element, join
from svsim.report.palette import FONT, INK, MUTED, PAPER
from svsim.report.phase_look import LEVELS, colours, contour, ink_on

UNKNOWN = "#f4f5f7"
MAX_SUBTITLE_LINES, LINE_HEIGHT = 3, 17
LETTER_WIDTH = 0.68  # of bold sans, in font sizes
AXES = {
    "acceptance": "Acceptance of the first draft token",
    "context": "Mean context, tokens",
}


@dataclass(frozen=True, slots=True)
class Canvas:
    """Sizes in user units: of the picture, of one panel, and where panels go."""

    width: int
    panel_width: int
    panel_height: int
    columns: int
    font: int

    left: int = 58
    top: int = 66
    gap_x: int = 86
    gap_y: int = 96


WIDE = Canvas(width=1280, panel_width=530, panel_height=430, columns=2, font=15)
NARROW = Canvas(width=380, panel_width=312, panel_height=300, columns=1, font=13)


def phase_svg(diagrams: Sequence[PhaseDiagram], title: str, subtitle: str, canvas: Canvas) -> Html:
    """The whole picture; names are escaped."""
    labels = list(dict.fromkeys(cell.best for d in diagrams for cell in d.cells if cell.best))
    labels = sorted(labels, key=lambda label: (label != "td", not label.startswith("sd:"), label))
    colour_of = colours(labels)
    rows = -(-len(diagrams) // canvas.columns)
    has_empty = any(cell.best is None for d in diagrams for cell in d.cells)
    key, key_height = _key(labels, colour_of, canvas, has_empty)
    step_y = canvas.panel_height + canvas.gap_y
    lines = textwrap.wrap(subtitle, canvas.width // (canvas.font - 6), max_lines=MAX_SUBTITLE_LINES)
    top = canvas.top + LINE_HEIGHT * (len(lines) - 1)
    key_top = top + rows * step_y - 24
    height = key_top + key_height + 8
    panels = [
        _moved(
            _panel(diagram, colour_of, canvas),
            canvas.left + (place % canvas.columns) * (canvas.panel_width + canvas.gap_x),
            top + (place // canvas.columns) * step_y + 22,
        )
        for place, diagram in enumerate(diagrams)
    ]
    hatch = element(
        "pattern",
        element(
            "path", d="M-1 8L8 -1M6 8L8 6M-1 1L1 -1", stroke=PAPER, stroke_width="2.6", stroke_opacity="0.8"
        ),
        element("path", d="M-1 8L8 -1M6 8L8 6M-1 1L1 -1", stroke=INK, stroke_width="1"),
        id=f"open-{canvas.width}",
        width="7",
        height="7",
        patternUnits="userSpaceOnUse",
    )
    return element(
        "svg",
        element("title", f"{title}: the fastest method by batch size"),
        element("defs", hatch),
        element("rect", width=str(canvas.width), height=str(height), fill=PAPER),
        _text(canvas.left - 46, 26, title, canvas.font + 5, weight="650"),
        *(
            _text(canvas.left - 46, 48 + LINE_HEIGHT * number, line, canvas.font - 2, MUTED)
            for number, line in enumerate(lines)
        ),
        *panels,
        _moved(key, canvas.left - 46, key_top),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {canvas.width} {height}",
        font_family=FONT,
        role="img",
    )


def _panel(diagram: PhaseDiagram, colour_of: dict[str, str], canvas: Canvas) -> Html:
    step_x = canvas.panel_width / len(diagram.batch_sizes)
    step_y = canvas.panel_height / len(diagram.levels)
    frame = _Frame(diagram, step_x, step_y, canvas)
    taken: list[Box] = []
    names, recorded = frame.names(colour_of, taken), frame.recorded(taken)
    return join(
        _text(0, -12, AXES.get(diagram.axis, diagram.axis), canvas.font, weight="600"),
        *(frame.cell(level, size, colour_of) for level, size in frame.places()),
        *frame.borders(),
        *frame.speedups(taken),
        *names,
        *recorded,
        *frame.axes(),
    )


@dataclass(frozen=True, slots=True)
class Box:
    """Where words stand: middle, and half of their width and height."""

    x: float
    y: float
    half_width: float
    half_height: float

    @classmethod
    def of(cls, x: float, y: float, words: str, font: int) -> "Box":
        """Of bold words around a middle."""
        return cls(x, y, LETTER_WIDTH * font * len(words) / 2.0 + 3.0, 0.62 * font + 1.0)

    def meets(self, other: "Box") -> bool:
        """Whether the two overlap."""
        return (
            abs(self.x - other.x) < self.half_width + other.half_width
            and abs(self.y - other.y) < self.half_height + other.half_height
        )


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where cells of a panel lie; the first level is at the bottom."""

    diagram: PhaseDiagram
    step_x: float
    step_y: float
    canvas: Canvas

    def places(self) -> list[tuple[int, int]]:
        """(level, size) numbers of all cells."""
        return [(i, j) for i in range(len(self.diagram.levels)) for j in range(len(self.diagram.batch_sizes))]

    def x(self, size: float) -> float:
        """Left end of a batch size's column."""
        return size * self.step_x

    def y(self, level: float) -> float:
        """Upper end of a level's row."""
        return self.canvas.panel_height - (level + 1.0) * self.step_y

    def cell(self, level: int, size: int, colour_of: dict[str, str]) -> Html:
        """The colour of the fastest method, hatched where it is open, with its numbers as a tooltip."""
        cell = self.diagram.at(level, size)
        box = {
            "x": f"{self.x(size):.2f}",
            "y": f"{self.y(level):.2f}",
            "width": f"{self.step_x + 0.3:.2f}",
            "height": f"{self.step_y + 0.3:.2f}",
            "shape_rendering": "crispEdges",
        }
        told = element("title", told_of(self.diagram.axis, cell))
        fill = UNKNOWN if cell.best is None else colour_of[cell.best]
        plain = element("rect", told, fill=fill, **box)
        if cell.best is None or cell.is_settled:
            return plain
        hatch = element("rect", told, fill=f"url(#open-{self.canvas.width})", **box)
        return join(plain, hatch)

    def borders(self) -> list[Html]:
        """A white line between neighbours with different fastest methods."""
        parts = []
        for level, size in self.places():
            best = self.diagram.at(level, size).best
            if size + 1 < len(self.diagram.batch_sizes) and best != self.diagram.at(level, size + 1).best:
                parts.append(f"M{self.x(size + 1):.1f} {self.y(level):.1f}v{self.step_y:.1f}")
            if level + 1 < len(self.diagram.levels) and best != self.diagram.at(level + 1, size).best:
                parts.append(f"M{self.x(size):.1f} {self.y(level):.1f}h{self.step_x:.1f}")
        return [_path("".join(parts), PAPER, 2.5, stroke_linecap="square")] if parts else []

    def speedups(self, taken: list[Box]) -> list[Html]:
        """Lines of equal speedup over target-only decoding, each with its number where there is room."""
        values = {
            (size, level): speedup
            for level, size in self.places()
            if (speedup := self.diagram.at(level, size).speedup_vs_td) is not None
        }
        lines, numbers = [], []
        for factor in LEVELS:
            pieces = list(contour(values, factor))
            if not pieces:
                continue
            path = "".join(
                f"M{self.x(a[0] + 0.5):.1f} {self.y(a[1] - 0.5):.1f}L{self.x(b[0] + 0.5):.1f} "
                f"{self.y(b[1] - 0.5):.1f}"
                for a, b in pieces
            )
            lines.append(_path(path, PAPER, 3.4, stroke_opacity="0.6"))
            lines.append(_path(path, INK, 1.8, stroke_dasharray="1 4", stroke_linecap="round"))
            numbers.append(
                self._number([point for piece in pieces for point in piece], f"{factor:g}x", taken)
            )
        return lines + numbers

    def _number(self, points: Sequence[tuple[float, float]], words: str, taken: list[Box]) -> Html:
        """As far to the left on its line as nothing else stands; nowhere if the line has no such place."""
        size = self.canvas.font - 3
        for column, row in sorted(set(points), key=lambda point: (max(point[0], 0.6), point[1])):
            box = Box.of(self.x(column + 0.5), self.y(row - 0.5), words, size)
            if self._holds(box) and not any(box.meets(other) for other in taken):
                taken.append(box)
                return _label(box, words, size)
        return Html("")

    def _holds(self, box: Box) -> bool:
        """Whether a box lies inside of the panel."""
        across = box.half_width <= box.x <= self.canvas.panel_width - box.half_width
        return across and box.half_height <= box.y <= self.canvas.panel_height - box.half_height

    def names(self, colour_of: dict[str, str], taken: list[Box]) -> list[Html]:
        """The method's name where its region is widest, if it has the room."""
        made, font = [], self.canvas.font + 1
        for label, colour in colour_of.items():
            run = self._widest(label)
            if run is None:
                continue
            level, first, length = run
            box = Box.of(self.x(first + length / 2.0), self.y(level) + self.step_y / 2.0, label, font)
            if length * self.step_x < 2.0 * box.half_width:
                continue
            taken.append(box)
            ink = ink_on(colour)
            made.append(_text(box.x, box.y + 5, label, font, ink, "middle", "650", halo_colour=colour))
        return made

    def _widest(self, label: str) -> tuple[int, int, int] | None:
        """(level, first size, length) of a long run of its cells, in the middle of the region's height."""
        runs = []
        for level in range(len(self.diagram.levels)):
            length = 0
            for size in range(len(self.diagram.batch_sizes) + 1):
                inside = size < len(self.diagram.batch_sizes)
                if inside and self.diagram.at(level, size).best == label:
                    length += 1
                elif length:
                    runs.append((level, size - length, length))
                    length = 0
        if not runs:
            return None
        longest = max(length for *_, length in runs)
        long = [run for run in runs if run[2] >= 0.8 * longest]
        own = self._recorded_level()
        clear = [run for run in long if own is None or abs(run[0] - own) * self.step_y > self.canvas.font]
        long = clear or long
        return long[len(long) // 2]

    def _recorded_level(self) -> float | None:
        """Where among the levels the trace itself lies; None beyond them."""
        levels, own = self.diagram.levels, self.diagram.recorded
        if not levels[0] <= own <= levels[-1]:
            return None
        above = next(i for i, level in enumerate(levels) if level >= own)
        below = max(above - 1, 0)
        span = levels[above] - levels[below]
        return below + ((own - levels[below]) / span if span > 0 else 0.0)

    def recorded(self, taken: list[Box]) -> list[Html]:
        """The level that the trace itself has."""
        level, own = self._recorded_level(), self.diagram.recorded
        if level is None:
            return []
        y, size = self.y(level) + self.step_y / 2.0, self.canvas.font - 3
        words = f"as recorded: {own:,.3g}" if own < 10 else f"as recorded: {own:,.0f}"
        box = Box.of(0.0, y, words, size)
        box = Box(box.half_width + 5.0, y, box.half_width, box.half_height)
        taken.append(box)
        line = _path(f"M0 {y:.1f}H{self.canvas.panel_width}", INK, 1.4, stroke_dasharray="7 5")
        return [line, _label(box, words, size)]

    def axes(self) -> list[Html]:
        """Batch sizes below, levels on the left."""
        size, made = self.canvas.font - 3, []
        below, every = self.canvas.panel_height + 18, 1 if self.step_x > 30 else 2
        for j, batch in enumerate(self.diagram.batch_sizes):
            if j % every == 0:
                made.append(_text(self.x(j + 0.5), below, str(batch), size, MUTED, "middle"))
        every = max(1, round(26 / self.step_y))
        for i, level in enumerate(self.diagram.levels):
            if i % every == 0:
                words = f"{level:.2f}" if self.diagram.axis == "acceptance" else f"{level:,.0f}"
                made.append(_text(-8, self.y(i) + self.step_y / 2.0 + 4, words, size, MUTED, "end"))
        middle = self.canvas.panel_width / 2.0
        made.append(_text(middle, self.canvas.panel_height + 40, "batch size", size + 1, MUTED, "middle"))
        return made


def told_of(axis: str, cell: PhaseCell) -> str:
    """A cell in words."""
    level = f"{cell.level:.2f}" if axis == "acceptance" else f"{cell.level:,.0f} tokens"
    where = f"batch {cell.batch_size}, {axis} {level}"
    if cell.best is None:
        return f"{where}: {cell.why}"
    words = f"{where}: {cell.best}, {cell.speedup_vs_td:.2f}x of td"
    if cell.best != "td":
        words += f" (90 %: {cell.low:.2f} to {cell.high:.2f})"
    if cell.runner_up is not None:
        words += f"; {100 * ((cell.lead or 1.0) - 1.0):.1f} % ahead of {cell.runner_up}"
    words += f"; could be {', '.join(cell.could_be)}" if cell.could_be else ""
    return words + (f"; no memory for {', '.join(cell.unfit)}" if cell.unfit else "")


def _key(
    labels: Sequence[str], colour_of: dict[str, str], canvas: Canvas, has_empty: bool
) -> tuple[Html, int]:
    """Swatches in lines that fit the width, and their height."""
    entries = [(label, colour_of[label], "") for label in labels]
    entries += [
        ("too close to call", UNKNOWN, f"url(#open-{canvas.width})"),
        *([("no answer", UNKNOWN, "none")] if has_empty else []),
        ("1.5x  speedup over td", "", "line"),
    ]
    made, x, y = [], 0.0, 0.0
    for words, colour, over in entries:
        width = 34 + 0.56 * (canvas.font - 1) * len(words) + 18
        if x and x + width > canvas.width - 24:
            x, y = 0.0, y + 24.0
        made.append(_swatch(x, y, colour, over))
        made.append(_text(x + 30, y + 12, words, canvas.font - 2, INK))
        x += width
    return join(*made), int(y) + 22


def _swatch(x: float, y: float, colour: str, over: str) -> Html:
    box = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": "23", "height": "15", "rx": "2"}
    if over == "line":
        return _path(f"M{x:.1f} {y + 8:.1f}h23", INK, 1.8, stroke_dasharray="1 4", stroke_linecap="round")
    plain = element("rect", fill=colour, **box)
    if not over:
        return plain
    return join(plain, element("rect", fill=over, stroke=MUTED, stroke_width="0.6", **box))


def _label(box: Box, words: str, font: int) -> Html:
    """Words on a plate of paper, which are read on every colour."""
    plate = element(
        "rect",
        x=f"{box.x - box.half_width:.1f}",
        y=f"{box.y - box.half_height:.1f}",
        width=f"{2.0 * box.half_width:.1f}",
        height=f"{2.0 * box.half_height:.1f}",
        rx="3",
        fill=PAPER,
        fill_opacity="0.9",
        pointer_events="none",
    )
    return join(plate, _text(box.x, box.y + 0.36 * font, words, font, INK, "middle", "600"))


def _path(numbers: str, stroke: str, width: float, **attributes: str) -> Html:
    """A line; its numbers, which may be many, are ours."""
    rest = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return Html(f'<path d="{numbers}" fill="none" stroke="{stroke}" stroke-width="{width}"{rest}/>')


def _text(
    x: float,
    y: float,
    words: str,
    size: int,
    fill: str = INK,
    anchor: str = "start",
    weight: str = "400",
    halo_colour: str = "",
) -> Html:
    return element(
        "text",
        words,
        x=f"{x:.1f}",
        y=f"{y:.1f}",
        font_size=str(size),
        fill=fill,
        text_anchor=anchor,
        font_weight=weight,
        stroke=halo_colour or None,
        stroke_width="4" if halo_colour else None,
        stroke_opacity="0.85" if halo_colour else None,
        paint_order="stroke" if halo_colour else None,
        pointer_events="none" if halo_colour else None,
    )


def _moved(inner: Html, x: float, y: float) -> Html:
    return element("g", inner, transform=f"translate({x:.1f} {y:.1f})")
