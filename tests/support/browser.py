"""A page opened in headless Chromium: what is drawn, what overflows, what the console says."""

import html
import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    "--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom", "--window-size=1400,1000",
)  # fmt: skip
# The page in a frame of a chosen width (a window cannot be as narrow as a phone), and what is seen there.
FRAME = """<!doctype html><body>
<iframe id="frame" style="border:0;width:{width}px;height:900px" srcdoc="{page}"></iframe>
<pre id="seen"></pre><script>
setInterval(() => {{
  const inside = frame.contentDocument, top = inside.documentElement;
  const drawn = [...inside.querySelectorAll(".plot")].filter((p) => p.querySelector("svg .trace")).length;
  const outside = [...inside.querySelectorAll(".plot")].filter((p) =>
    [...p.querySelectorAll(".annotation-text, .xtick text, .ytick text")].some((t) => {{
      const a = t.getBoundingClientRect(), b = p.getBoundingClientRect();
      return a.left < b.left - 1 || a.right > b.right + 1;
    }})).length;
  seen.textContent = JSON.stringify([top.scrollWidth, frame.contentWindow.innerWidth, drawn, outside,
    inside.body.dataset.charts, window.hacked ?? 0]);
}}, 200);
</script>"""


def look_at(page: str, width: int, folder: Path) -> tuple[list[str], list[str]]:
    """(scroll width, inner width, charts drawn, charts with text outside, state, hacked), and the log."""
    assert CHROMIUM is not None
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width, page=html.escape(page)), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", frame.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    seen = re.search(r'<pre id="seen">\[(.*?)\]</pre>', done.stdout)
    assert seen, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return [part.strip('"') for part in seen[1].split(",")], console
