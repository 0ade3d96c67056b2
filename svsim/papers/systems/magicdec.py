"""MagicDec: drafts with a capped KV cache; speedup by batch size between two batches that set the prices."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from svsim.closed_forms import capped_cache_ratio, round_speedup, tokens_per_round
from svsim.errors import InputError
from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

A_ROW = Within(relative=0.02)
OF_ALPHA = "llama-3.1-8b"  # the ladder whose acceptance is printed
ALPHAS = (0.6, 0.7, 0.8, 0.9, 0.95)


class CacheCosts(NamedTuple):
    """c: weights over one sequence's KV; e: what a draft pass reads per sequence, in that unit."""

    excess: float
    per_sequence: float


def calibrated(ends: list[dict[str, Any]], alpha: float) -> CacheCosts:
    """c and e at which both ends of a ladder have their printed speedup."""
    ratios = [_draft_ratio(end, alpha) for end in ends]
    slopes = [(ratio - 1) / end["batch"] for ratio, end in zip(ratios, ends, strict=True)]
    c = (ratios[0] - ratios[1]) / (slopes[1] - slopes[0])
    return CacheCosts(ratios[0] + c * slopes[0], c)


def _draft_ratio(row: Mapping[str, Any], alpha: float) -> float:
    """The draft pass, in target-only steps, that a printed speedup implies."""
    tokens = tokens_per_round(alpha, row["gamma"])
    if tokens <= row["speedup"]:
        raise InputError(
            f"`alpha` {alpha:g} gives {tokens:.2f} tokens a round of {row['gamma']} drafts, too few for the "
            f"{row['speedup']}x printed at batch {row['batch']}; give a larger one"
        )
    return float((tokens / row["speedup"] - 1) / row["gamma"])


def speedup(costs: CacheCosts, alpha: float, batch: int, gamma: int) -> float:
    """Of a round: gamma draft passes and a verification as long as a step."""
    ratio = capped_cache_ratio(costs.excess, costs.per_sequence, batch)
    return round_speedup(tokens_per_round(alpha, gamma), gamma, ratio)


def evidence(sheet: Sheet) -> None:
    """Every ladder: its ends calibrate, its middle follows."""
    paper = facts("magicdec")
    for name, ladder in paper["ladders"].items():
        costs = calibrated(ladder["ends"], paper["alpha"])
        why = f"sets c = {costs.per_sequence:.3g} and e = {costs.excess:.3g} at alpha {paper['alpha']}"
        for end in ladder["ends"]:
            again = speedup(costs, paper["alpha"], end["batch"], end["gamma"])
            sheet.calibrate(_setting(ladder, end), "speedup", end["speedup"], again, why)
        for row in ladder["middle"]:
            _middle(sheet, name, ladder, row, costs)
    _from_bytes(sheet)
    sheet.say(
        "The law interpolates: c and e come from the outer batches. Where the middle is predicted too low, "
        "the gain saturates earlier than a draft of weights and a fixed share of the KV lets it."
    )


def _middle(
    sheet: Sheet, name: str, ladder: Mapping[str, Any], row: Mapping[str, Any], costs: CacheCosts
) -> None:
    alpha = facts("magicdec")["alpha"]
    others = [
        speedup(calibrated(ladder["ends"], other), other, row["batch"], row["gamma"]) for other in ALPHAS
    ]
    why = f"alpha {alpha} is printed for this model; interpolated between the outer batches"
    if name != OF_ALPHA:
        why = (
            f"alpha {alpha} is another model's; with any from {ALPHAS[0]} to {ALPHAS[-1]} it would be "
            f"{min(others):.2f} to {max(others):.2f}"
        )
    elif row["speedup"] is None:
        why += f"; to compare: --batch {row['batch']} --gamma {row['gamma']} --published X"
    predicted = speedup(costs, alpha, row["batch"], row["gamma"])
    sheet.predict(_setting(ladder, row), "speedup", predicted, why, published=row["speedup"], within=A_ROW)


def _from_bytes(sheet: Sheet) -> None:
    """What weights and KV bytes alone would make of the ladder: far more than is published."""
    from svsim.latency.geometry import model_geometry

    paper = facts("magicdec")
    model, ladder = model_geometry(paper["model"]), paper["ladders"][OF_ALPHA]
    context_bytes = model.kv_bytes_per_token * paper["context"]
    costs = CacheCosts(paper["budget"] / paper["context"], model.weight_bytes / context_bytes)
    found = []
    for end in ladder["ends"]:
        predicted = speedup(costs, paper["alpha"], end["batch"], end["gamma"])
        sheet.predict(
            _setting(ladder, end),
            "speedup from bytes alone",
            predicted,
            f"c = {costs.per_sequence:.2f} by model shape, budget {paper['budget']}; launches, all-reduces "
            "and sampling of the runs are not published: no verdict",
            published=end["speedup"],
        )
        found.append(f"{predicted:.1f}x where {end['speedup']}x is printed")
    fitted = calibrated(ladder["ends"], paper["alpha"])
    sheet.contradict(
        f"Bytes alone give {', '.join(found)}: the fitted c is {fitted.per_sequence:.1f} where weights over "
        f"one sequence's KV are {costs.per_sequence:.1f}. Not testable from geometry."
    )


def _setting(ladder: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    return f"{ladder['label']}, batch {row['batch']}, gamma = {row['gamma']}"


def ask(sheet: Sheet, values: Values) -> None:
    """Speedup of another batch or length on a ladder's prices."""
    ladder = facts("magicdec")["ladders"][values["ladder"]]
    alpha, batch, gamma = float(values["alpha"]), int(values["batch"]), int(values["gamma"])
    costs = calibrated(ladder["ends"], alpha)
    row = {"batch": batch, "gamma": gamma}
    why = f"c = {costs.per_sequence:.3g}, e = {costs.excess:.3g} of this ladder at alpha {alpha:g}"
    sheet.predict(_setting(ladder, row), "speedup", speedup(costs, alpha, batch, gamma), why, within=A_ROW)


SYSTEM = System(
    "magicdec",
    "MagicDec: drafts with a capped KV cache",
    "arXiv 2408.11049, ICLR 2025, the blog's tables",
    "tokens / (gamma r + 1), r = (e + c/B)/(1 + c/B), e and c set on the outer batches",
    evidence,
    (
        Parameter("batch", "sequences at once", 1, 65536, is_integer=True),
        Parameter("gamma", "draft tokens of a round", 1, 1024, default=3, is_integer=True),
        Parameter("alpha", "chance that a draft token is accepted", 0.3, 0.99, default=0.82),
        Parameter(
            "ladder",
            "whose outer batches set the prices",
            default=OF_ALPHA,
            words=(
                *("llama-3.1-8b", "llama-2-7b", "llama-2-7b-tinyllama", "llama-2-7b-h100"),
                "llama-2-7b-tinyllama-h100",
            ),
        ),
    ),
    ask,
)
