"""DiffuSpec: a diffusion model drafts a block in one pass; rounds from their tokens and times."""

from collections.abc import Mapping

from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

A_ROW, A_RATIO = Within(relative=0.07), Within(relative=0.01)


def round_of(row: Mapping[str, float]) -> float:
    """The round in target-only steps that MAT and speedup imply (MAT is all that a round commits)."""
    return float(row["mat"] / row["speedup"])


def fixed_length_round(k: float) -> float:
    """u + v k, set on the shortest and the longest block of table 5."""
    rows = facts("diffuspec")["table_5"]
    short, long = rows[0], rows[-1]
    per_token = (round_of(long) - round_of(short)) / (long["k"] - short["k"])
    return float(round_of(short) + per_token * (k - short["k"]))


def extra_pass() -> float:
    """One more draft pass, in target-only steps: figure 7 against table 1."""
    paper = facts("diffuspec")
    more, once = paper["figure_7"], paper["table_1"]["diffuspec"]
    return float((round_of(more) - round_of(once)) / (more["passes"] - 1))


def evidence(sheet: Sheet) -> None:
    """Speedups of rounds against each other; fixed lengths; ablations at the same round."""
    _ratio(sheet)
    _lengths(sheet)
    _ablations(sheet)
    paper = facts("diffuspec")
    own, times = paper["table_1"]["diffuspec"], paper["figure_6"]["diffuspec"]
    step = sum(times.values()) / round_of(own)
    more = paper["figure_7"]
    sheet.predict(
        f"{more['passes']} passes of the draft",
        "one more pass, target-only steps",
        extra_pass(),
        "from figure 7 and table 1; no pass is printed beside it: no verdict",
    )
    sheet.say(
        f"The first draft pass takes {times['draft'] / step:.2f} target-only steps by figure 6, each further "
        f"one {extra_pass():.2f} by figure 7. Table 4's tasks do not average to table 1, which alone is used."
    )


def _ratio(sheet: Sheet) -> None:
    """Two drafters on one machine: tokens over round time, one over the other."""
    paper = facts("diffuspec")
    rates = {
        name: (row["mat"] / sum(paper["figure_6"][name].values()), row["speedup"])
        for name, row in paper["table_1"].items()
    }
    (own, own_speedup), (other, other_speedup) = rates["diffuspec"], rates["sps"]
    sheet.predict(
        "mean of Spec-Bench",
        "speedup over SPS with Qwen2.5-7B",
        own / other,
        "tokens of a round (table 1) over its parts (figure 6, whose unit cancels)",
        published=own_speedup / other_speedup,
        within=A_RATIO,
    )


def _lengths(sheet: Sheet) -> None:
    rows = facts("diffuspec")["table_5"]
    for row in rows:
        setting = f"fixed block of {row['k']}"
        predicted = row["mat"] / fixed_length_round(row["k"])
        if row in (rows[0], rows[-1]):
            sheet.calibrate(setting, "speedup", row["speedup"], predicted, "sets the line round = u + v k")
        else:
            sheet.predict(
                setting,
                "speedup",
                predicted,
                f"MAT of this row, round of {fixed_length_round(row['k']):.3f} steps on that line",
                published=row["speedup"],
                within=A_ROW,
            )


def _ablations(sheet: Sheet) -> None:
    """The same blocks, other tokens: the round of the whole method."""
    paper = facts("diffuspec")
    whole = paper["table_1"]["diffuspec"]
    steps = round_of(whole)
    sheet.calibrate(
        "path search and adaptive length", "speedup", whole["speedup"], whole["mat"] / steps,
        f"sets the round: {steps:.3f} target-only steps",
    )  # fmt: skip
    for row in paper["table_2"]:
        sheet.predict(
            row["setting"],
            "speedup",
            row["mat"] / steps,
            "MAT of this row, the round of the whole method",
            published=row["speedup"],
            within=A_ROW,
        )
    again = paper["again"]
    sheet.predict(
        "re-implementation, GSM8K",
        "speedup",
        again["mat"] / steps,
        f"MAT of {again['source']}, the paper's round",
        published=again["speedup"],
        within=A_ROW,
    )


def ask(sheet: Sheet, values: Values) -> None:
    """Speedup of a fixed block and its MAT."""
    k, mat, passes = int(values["k"]), float(values["mat"]), int(values["passes"])
    steps = fixed_length_round(k) + (passes - 1) * extra_pass()
    why = f"a round of {steps:.3f} target-only steps: u + v k" + (
        f" and {passes - 1} more passes" if passes > 1 else ""
    )
    sheet.predict(f"fixed block of {k}, MAT = {mat:g}", "speedup", mat / steps, why, within=A_ROW)


SYSTEM = System(
    "diffuspec",
    "DiffuSpec: a block from one diffusion pass",
    "arXiv 2510.02358, tables 1, 2, 5, figures 6, 7",
    "speedup = MAT / round, round = u + v k set on k = 10 and 100",
    evidence,
    (
        Parameter("k", "tokens of the draft block", 1, 1024, is_integer=True),
        Parameter("mat", "accepted tokens of a round, bonus not counted", 0.0, 1024.0),
        Parameter("passes", "draft passes of a round", 1, 1024, default=1, is_integer=True),
    ),
    ask,
)
