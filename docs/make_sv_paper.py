"""The tables and the picture of docs/sv_paper.md, from one run of ``svsim reproduce sv-paper``.

python docs/make_sv_paper.py        (needs Chromium; rewrites docs/sv_paper.md and docs/img/sv_paper.png)
"""

import tempfile
from pathlib import Path

from make_pictures import photograph

from svsim.papers.sv_paper.sv_paper import Reproduction, reproduce_sv_paper
from svsim.report.accuracy_view import PlainTable
from svsim.report.reproduction_costs import modern_table, serial_cost_table
from svsim.report.reproduction_figures import SCENARIO_LOOKS, scenario_figure
from svsim.report.reproduction_tables import (
    fairness_table,
    implied_lengths_table,
    implied_steps_table,
    savings_table,
    variants_table,
)
from svsim.report.reproduction_view import (
    acceptance_table,
    calibration_table,
    claim_lines,
    errors_table,
    findings,
    scenario_table,
)

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "sv_paper.md"
BEGIN, END = "<!-- made by make_sv_paper.py -->\n", "<!-- end -->"


def markdown(table: PlainTable) -> str:
    """A plain table as Markdown, under its caption."""
    rule = ["---" if place < table.num_words else "---:" for place in range(len(table.heads))]
    lines = [f"| {' | '.join(cells)} |" for cells in (table.heads, rule, *table.rows)]
    return "\n".join([f"### {table.caption}", "", *lines, "", table.note, ""])


def claims(found: Reproduction) -> str:
    """Every claim with its verdict and reason."""
    rows = ["| claim | verdict | why |", "|---|---|---|"]
    for verdict, name, statement, reason in claim_lines(found.claims):
        rows.append(f"| **{name}** ({statement}) | {verdict} | {reason} |")
    return "\n".join(["### Claims", "", *rows, ""])


def picture(found: Reproduction, path: Path) -> None:
    """The figure of scenarios with its key."""
    figure = scenario_figure(found.panels)
    key = " &emsp; ".join(
        f'<span style="white-space:nowrap"><b style="color:{look.colour}">{look.glyph}</b> '
        f"{look.label}</span>"
        for look in SCENARIO_LOOKS.values()
    )
    figure.update_layout(width=900)
    plot = figure.to_html(include_plotlyjs=True, full_html=False, config={"displayModeBar": False})
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "figure.html"
        page.write_text(
            '<!doctype html><meta charset="utf-8"><body style="margin:12px;font:14px system-ui">'
            f'<div style="width:880px;line-height:1.7">{key}</div>{plot}',
            encoding="utf-8",
        )
        photograph(page, path, 930, int(figure.layout.height) + 90)


def main() -> None:
    """Run once, rewrite between the marks."""
    found = reproduce_sv_paper(sorted((ROOT / "traces").glob("*.parquet")))
    tables = [
        errors_table(found),
        scenario_table(found),
        acceptance_table(found),
        serial_cost_table(found),
        modern_table(found),
        calibration_table(found),
        variants_table(found.variants),
        implied_steps_table(found.variants),
        savings_table(found),
        implied_lengths_table(found),
        fairness_table(found),
    ]
    made = "\n".join([*(f"- {line}" for line in findings(found)), "", *map(markdown, tables), claims(found)])
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")
    picture(found, ROOT / "docs" / "img" / "sv_paper.png")


if __name__ == "__main__":
    main()
