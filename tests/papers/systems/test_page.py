"""docs/papers.md holds what ``svsim reproduce`` finds today."""

import importlib.util
from pathlib import Path

from svsim.papers.table import SYSTEMS

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_the_page_is_current():
    spec = importlib.util.spec_from_file_location("make_papers", DOCS / "make_papers.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    text = (DOCS / "papers.md").read_text(encoding="utf-8")
    assert text == maker.page(text), "run python docs/make_papers.py"
    assert all(f"### {name}\n" in text for name in SYSTEMS)


def test_the_readme_has_todays_counts():
    from svsim.papers.reproduction import reproduce_systems

    found = reproduce_systems(None, {}).systems
    yes, no = (sum(getattr(s.score, name) for s in found) for name in ("confirmed", "not_confirmed"))
    readme = " ".join((DOCS.parent / "README.md").read_text(encoding="utf-8").split())
    assert f"{len(found)} published systems" in readme
    assert f"{yes} rows are within the tolerance set for them, {no} are not" in readme


def test_the_terminal_fits_in_80_columns_and_in_colour():
    import io

    from rich.console import Console

    from svsim.papers.reproduction import reproduce_systems
    from svsim.report.systems import print_systems

    for name in (None, "magicdec"):
        console = Console(width=80, record=True, file=io.StringIO(), force_terminal=True)
        print_systems(reproduce_systems(name, {}), console)
        coloured, text = console.export_text(styles=True, clear=False), console.export_text()
        assert all(len(line.rstrip()) <= 80 for line in text.splitlines())
        assert "\x1b[" in coloured
    assert "confirmed" in text and "saturates earlier" in " ".join(text.split())


def test_a_result_writes_its_page(tmp_path):
    import svsim

    svsim.reproduce("chen").report(tmp_path / "page.html", command="mine")
    page = (tmp_path / "page.html").read_text()
    assert "mine" in page and "not confirmed" in page and "XSum, nucleus" in page


def test_every_cell_stands_under_its_head():
    from svsim.papers.reproduction import reproduce_systems
    from svsim.report.systems_view import rows_table, scores_table

    found = reproduce_systems(None, {})
    for system, cells in zip(found.systems, scores_table(found).rows, strict=True):
        line = dict(zip(scores_table(found).heads, cells, strict=True))
        assert (line["system"], line["predicted from"]) == (system.system.name, system.system.law)
        assert (line["confirmed"], line["not"]) == (
            f"{system.score.confirmed}",
            f"{system.score.not_confirmed}",
        )
    (chen,) = reproduce_systems("chen", {}).systems
    line = dict(zip(rows_table(chen).heads, rows_table(chen).rows[0], strict=True))
    assert (line["published"], line["predicted"], line["error"]) == ("1.92", "1.875", "-2.3%")
    assert (line["role"], line["verdict"]) == ("predicted", "not confirmed")
