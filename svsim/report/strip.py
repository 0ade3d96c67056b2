"""The band strip: the best method by batch size, hatched where the intervals do not settle it."""

from collections.abc import Mapping

from svsim.metrics.rows import ResultRow, ResultTable
from svsim.report.html import Html, element, join, short_name
from svsim.report.palette import DARK, MethodLook
from svsim.report.recommendation import bands, best_by_batch_size, span_text


def tone(colour: str) -> str:
    """A style attribute that carries a colour and its counterpart in the dark scheme."""
    return f"--light:{colour};--dark:{DARK[colour]}"


def glyph(look: MethodLook) -> Html:
    """The marker of a method, in its colour."""
    return element("span", look.glyph, class_="glyph tone", style=tone(look.colour), aria_hidden="true")


def band_strip(table: ResultTable, look_of: Mapping[str, MethodLook]) -> Html:
    """One strip per hardware, and what the hatching means; nothing where fewer than two methods ran."""
    strips: list[Html] = []
    for hardware in dict.fromkeys(r.deployment for r in table.rows):
        best = best_by_batch_size(table, hardware)
        if best:
            strips.append(
                element("div", element("h3", short_name(hardware)), _strip(best, look_of), class_="strip")
            )
    if not strips:
        return Html("")
    return join(
        element("h2", "Best method by batch size"),
        *strips,
        element(
            "p",
            element("span", element("i"), "settled by the 95 % intervals"),
            element("span", element("i", class_="open"), "not settled: within the noise"),
            class_="legend",
        ),
    )


def _strip(best: list[tuple[ResultRow, bool]], look_of: Mapping[str, MethodLook]) -> Html:
    cells = []
    for at, (row, settled) in enumerate(best, start=1):
        words = f"batch {row.batch_size}: {row.label}, {'settled' if settled else 'not settled'}"
        cells.append(element("div", str(row.batch_size), class_="size", style=f"--at:{at}"))
        cells.append(
            element(
                "div",
                class_="settled" if settled else "settled open",
                style=f"--at:{at}",
                title=words,
                role="img",
                aria_label=words,
            )
        )
    at = 1
    for band in bands(best):
        look = look_of[band[0][0].label]
        cells.append(_band([row for row, _ in band], look, at))
        at += len(band)
    return element("div", *cells, class_="cells", style=f"--count:{len(best)}")


def _band(rows: list[ResultRow], look: MethodLook, at: int) -> Html:
    gain = None
    if rows[0].method != "td":
        gain = element("small", f"{span_text([r.speedup_vs_td for r in rows])} target-only")
    return element(
        "div",
        glyph(look),
        element("b", look.label),
        gain,
        class_="band tone",
        style=f"{tone(look.colour)};--at:{at};--span:{len(rows)}",
    )
