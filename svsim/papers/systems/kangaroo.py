"""Kangaroo: the target's first layers draft; tokens of a round and what it costs in layers."""

from typing import NamedTuple

from svsim.closed_forms import early_exit_round, tokens_of_survival
from svsim.errors import InputError
from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

A_BAR = Within(relative=0.08)
TYPICAL_DRAFTS = 2.0  # d is not published: 1.5 to 2.5 is what a stop at 0.6 makes plausible


class _Shape(NamedTuple):
    """In layers of the target: how many it has, the head, the adapter and the head per draft token."""

    num_layers: int
    head: float
    draft_extra: float


def _shape() -> _Shape:
    from svsim.latency.geometry import model_geometry

    paper = facts("kangaroo")
    model = model_geometry(paper["model"])
    head = model.vocabulary_size * model.hidden_size
    layer = (model.num_parameters - 2 * head) / model.num_layers
    return _Shape(model.num_layers, head / layer, (paper["adapter_parameters"] + head) / layer)


def speedup(tokens: float, num_drafted: float, exit_layers: float) -> float:
    """Tokens of a round over its time in target-only steps, weights read being time."""
    shape = _shape()
    return tokens / early_exit_round(
        num_drafted, exit_layers, shape.num_layers, shape.draft_extra, shape.head
    )


def evidence(sheet: Sheet) -> None:
    """Tokens per round of the one task whose CTAR is drawn, and its speedup for plausible lengths."""
    paper = facts("kangaroo")
    survival, task = paper["survival"]["values"], paper["survival"]["task"]
    tokens = tokens_of_survival(survival)
    for depth, share in enumerate(survival, start=1):
        sheet.take(f"Vicuna-7B, {task}", f"CTAR at w = {depth}", share, "read off figure 1")
    sheet.predict(
        f"Vicuna-7B, {task}",
        "tokens per round",
        tokens,
        "1 + the sum of CTAR; its CR is not printed",
        within=Within(relative=0.02),
    )
    least = 1.0 + sum(survival[1:])
    for drafts in (least, 1.5, TYPICAL_DRAFTS, 2.5):
        sheet.predict(
            f"Vicuna-7B, {task}, {drafts:.3g} drafts a round",
            "speedup",
            speedup(tokens, drafts, paper["exit_layers"]),
            "the drafts of a round are not published; compare the bar you read with --published",
            within=A_BAR,
        )
    for name, bar in paper["speedup_bars"].items():
        needed = bar * speedup(1.0, TYPICAL_DRAFTS, paper["exit_layers"]) ** -1
        sheet.leave_open(
            f"Vicuna-7B, {name}",
            "speedup",
            bar,
            f"a bar without its CTAR; at {TYPICAL_DRAFTS:g} drafts it takes {needed:.2f} tokens a round",
        )
    most = speedup(tokens, least, paper["exit_layers"])
    sheet.say(
        f"A round drafts at least one token and at least what it accepts: {least:.2f} on average, so {task} "
        f"gains at most {most:.2f}x; every further draft costs {_cost_of_a_draft():.3f} of a step."
    )


def _cost_of_a_draft() -> float:
    """Of one more draft token, in target-only steps."""
    exit_layers = facts("kangaroo")["exit_layers"]
    shape = _shape()
    return float((exit_layers + shape.draft_extra) / (shape.num_layers + shape.head))


def ask(sheet: Sheet, values: Values) -> None:
    """Speedup for tokens and drafts of a round."""
    tokens, drafts = float(values["tokens"]), float(values["drafted"])
    exit_layers = float(values["exit"])
    if tokens > drafts + 1:
        raise InputError(
            f"`drafted` {drafts:g} cannot give `tokens` {tokens:g}; a round of d drafts has at most d + 1"
        )
    setting = f"{tokens:g} tokens a round of {drafts:g} drafts, exit after {exit_layers:g} layers"
    why = "time is weights read: 32 layers and the head of Vicuna-7B, the adapter and the head per draft"
    sheet.predict(setting, "speedup", speedup(tokens, drafts, exit_layers), why, within=A_BAR)


SYSTEM = System(
    "kangaroo",
    "Kangaroo: early exit as drafter",
    "arXiv 2404.18911, NeurIPS 2024, figure 1",
    "tokens = 1 + sum of CTAR; round = (d + 1) l + d (adapter + head) + L - l layers and the head",
    evidence,
    (
        Parameter("drafted", "draft tokens of a round, on average", 0.0, 64.0, default=TYPICAL_DRAFTS),
        Parameter("tokens", "tokens of a round, bonus included", 1.0, 65.0, default=1.902),
        Parameter("exit", "layers that draft", 1.0, 31.0, default=2.0),
    ),
    ask,
)
