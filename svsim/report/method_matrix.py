"""Methods x batch sizes: every method's speedup, and its share of the bound's gain, at a glance."""

from collections.abc import Mapping, Sequence

from svsim.metrics.rows import ResultRow, ResultTable
from svsim.report.html import Html, element, join, short_name
from svsim.report.palette import MethodLook
from svsim.report.strip import glyph
from svsim.report.tables import scrolling

STRONGEST = 55  # percent of colour at the largest gain of a batch size


def method_matrices(table: ResultTable, look_of: Mapping[str, MethodLook]) -> Html:
    """One matrix per hardware."""
    names = dict.fromkeys(row.deployment for row in table.rows)
    return join(*(_matrix([r for r in table.rows if r.deployment == n], n, look_of) for n in names))


def _matrix(rows: Sequence[ResultRow], name: str, look_of: Mapping[str, MethodLook]) -> Html:
    sizes = sorted({row.batch_size for row in rows})
    at = {(row.label, row.batch_size): row for row in rows}
    best = {size: _fastest([r for r in rows if r.batch_size == size and r.may_be_advised]) for size in sizes}
    gain = {size: max(_gain(r) for r in rows if r.batch_size == size) for size in sizes}
    lines = []
    for label in dict.fromkeys(row.label for row in rows):
        cells = [_cell(at.get((label, s)), gain[s], at.get((label, s)) is best[s]) for s in sizes]
        lines.append(element("tr", _name(look_of[label]), *cells))
    head = element("tr", element("th", "batch"), *(element("th", str(size)) for size in sizes))
    matrix = element("table", element("thead", head), element("tbody", *lines), class_="matrix")
    return join(element("h3", short_name(name)), scrolling(matrix, f"Methods of {name} by batch size"))


def _name(look: MethodLook) -> Html:
    """The name, and its options where they may break."""
    name, _, options = look.label.partition(":")
    return element("th", glyph(look), name, element("small", options.replace(",", ", ")))


def _fastest(rows: Sequence[ResultRow]) -> ResultRow | None:
    known = [row for row in rows if row.goodput_tok_s is not None]
    return max(known, key=lambda row: row.goodput_tok_s or 0.0, default=None)


def _gain(row: ResultRow) -> float:
    return (row.speedup_vs_td or 1.0) - 1.0


def _cell(row: ResultRow | None, largest_gain: float, is_best: bool) -> Html:
    if row is None or row.speedup_vs_td is None:
        return element("td", "-")
    share = _gain(row) / largest_gain if largest_gain > 0 else 0.0
    strength = round(STRONGEST * min(max(share, 0.0), 1.0))
    return element(
        "td",
        element("b", f"{row.speedup_vs_td:.2f}x"),
        None if row.oracle_gain_share is None else element("small", f"{row.oracle_gain_share:.0%}"),
        class_="best" if is_best else None,
        style=f"--strength:{strength}%",
    )
