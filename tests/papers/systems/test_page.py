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
