"""The pictures of the README: figures of the main job, photographed in headless Chromium.

python docs/make_pictures.py        (needs Chromium; writes docs/img/*.png)
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import svsim
from svsim.report.figures import goodput_figure, speedup_figure, time_figure
from svsim.report.page import write_report

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "img"
METHODS = ["td", "sd:k=3", "sd:k=5", "sv:k=5", "oracle:k=5"]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=10000",
]


def photograph(page: Path, picture: Path, width: int, height: int) -> None:
    """A screenshot of a local page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("docs/make_pictures.py needs Chromium on the path")
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        subprocess.run([*command, f"--screenshot={picture}", page.as_uri()], check=True, capture_output=True)


def main() -> None:
    """One page and three figures."""
    OUT.mkdir(exist_ok=True)
    trace = ROOT / "traces" / "llama70b.parquet"
    table = svsim.replay(trace, methods=METHODS)
    one = {"hardware": "h100_sxm:tp=4"}
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        write_report(table, page, command="svsim replay traces/llama70b.parquet --report out.html")
        photograph(page, OUT / "report.png", 1100, 980)
        figures = {
            "goodput": goodput_figure(table, **one),
            "speedup": speedup_figure(table, **one),
            "time": time_figure(table, **one),
        }
        for name, figure in figures.items():
            height = int(figure.layout.height or 420)
            path = Path(folder) / f"{name}.html"
            path.write_text(figure.to_html(include_plotlyjs=True, config={"displayModeBar": False}))
            photograph(path, OUT / f"{name}.png", 760, height + 20)


if __name__ == "__main__":
    main()
