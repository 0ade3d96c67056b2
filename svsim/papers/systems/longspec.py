"""LongSpec: a one-layer drafter with a constant cache; one round time per model size."""

from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

A_ROW, ROUNDING = Within(relative=0.02), Within(absolute=0.006)
TRUSTED = "the round of a model of the same size, another text and context"


def round_s(size: str) -> float:
    """Seconds of a round of Vicuna: tau over tokens per second."""
    row = facts("longspec")["rounds"][size]
    return float(row["tau"] / row["tok_s"])


def evidence(sheet: Sheet) -> None:
    """Vicuna's rounds calibrate; LongChat of the same size follows from its tau; speedups are quotients."""
    paper = facts("longspec")
    for size, row in paper["rounds"].items():
        why = f"sets a round of {1e3 * round_s(size):.1f} ms"
        sheet.calibrate(row["label"], "tok/s", row["tok_s"], row["tau"] / round_s(size), why)
    for row in paper["predicted"]:
        sheet.predict(
            row["label"],
            "tok/s",
            row["tau"] / round_s(row["size"]),
            f"{TRUSTED}; to compare: --size {row['size']} --tau {row['tau']} --published X",
            within=A_ROW,
        )
    for row in (*paper["rounds"].values(), *paper["others"]):
        sheet.predict(
            row["label"],
            "speedup",
            row["tok_s"] / row["target_only"],
            f"{row['tok_s']} over {row['target_only']} tok/s, as printed",
            published=row["speedup"],
            within=ROUNDING,
        )
    split = sum(paper["split_ms"].values())
    sheet.leave_open(
        "latency split of the project page",
        "round, ms",
        split,
        "model and GPU of the split are not said; bars read off",
    )
    sheet.say(
        "A round that is set by size alone leaves out the context, though the drafter reads one layer of the "
        "target's cache. Speedups are quotients of printed numbers: they confirm the print, not the system."
    )


def ask(sheet: Sheet, values: Values) -> None:
    """Tokens per second of a tau at a size."""
    tau, size = float(values["tau"]), str(values["size"])
    why = f"Vicuna's round of this size: {1e3 * round_s(size):.2f} ms"
    sheet.predict(f"{size}, tau = {tau:g}", "tok/s", tau / round_s(size), why, within=A_ROW)


SYSTEM = System(
    "longspec",
    "LongSpec: a drafter with a constant cache",
    "arXiv 2502.17421, main table at T = 0",
    "tok/s = tau / round, the round set on Vicuna of the same size",
    evidence,
    (
        Parameter("tau", "tokens of a round, bonus included", 1.0, 64.0),
        Parameter("size", "of the target", default="7b", words=("7b", "13b")),
    ),
    ask,
)
