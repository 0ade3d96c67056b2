"""Unknown names are answered with the closest known ones."""

import difflib
from collections.abc import Iterable


def closest_names(name: str, known: Iterable[str]) -> str:
    """``did you mean a, b?``, or ``known: ...`` when nothing is close."""
    names = list(dict.fromkeys(known))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {', '.join(close)}?"
    return f"known: {', '.join(names)}" if names else "none is known"
