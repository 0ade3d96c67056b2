"""Sequoia: the best static tree of a vector of chances, and its size by price."""

from typing import Any

from svsim.closed_forms import best_tree_tokens
from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

ROUNDING = Within(relative=0.01)  # times are printed with two digits
NEAR = Within(relative=0.05)


def token_time(tokens: float, depth: int, draft: float, target: float) -> float:
    """Time per token: depth draft calls and a verification."""
    return (depth * draft + target) / tokens


def _trees(demo: dict[str, Any], vector: list[float]) -> dict[tuple[int, int], tuple[float, float]]:
    """(nodes, depth) -> time per token, tokens. A budget counts the root."""
    found = {}
    for budget, target in zip(demo["budgets"], demo["target"], strict=True):
        for depth in range(min(demo["depth"], budget - 1) + 1):
            tokens = best_tree_tokens(vector, budget - 1, depth)
            found[budget, depth] = (token_time(tokens, depth, demo["draft"], target), tokens)
    return found


def evidence(sheet: Sheet) -> None:
    """The demo's best tree; the blog's speedups from its own times."""
    paper = facts("sequoia")
    trees = _trees(paper["demo"], paper["rank_acceptance"])
    best = min(trees, key=lambda shape: trees[shape][0])
    for budget in paper["demo"]["budgets"]:
        depth = min((d for b, d in trees if b == budget), key=lambda d: trees[budget, d][0])
        per_token, tokens = trees[budget, depth]
        sheet.predict(
            f"demo configuration, budget {budget}",
            "tokens of a round",
            tokens,
            f"best depth {depth}, {per_token:.2f} ms a token; the program prints no tokens: no verdict",
        )
    for row in paper["blog"]:
        sheet.predict(
            row["label"],
            "speedup",
            row["before"] / row["after"],
            f"{row['before']} over {row['after']}, as printed",
            published=row["speedup"],
            within=ROUNDING,
        )
    per_token, tokens = trees[best]
    sheet.say(
        f"By its demo's prices the best tree has {best[0]} nodes and depth {best[1]}: {tokens:.2f} tokens, "
        f"{per_token:.2f} ms each. The recursion's tree is the one of the largest products along paths."
    )


def ask(sheet: Sheet, values: Values) -> None:
    """Tokens of the best tree of the sample vector."""
    nodes, depth = int(values["m"]), int(values["depth"])
    tokens = best_tree_tokens(facts("sequoia")["rank_acceptance"], nodes, depth)
    setting = f"{nodes} nodes besides the root, depth {depth}, the sample vector"
    sheet.predict(setting, "tokens of a round", tokens, "bonus token included", within=NEAR)


SYSTEM = System(
    "sequoia",
    "Sequoia: the best static tree",
    "arXiv 2402.12374, NeurIPS 2024; the authors' blog and repository",
    "1 + the m largest products of chances along paths; (depth draft + target)/tokens",
    evidence,
    (
        Parameter("m", "nodes besides the root", 0, 4096, is_integer=True),
        Parameter("depth", "levels of the tree", 0, 64, default=10, is_integer=True),
    ),
    ask,
)
