"""Colours of methods in a phase diagram, and lines of equal speedup over its cells."""

from collections.abc import Iterator, Mapping, Sequence

from svsim.report.palette import INK, PAPER

Point = tuple[float, float]
TARGET_ONLY = "#d5d9df"
FIXED_LIGHT, FIXED_DARK = (201, 224, 244), (11, 78, 143)
OTHERS = ("#f0a04b", "#2f9e77", "#a56fc0", "#c2577f", "#8a6a3d", "#5b8c9b")
LEVELS = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)


def colours(labels: Sequence[str]) -> dict[str, str]:
    """A colour per label: grey for td, blues from light to dark for sd by its length, others by order."""
    fixed = sorted((one for one in labels if one.partition(":")[0] == "sd"), key=_length)
    found, rest = {}, 0
    for label in labels:
        if label == "td":
            found[label] = TARGET_ONLY
        elif label in fixed:
            found[label] = _blue(fixed.index(label) / max(len(fixed) - 1, 1))
        else:
            found[label] = OTHERS[rest % len(OTHERS)]
            rest += 1
    return found


def ink_on(colour: str) -> str:
    """The text colour that is read best on a colour (WCAG relative luminance)."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return INK if luminance > 0.22 else PAPER


def contour(values: Mapping[tuple[int, int], float], level: float) -> Iterator[tuple[Point, Point]]:
    """Pieces of the line where values (by column and row) cross ``level``, in columns and rows."""
    for column, row in values:
        corners = [(column, row), (column + 1, row), (column + 1, row + 1), (column, row + 1)]
        if all(corner in values for corner in corners):
            crossed = [
                _between(a, b, values[a], values[b], level)
                for a, b in zip(corners, corners[1:] + corners[:1], strict=True)
                if (values[a] < level) != (values[b] < level)
            ]
            yield from zip(crossed[::2], crossed[1::2], strict=False)


def _between(a: tuple[int, int], b: tuple[int, int], at_a: float, at_b: float, level: float) -> Point:
    share = (level - at_a) / (at_b - at_a)
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])


def _length(label: str) -> int:
    digits = "".join(char for char in label.partition("k=")[2].partition(",")[0] if char.isdigit())
    return int(digits or 0)


def _blue(share: float) -> str:
    mixed = [round(a + share * (b - a)) for a, b in zip(FIXED_LIGHT, FIXED_DARK, strict=True)]
    return "#" + "".join(f"{part:02x}" for part in mixed)
