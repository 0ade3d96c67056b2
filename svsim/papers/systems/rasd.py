"""RASD: a draft tree and retrieved continuations verified together; bounds of what the merger accepts."""

from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

NEAR = Within(relative=0.05)


def evidence(sheet: Sheet) -> None:
    """Whole paths are merged, so a row accepts the larger of the two; means bound the merged mean."""
    paper = facts("rasd")
    _bounds(sheet, paper["drafted"], paper["retrieved"])
    sheet.leave_open(
        "abstract", "speedup", None, "no number of it found; pruning and tree sizes are set by hand"
    )
    sheet.say(
        "Per row accepted = max(tree, retrieval), never less than either source; the mean lies between the "
        "larger mean and the sum of both. Which it is, only a trace with both columns tells."
    )


def _bounds(sheet: Sheet, drafted: float, retrieved: float) -> None:
    setting = f"{drafted:g} tokens accepted of the tree, {retrieved:g} of retrieval, on average"
    why = "at least the larger mean; an example, no published number"
    sheet.predict(setting, "accepted tokens, at least", max(drafted, retrieved), why, within=NEAR)
    why = "at most the sum: reached where only one of the two ever accepts anything"
    sheet.predict(setting, "accepted tokens, at most", drafted + retrieved, why, within=NEAR)


def ask(sheet: Sheet, values: Values) -> None:
    """Bounds for two means."""
    _bounds(sheet, float(values["drafted"]), float(values["retrieved"]))


SYSTEM = System(
    "rasd",
    "RASD: retrieval beside a draft tree",
    "arXiv 2503.03434, Findings of ACL 2025, abstract",
    "accepted = max(tree, retrieval) on every row",
    evidence,
    (
        Parameter("drafted", "mean accepted tokens of the tree alone", 0.0, 255.0),
        Parameter("retrieved", "mean accepted tokens of retrieval alone", 0.0, 255.0),
    ),
    ask,
)
