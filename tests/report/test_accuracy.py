"""Predicted against measured, as people see it."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.browser import CHROMIUM, look_at

from svsim.errors import InputError
from svsim.metrics.accuracy import GoodputPair, MarginalPair, accuracy
from svsim.report.accuracy import print_accuracy
from svsim.report.accuracy_figures import agreement_figure, error_figure, goodput_figure, marginal_figure
from svsim.report.accuracy_page import render, write_accuracy_page
from svsim.report.accuracy_view import AccuracyView, bench_view, live_view, loop_view, summary_lines

FOUND = accuracy(
    [
        GoodputPair("td", 1, 100.0, 100.0),
        GoodputPair("sd:k=3", 1, 230.0, 200.0, 5.0),
        GoodputPair("td", 8, 800.0, 790.0),
        GoodputPair("sd:k=3", 8, 900.0, 700.0),
    ],
    [MarginalPair(1, 3e-4, 2e-4), MarginalPair(8, 1.2e-4, 1e-4)],
)
LOOP_ROW = {
    "method": "sd:k=3", "batch_size": 8, "mean_verification_length": 3.0, "mean_context": 70.4,
    "predicted_draft_s": 0.002, "measured_draft_s": 0.003, "predicted_companion_s": 0.0,
    "measured_companion_s": 1e-6, "predicted_verify_s": 0.010, "measured_verify_s": 0.011, "host_s": 0.001,
    "online_step_s": 0.016,
}  # fmt: skip
LOOP = {
    "kind": "hardware in the loop", "hardware": "cpu", "latency_source": "measured", "rows": [LOOP_ROW],
    "acceptance_kind": "synthetic", "left_out_batch_sizes": {"64": "out of memory"}, "host_overhead_s": 0.001,
    "retest": {"num_shapes": 5, "median_change": 0.1, "p95_change": 0.2, "common_scale_change": 0.05},
    "command": "svsim validate", "models": {"target": "t"},
}  # fmt: skip
LIVE_ROW = {
    "method": "sv:k=3", "lossless": False, "predicted_acceptance_length": 2.0,
    "measured_acceptance_length": 2.1, "acceptance_length_standard_error": 0.05,
    "predicted_verification_length": 2.5, "measured_verification_length": 2.4,
    "law": {"p_value": 0.31, "power": 0.85},
}  # fmt: skip
LIVE = {"kind": "live run", "hardware": "h200_sxm", "models": {"target": "trip"}, "live_rows": [LIVE_ROW]}


def bench(title: str = "a [bold]file[/bold]") -> AccuracyView:
    return bench_view(FOUND, title, {"results": "bench.csv"})


def loop() -> AccuracyView:
    return loop_view(LOOP, {"device": FOUND, "re-timed": None, "wall clock": FOUND})


def shown(view: AccuracyView, capsys: pytest.CaptureFixture[str]) -> str:
    print_accuracy(view, Console(width=200))
    return capsys.readouterr().out


def test_the_table_says_what_was_missed(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(bench(), capsys)
    assert "a [bold]file[/bold]" in text and "200.0 ± 5.0" in text and "+15.0%" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "8 sd:k=3 td 11.4%" in lines  # recommended, fastest, lost
    assert "sd:k=3 none 8 1" in lines  # crossover: predicted, measured, apart
    assert "8 0.120 0.100 +20.0%" in lines  # ms per verified token


def test_summary_judges_by_the_targets() -> None:
    lines = {what: rest for what, *rest in summary_lines({"found": FOUND})}
    assert lines["goodput, worst error"] == ["28.6%", "<= 8.0%", "no"]
    assert lines["seconds per verified token, mean error"] == ["35.0%", "<= 10.0%", "no"]
    assert lines["crossover, batch-grid steps apart at worst"] == ["1", "<= 1", "yes"]


def test_several_accuracies_stand_side_by_side_and_the_first_is_judged() -> None:
    perfect = accuracy([GoodputPair(r.label, r.batch_size, 1.0, 1.0) for r in FOUND.rows])
    lines = {what: rest for what, *rest in summary_lines({"first": perfect, "second": FOUND})}
    assert lines["goodput, worst error"] == ["0.0%", "28.6%", "<= 8.0%", "yes"]
    assert lines["seconds per verified token, mean error"] == ["-", "35.0%", "<= 10.0%", ""]


def test_a_loop_is_shown_by_part_with_its_drift(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(loop(), capsys)
    assert list(loop().accuracies) == ["device", "wall clock"]  # nothing was timed again
    (line,) = [line for line in text.splitlines() if line.split()[3:4] == ["70"]]
    # verified, context, draft, companion (none), verify, host, wall clock
    assert line.split() == ["8", "sd:k=3", "3.00", "70", "2.000", "3.000", "-", "-", "10.000", "11.000",
                            "1.000", "16.000"]  # fmt: skip
    assert "5 shapes of the table, timed again beside the loop, took +5.0%" in text
    assert "64 (out of memory)" in text and "synthetic" in text and "no evidence about a GPU" in text


def test_a_live_run_is_shown_with_its_laws(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(live_view(LIVE, FOUND), capsys)
    (line,) = [line for line in text.splitlines() if "sv:k=3" in line]
    assert line.split() == ["sv:k=3", "2.000", "2.100", "±", "0.050", "2.50", "2.40", "no", "0.310", "0.85"]
    assert "CPU" not in text


def test_figures_show_every_pair() -> None:
    error = error_figure(FOUND)
    assert [trace.name for trace in error.data] == ["td", "sd:k=3"]
    assert list(error.data[1].y) == pytest.approx([15.0, 100 * (900 / 700 - 1)])
    assert [shape.y0 for shape in error.layout.shapes if shape.type == "rect"] == [-8.0, -3.0]
    agreement = agreement_figure(FOUND)
    points = [trace for trace in agreement.data if trace.mode == "markers"]
    assert list(points[1].x) == [200.0, 700.0] and list(points[1].y) == [230.0, 900.0]
    assert [trace.mode for trace in goodput_figure(FOUND).data] == ["lines", "markers"] * 2
    assert list(marginal_figure(FOUND).data[1].y) == pytest.approx([0.2, 0.1])


@pytest.mark.parametrize("view", [bench(), loop(), live_view(LIVE, FOUND)], ids=["bench", "loop", "live"])
def test_the_page_holds_every_number_and_escapes_names(view: AccuracyView) -> None:
    page = render(replace(view, title="<script>x</script>"), "svsim validate <x>", "1.2")
    assert "<script>x</script>" not in page and "svsim validate &lt;x&gt;" in page
    for text in ("230.0", "200.0 ± 5.0", "28.6%", "0.120", "target 8.0%"):
        assert text in page, text
    assert page == render(replace(view, title="<script>x</script>"), "svsim validate <x>", "1.2")


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_accuracy_page(bench(), tmp_path / "no" / "page.html", "c", "1.2")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH; install it to open the page")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(width: int, tmp_path: Path) -> None:
    """Every chart drawn, nothing wider than the window, a silent console."""
    page = render(loop(), "svsim validate", "1.2")
    (scroll, inner, drawn, outside, state, _), console = look_at(page, width, tmp_path)
    assert int(inner) == width and int(scroll) <= int(inner)
    assert (state, int(drawn), int(outside)) == ("drawn", 4, 0)
    assert console == []
