"""Unknown names are answered with the closest known ones."""

import difflib
from collections.abc import Iterable

from svsim.errors import printable

MAX_LISTED = 20


def closest_names(name: str, known: Iterable[str]) -> str:
    """``did you mean a, b?``, or ``known: ...`` when nothing is close."""
    names = [printable(text, 80) for text in dict.fromkeys(known)]
    close = difflib.get_close_matches(name[:80], names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {', '.join(close)}?"
    more = ", ..." if len(names) > MAX_LISTED else ""
    return f"known: {', '.join(names[:MAX_LISTED])}{more}" if names else "none is known"
