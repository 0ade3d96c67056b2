"""The page opened in headless Chromium: charts drawn, nothing overflows, no error, no foreign script."""

import pytest
from support.browser import CHROMIUM, look_at
from support.result_tables import crowded, hostile, information, one_machine, two_machines

from svsim.report.page import render

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the PATH; install it to open the page"
)


def look(table, width, folder):
    page = render(table, command="svsim replay x", analytic=table, information=information())
    return look_at(page, width, folder)


@pytest.mark.parametrize("width", [1280, 390])
def test_charts_are_drawn_and_nothing_overflows(width, tmp_path):
    (scroll, inner, drawn, outside, state, _), console = look(two_machines(), width, tmp_path)
    assert int(inner) == width and int(scroll) <= int(inner)
    assert (state, int(drawn), int(outside)) == ("drawn", 14, 0)
    assert console == []


@pytest.mark.parametrize("width", [1280, 390])
def test_twenty_methods_with_long_names_fit(width, tmp_path):
    (scroll, inner, drawn, outside, state, _), console = look(crowded(), width, tmp_path)
    assert int(scroll) <= int(inner) == width
    assert (state, int(drawn), int(outside)) == ("drawn", 7, 0)
    assert console == []


PICK = """<script>
const waiting = setInterval(() => {
  if (document.body.dataset.charts !== "drawn") return;
  clearInterval(waiting);
  const entry = document.querySelector(".key.methods li[data-method='sv:k=7']");
  const seen = () => {
    const lines = document.getElementById("plot-1").data.filter((trace) => trace.name);
    return lines.filter((trace) => trace.opacity === 0.08).length + "/" + lines.length;
  };
  entry.click();
  const faint = seen(), pressed = entry.getAttribute("aria-pressed");
  entry.click();
  console.log("picked " + [faint, pressed, seen(), entry.getAttribute("aria-pressed")].join(" "));
}, 100);
</script></body>"""


def test_a_method_picked_in_the_key_stands_out_until_picked_again(tmp_path):
    page = render(one_machine(), command="svsim replay x").replace("</body>", PICK)
    _, (line,) = look_at(page, 1280, tmp_path)
    assert "picked 4/5 true 0/5 false" in line


def test_a_hostile_trace_runs_no_script_and_keeps_the_width(tmp_path):
    (scroll, inner, drawn, _, state, hacked), console = look(hostile(), 390, tmp_path)
    assert int(scroll) <= int(inner)
    assert (state, hacked) == ("drawn", "0") and int(drawn) > 0
    assert console == []
