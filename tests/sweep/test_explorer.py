"""The explorer: what the sliders choose is what the rows say; keyboard, phone, size, hostile names."""

import json
import re
from itertools import product

import pytest
from support.browser import CHROMIUM, look_at
from support.sweeps import GRID, swept_files

from svsim.errors import InputError
from svsim.report.explorer import METRICS, data_of, dimensions, render, write_explorer
from svsim.sweeping.sweep import sweep

HOSTILE = 'sv:k=7,</script><script>parent.hacked = 1</script><img src=x onerror="parent.hacked = 1">'


def row(label="sd:k=2", batch=1, **more):
    return {
        **{"problem": None, "label": label, "method": label.partition(":")[0], "batch_size": batch},
        **{"hardware": "h100_sxm", "tensor_parallel": 4, "hardware_options": None, "is_bound": False},
        **{"speedup_vs_td": 1.5, "speedup_vs_td_ci_low": 1.4, "speedup_vs_td_ci_high": 1.6},
        **{"goodput_tok_s": 123.456789, "tpot_s": 0.0123456789, **more},
    }


def rows():
    """Two methods over batch sizes, an acceptance and two machines; one position is not there."""
    found = []
    for hardware, batch, acceptance in product(("h100_sxm", "l40s"), (1, 8, 64), (0.5, 0.9)):
        if (hardware, batch, acceptance) == ("l40s", 64, 0.9):
            continue
        for label, speed in (("td", 1.0), ("sd:k=2", 2.0 * acceptance - batch / 100.0)):
            found.append(
                row(
                    label,
                    batch,
                    hardware=hardware,
                    axis_acceptance=acceptance,
                    axis_batch=batch,
                    speedup_vs_td=speed,
                    speedup_vs_td_ci_low=None,
                    speedup_vs_td_ci_high=None,
                    goodput_tok_s=1000.0 * speed * batch,
                )
            )
    return found


def test_dimensions_are_what_tells_cells_apart():
    made = [one | {"deployment": one["hardware"]} for one in rows()]
    dims = dimensions(made)
    assert [(d.words, d.is_number, d.values) for d in dims] == [
        ("batch size", True, (1, 8, 64)),
        ("hardware", False, ("h100_sxm", "l40s")),
        ("acceptance", True, (0.5, 0.9)),
    ]
    data = data_of(made, dims, METRICS[:2])
    assert data["start"] == [1, 0, 1]
    assert len(data["series_of"]) == len(made) and data["at"][0][:3] == [0, 0, 0]
    assert data["values"][0][1] == 0.99


def test_values_are_rounded_to_what_a_page_shows():
    made = [row(batch=b) | {"deployment": "x"} for b in (1, 2)]
    data = data_of(made, dimensions(made), [m for m in METRICS if m.column in ("goodput_tok_s", "tpot_s")])
    assert data["values"] == [[123.46, 123.46], [12.346, 12.346]]
    assert data["low"] == [None, None]


def test_rows_without_methods_or_answers_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="have no methods"):
        render([{"problem": None, "depth": 1}], "info", "0", "")
    with pytest.raises(InputError, match="have no methods"):
        render([row() | {"problem": "no"}], "replay", "0", "")
    monkeypatch.setattr("svsim.report.explorer.MAX_PAGE_BYTES", 50_000)
    with pytest.raises(InputError, match=r"of 2,000 rows would have 0\.\d MB.* sweep fewer cells"):
        many = [row(batch=b, axis_seed=s) for b in range(1, 1001) for s in range(2)]
        write_explorer(many, "replay", "0", "", tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_a_sweep_makes_its_page(tmp_path):
    result = sweep(swept_files(tmp_path, GRID), tmp_path / "out", workers=1)
    result.explore(tmp_path / "e.html")
    page = (tmp_path / "e.html").read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    data = json.loads(found[1])
    assert [d["words"] for d in data["dims"]] == ["batch size", "seed"]
    assert [s["label"] for s in data["series"]] == ["td", "sd:k=2", "sv:k=3"]
    assert set(re.findall(r"https?://[^\"' ]*", page)) == {
        "http://www.w3.org/2000/svg"
    }  # a name, not a place


DRIVE = """<script>
const waiting = setInterval(() => {
  if (document.body.dataset.charts !== "drawn") return;
  clearInterval(waiting);
  const seen = () => [...document.querySelectorAll("#rows tr")].map((r) =>
    [...r.cells].slice(0, 2).map((c) => c.textContent.trim()).join("=")).join("; ");
  const set = (id, value) => {
    const control = document.getElementById(id);
    control.value = value;
    control.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const said = () => document.getElementById("said").textContent;
  const lines = () => document.querySelectorAll("#chart path").length;
  console.log("start | " + seen() + " | " + lines());
  set("dim-0", 2); set("dim-2", 0);
  console.log("moved | " + seen() + " | " + document.getElementById("out-0").textContent
    + " | " + document.getElementById("dim-0").getAttribute("aria-valuetext"));
  set("dim-1", 1); set("dim-2", 1);
  console.log("absent | " + said());
  set("dim-0", 0); set("metric", 1); set("along", 2);
  console.log("tokens | " + said());
  const controls = [...document.querySelectorAll(".controls input, .controls select")];
  const reached = (c) => c.id + ":" + (c.tabIndex === 0 && c.labels.length === 1);
  console.log("keyboard | " + controls.map(reached).join(" "));
  console.log("ready | " + Math.round(performance.now()));
}, 20);
</script></body>"""

in_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the PATH; install it to open the page"
)


def console_of(page, width, folder):
    (scroll, inner, *_, state, hacked), lines = look_at(page, width, folder)
    assert int(scroll) <= int(inner) == width
    assert (state, hacked) == ("drawn", "0")
    return [re.sub(r'.*CONSOLE[^"]*"(.*)", source.*', r"\1", line) for line in lines]


@in_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_sliders_choose_among_computed_cells(width, tmp_path):
    page = render(rows(), "analytic", "0", "svsim sweep").replace("</body>", DRIVE)
    start, moved, absent, tokens, keyboard, *_ = console_of(page, width, tmp_path)
    assert start == "start | ■ sd:k=2=1.72; ✖ td=1 | 2"
    assert "td=1; " in moved and "sd:k=2=0.36 | 64 | 64" in moved
    assert absent.endswith("nothing was computed here, or nothing has an answer.")
    assert "hardware l40s:tp=4, acceptance 0.9: sd:k=2 has the highest tokens/s, 1,790." in tokens
    assert keyboard == "keyboard | dim-0:true dim-1:true dim-2:true metric:true along:true"


@in_browser
def test_hostile_names_stay_names(tmp_path):
    made = [
        row(label, batch, hardware=HOSTILE, axis_policy=name)
        for label in ("td", HOSTILE)
        for batch in (1, 8)
        for name in (HOSTILE, "b")
    ]
    lines = console_of(render(made, "replay", HOSTILE, HOSTILE), 390, tmp_path)
    assert lines == []
