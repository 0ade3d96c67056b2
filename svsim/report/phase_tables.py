"""Phase diagrams in words and tables, for the terminal and the page."""

from collections.abc import Sequence
from itertools import groupby

from svsim.metrics.phase import PhaseCell, PhaseDiagram
from svsim.report.formats import DASH
from svsim.report.plain_table import PlainTable


def sentences(diagrams: Sequence[PhaseDiagram]) -> list[str]:
    """What a diagram says, in words: methods by their share, what is open, what the replay says."""
    found = []
    for diagram in diagrams:
        known = [cell for cell in diagram.cells if cell.best is not None]
        shares: dict[str, int] = {}
        for cell in known:
            shares[cell.best or ""] = shares.get(cell.best or "", 0) + 1
        ranked = sorted(shares.items(), key=lambda item: -item[1])
        parts = ", ".join(f"{label} in {count / len(known):.0%}" for label, count in ranked[:5])
        found.append(
            f"{diagram.axis.capitalize()} by batch size: fastest is {parts} of {len(known)} cells; "
            f"{1.0 - diagram.settled_share:.0%} are too close to call (90 %, prices and sampling)."
        )
        unfit = sum(bool(cell.unfit) for cell in diagram.cells)
        if unfit:
            found.append(f"In {unfit} of them some methods do not fit in memory.")
        if diagram.checks:
            agreeing = sum(check.agrees for check in diagram.checks)
            apart = max(check.largest_difference for check in diagram.checks)
            found.append(
                f"Of {len(diagram.checks)} cells that were replayed, {agreeing} have the same fastest method "
                f"or one that the diagram leaves open; goodputs are at most {apart:.1%} apart."
            )
    return found


def caveats(diagrams: Sequence[PhaseDiagram]) -> list[str]:
    """What the levels are."""
    made = []
    for diagram in diagrams:
        if diagram.axis == "acceptance":
            made.append(
                "Acceptance is a what-if: odds of acceptance are multiplied alike for all tokens until the "
                f"first draft token has that mean (recorded: {diagram.recorded:.3f}); draws follow the "
                "recorded ones, signals stay as recorded."
            )
        else:
            made.append(
                "Context is a what-if: prompts are scaled until positions have that many tokens before them "
                f"on average (recorded: {diagram.recorded:,.0f}); acceptance stays as recorded."
            )
    return made


def bands_table(diagram: PhaseDiagram) -> PlainTable:
    """By level: runs of batch sizes with one fastest method; ~ where it is too close to call."""
    rows = []
    for place in reversed(range(len(diagram.levels))):
        cells = [diagram.at(place, j) for j in range(len(diagram.batch_sizes))]
        runs = [list(run) for _, run in groupby(cells, key=lambda cell: (cell.best, cell.is_settled))]
        rows.append([_level(diagram, diagram.levels[place]), "; ".join(map(_run, runs))])
    return PlainTable(
        f"{diagram.axis.capitalize()} by batch size",
        "Batch sizes and the method that is fastest there, with its speedup over td; ~ too close to call.",
        (diagram.axis, "fastest method"),
        rows,
        2,
    )


def map_table(diagram: PhaseDiagram) -> PlainTable:
    """Levels by batch sizes: the fastest method of every cell."""
    heads = (diagram.axis, *map(str, diagram.batch_sizes))
    rows = [
        [
            _level(diagram, diagram.levels[place]),
            *(_cell(diagram.at(place, j)) for j in range(len(diagram.batch_sizes))),
        ]
        for place in reversed(range(len(diagram.levels)))
    ]
    note = (
        f"fastest method; ~ too close to call; recorded {diagram.axis}: {_level(diagram, diagram.recorded)}"
    )
    return PlainTable(f"{diagram.axis.capitalize()} by batch size", note, heads, rows, 0)


def checks_table(diagram: PhaseDiagram) -> PlainTable:
    """Cells that were replayed."""
    rows = [
        [
            _level(diagram, check.level),
            str(check.batch_size),
            check.best,
            check.replayed_best,
            "yes" if check.agrees else "no",
            f"{check.largest_difference:.2%}",
        ]
        for check in diagram.checks
    ]
    return PlainTable(
        f"Replayed: {diagram.axis} by batch size",
        "A fastest method that the diagram leaves open counts as agreeing; the difference is the largest of "
        "any method's goodput.",
        (diagram.axis, "batch", "fastest", "in the replay", "agrees", "largest difference"),
        rows,
        1,
    )


def _run(cells: Sequence[PhaseCell]) -> str:
    first, last = cells[0], cells[-1]
    sizes = f"{first.batch_size}" if len(cells) == 1 else f"{first.batch_size} to {last.batch_size}"
    if first.best is None:
        return f"{sizes}: {first.why}"
    factors = [cell.speedup_vs_td or 1.0 for cell in (first, last)]
    speedups = f"{factors[0]:.2f}x" if len(cells) == 1 else f"{factors[0]:.2f}x to {factors[1]:.2f}x"
    doubt = "" if first.is_settled else "~"
    return f"{sizes}: {doubt}{first.best}" + ("" if first.best == "td" else f" ({speedups})")


def _cell(cell: PhaseCell) -> str:
    return DASH if cell.best is None else cell.best + ("" if cell.is_settled else "~")


def _level(diagram: PhaseDiagram, level: float) -> str:
    return f"{level:.2f}" if diagram.axis == "acceptance" else f"{level:,.0f}"
