"""Scylla: acceptance length by a drafter's scale. Its coefficients are not published."""

import math

from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

A_PER_CENT = Within(relative=0.01)


def evidence(sheet: Sheet) -> None:
    """Nothing can be predicted: a and b of no axis are printed."""
    for row in facts("scylla")["printed"]:
        why = "a and b of the law, and the drafters' sizes, are not printed"
        sheet.leave_open(row["setting"], row["metric"], row["value"], why)
    sheet.say(
        "svsim synth --length-law A,B,X makes a trace of that mean acceptance length, and "
        "--drafter-parameters prices the drafter by its size; the law alone says nothing of time."
    )


def ask(sheet: Sheet, values: Values) -> None:
    """The law at one scale."""
    a, b, x = (float(values[name]) for name in ("a", "b", "x"))
    sheet.predict(
        f"{a:g} + {b:g} log10 {x:g}",
        "tokens per step",
        a + b * math.log10(x),
        "bonus token included",
        within=A_PER_CENT,
    )


SYSTEM = System(
    "scylla",
    "Scylla: scaling laws of drafters",
    "arXiv 2505.07858",
    "mean acceptance length a + b log10 x; a and b are the caller's",
    evidence,
    (
        Parameter("a", "constant of the law", 0.0, 1e6),
        Parameter("b", "tokens per step for ten times the scale", 0.0, 1e6),
        Parameter("x", "scale: parameters, training tokens or batch size", 1e-9, 1e30),
    ),
    ask,
)
