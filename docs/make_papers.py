"""The tables of docs/papers.md, from one run of ``svsim reproduce``.

python docs/make_papers.py          (rewrites docs/papers.md between its marks)
"""

from pathlib import Path

from svsim.papers.reproduction import SystemResult, SystemsResult, reproduce_systems
from svsim.papers.rows import Role, Verdict
from svsim.report.plain_table import PlainTable
from svsim.report.systems_view import WORDS, rows_table, score_line, scores_table, value

PAGE = Path(__file__).resolve().parent / "papers.md"
BEGIN, END = "<!-- made by make_papers.py -->\n", "<!-- end -->"


def markdown(table: PlainTable) -> str:
    """A plain table as Markdown, without caption and note."""
    rule = ["---" if place < table.num_words else "---:" for place in range(len(table.heads))]
    rule = ["---" if head in WORDS else mark for head, mark in zip(table.heads, rule, strict=True)]
    return "\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in (table.heads, rule, *table.rows))


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def scores(found: SystemsResult) -> str:
    """One line per system, with a link to its rows."""
    table = scores_table(found)
    rows = [[f"[{name}](#{name})", *rest] for name, *rest in table.rows]
    return markdown(PlainTable(table.caption, "", table.heads, rows, table.num_words))


def system(found: SystemResult) -> str:
    """A system's findings and rows."""
    table = rows_table(found)
    lines = [f"- {line}" for line in found.findings]
    parts = [f"### {found.system.name}", f"**{found.system.title}.** {table.note}", "\n".join(lines)]
    return "\n\n".join([*(part for part in parts if part), markdown(table), score_line(found)])


def not_confirmed(found: SystemsResult) -> str:
    """Rows outside their tolerance, with the reason."""
    rows = [row for row in found.rows if row.verdict is Verdict.NOT_CONFIRMED]
    return "\n".join(
        f"- **{row.system}**, {row.metric} ({row.setting}): {value(row.published)} printed, "
        f"{value(row.predicted)} predicted ({row.error:+.1%}): {row.reason}"
        for row in rows
    )


def cannot_be_checked(found: SystemsResult) -> str:
    """Published numbers that nothing predicts, by reason."""
    settings: dict[tuple[str, str, str], list[str]] = {}
    for row in found.rows:
        if row.role is Role.PREDICTED and row.published is not None and row.predicted is None:
            settings.setdefault((row.system, row.metric, row.reason), []).append(row.setting)
    return "\n".join(
        f"- **{name}**, {metric} ({'; '.join(where)}): {why}"
        for (name, metric, why), where in settings.items()
    )


def made(found: SystemsResult) -> str:
    """Everything between the marks."""
    parts = [
        "## All systems",
        scores(found),
        "Verdicts on predicted rows only. Errors (mean, largest) are of rows with a verdict.",
        "## Where a finding contradicts its paper",
        "\n".join(f"- **{s.system.name}**: {words}" for s in found.systems for words in s.objections),
        "## What is not confirmed",
        not_confirmed(found),
        "## What cannot be checked",
        cannot_be_checked(found),
        "## Every row",
        *map(system, found.systems),
    ]
    return "\n\n".join(parts)


def page(text: str) -> str:
    """The page with what is between its marks made anew."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{made(reproduce_systems(None, {}))}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
