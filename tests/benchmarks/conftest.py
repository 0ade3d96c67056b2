"""``make bench``: every benchmark adds a line to one table of figures beside their targets."""

import pytest

FIGURES: list[tuple[str, str, str]] = []


@pytest.fixture
def figure():
    """``figure(what, measured, target)`` adds a line to the table."""
    return lambda what, measured, target: FIGURES.append((what, measured, target))


def pytest_terminal_summary(terminalreporter):
    if not FIGURES:
        return
    terminalreporter.section("figures")
    width = max(len(what) for what, _, _ in FIGURES)
    for what, measured, target in FIGURES:
        terminalreporter.write_line(f"{what:{width}}  {measured:>24}  target {target}")
