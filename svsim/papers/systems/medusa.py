"""Medusa: heads draft in the pass that verifies; what a round costs by weights, beside what was measured."""

from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

NEAR = Within(relative=0.15)


def round_cost() -> float:
    """The target and its heads read once, in target-only steps."""
    from svsim.latency.geometry import model_geometry

    paper = facts("medusa")
    model = model_geometry(paper["model"])
    return float(1.0 + paper["head_parameters"] / model.num_parameters)


def evidence(sheet: Sheet) -> None:
    """The round that each run implies; tau is an input and a tree of 64 tokens is not free: no verdict."""
    cost, implied = round_cost(), []
    for row in facts("medusa")["rows"]:
        sheet.predict(
            row["label"],
            "round, target-only steps",
            cost,
            "target and heads read once, 64 tokens verified for nothing: a lower bound, no verdict",
            published=row["tau"] / row["speedup"],
        )
        implied.append(row["tau"] / row["speedup"])
    sheet.say(
        f"The same weights took {min(implied):.2f} to {max(implied):.2f} target-only steps a round in three "
        f"hands; reading them takes {cost:.2f}. Verifying 64 tokens and the harness are the rest."
    )


def ask(sheet: Sheet, values: Values) -> None:
    """Speedup at a tau and a price of the tree."""
    tau, tree = float(values["tau"]), float(values["tree"])
    cost = round_cost() - 1.0 + tree
    why = f"a round of {cost:.3f} target-only steps: heads by weights, the tree as given"
    sheet.predict(f"tau = {tau:g}, tree of {tree:g} steps", "speedup", tau / cost, why, within=NEAR)


SYSTEM = System(
    "medusa",
    "Medusa: draft heads on the target",
    "arXiv 2401.10774; Spec-Bench and EAGLE-2's table 1 (arXiv 2406.16858) for the runs",
    "round >= 1 + heads/target weights, against tau/speedup",
    evidence,
    (
        Parameter("tau", "tokens of a round, bonus included", 1.0, 64.0),
        Parameter("tree", "verification of the tree, in target-only steps", 0.1, 100.0, default=1.0),
    ),
    ask,
)
