"""Predicted against measured, as people see it."""

from pathlib import Path

import pytest
from rich.console import Console

from svsim.errors import InputError
from svsim.metrics.accuracy import GoodputPair, MarginalPair, accuracy
from svsim.report.accuracy import print_accuracy, summary_lines
from svsim.report.accuracy_page import accuracy_figure, write_accuracy_page

FOUND = accuracy(
    [
        GoodputPair("td", 1, 100.0, 100.0),
        GoodputPair("sd:k=3", 1, 230.0, 200.0, 5.0),
        GoodputPair("td", 8, 800.0, 790.0),
        GoodputPair("sd:k=3", 8, 900.0, 700.0),
    ],
    [MarginalPair(8, 1.2e-4, 1e-4)],
)


def test_the_table_says_what_was_missed(capsys: pytest.CaptureFixture[str]) -> None:
    print_accuracy(FOUND, Console(width=160), "a [bold]file[/bold]")
    shown = capsys.readouterr().out
    assert "a [bold]file[/bold]" in shown and "200.0 ± 5.0" in shown and "+15.0%" in shown
    assert "sd:k=3 recommended, td was fastest" in shown
    assert "sd:k=3 stops paying at batch none predicted, 8 measured" in shown


def test_summary_judges_by_the_targets() -> None:
    lines = {what: (value, aim, met) for what, value, aim, met in summary_lines(FOUND)}
    assert lines["goodput, worst error"] == ("28.6%", "<= 8.0%", "no")
    assert lines["seconds per verified token, mean error"] == ("20.0%", "<= 10.0%", "no")
    assert lines["crossover, batch-grid steps apart at worst"] == ("1", "<= 1", "yes")


def test_figure_and_page(tmp_path: Path) -> None:
    figure = accuracy_figure(FOUND)
    assert [trace.mode for trace in figure.data] == ["lines", "markers"] * 2
    assert list(figure.data[3].y) == [200.0, 700.0]
    page = tmp_path / "page.html"
    write_accuracy_page(FOUND, page, "<script>x</script>", "svsim validate --bench b.csv")
    written = page.read_text()
    assert "<script>x</script>" not in written and "svsim validate --bench b.csv" in written
    with pytest.raises(InputError, match="cannot be written"):
        write_accuracy_page(FOUND, tmp_path / "no" / "page.html", "t", "c")
