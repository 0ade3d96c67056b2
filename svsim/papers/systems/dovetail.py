"""Dovetail: target on the CPU, draft on the GPU; the tree shrinks as a verified node grows dearer."""

from svsim.closed_forms import best_tree_tokens
from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

MOST_NODES = 64
SLOPES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
NEAR = Within(relative=0.05)


def tree_speedup(num_nodes: int, slope: float, draft: float) -> float:
    """Tokens of the best tree over its time: a verification of 1 + b/a times its nodes, and drafting."""
    paper = facts("dovetail")
    tokens = best_tree_tokens(paper["rank_acceptance"], num_nodes, paper["depth"])
    return tokens * (1.0 + slope) / (draft + 1.0 + slope * (1 + num_nodes))


def best_nodes(slope: float, draft: float) -> int:
    """The number of nodes with the largest speedup."""
    return max(range(MOST_NODES + 1), key=lambda nodes: tree_speedup(nodes, slope, draft))


def evidence(sheet: Sheet) -> None:
    """Headline numbers cannot be tested; the best tree against the slope of the CPU's time can be shown."""
    paper = facts("dovetail")
    for setting, speedup in paper["speedups"].items():
        sheet.leave_open(
            f"abstract, {setting}", "speedup", speedup, "tau, tree and the CPU's times are not published"
        )
    found = {slope: best_nodes(slope, paper["draft_share"]) for slope in SLOPES}
    for slope, nodes in found.items():
        sheet.predict(
            f"a node more costs {slope:g} of a step",
            "best tree",
            nodes,
            f"{tree_speedup(nodes, slope, paper['draft_share']):.2f}x; ranks as Sequoia's sample, depth "
            f"{paper['depth']}, drafting {paper['draft_share']} of a step: ours, no verdict",
        )
    sheet.say(
        f"The best tree shrinks from {max(found.values())} nodes to {min(found.values())} as a verified node "
        "grows from free to a fifth of a step: why a CPU wants fewer candidates than a GPU."
    )


def ask(sheet: Sheet, values: Values) -> None:
    """The best tree of a slope."""
    slope, draft = float(values["slope"]), float(values["draft"])
    nodes = best_nodes(slope, draft)
    setting = f"a node more costs {slope:g} of a step, drafting {draft:g}"
    why = "ranks as Sequoia's sample vector"
    sheet.predict(setting, "speedup", tree_speedup(nodes, slope, draft), why, within=NEAR)
    sheet.predict(setting, "best tree", nodes, why, within=Within(absolute=0.0))


SYSTEM = System(
    "dovetail",
    "Dovetail: target on the CPU, draft on the GPU",
    "arXiv 2412.18934, EMNLP 2025, abstracts",
    "tokens of the best tree / (draft + a + b nodes)",
    evidence,
    (
        Parameter("slope", "cost of one more verified node, in steps", 0.0, 1.0),
        Parameter("draft", "drafting of a round, in steps", 0.0, 10.0, default=0.15),
    ),
    ask,
)
