"""DEL: exit layer and draft length chosen anew each round; what its published range needs."""

from svsim.closed_forms import accept_prob_of, exit_tokens_per_layer
from svsim.errors import InputError
from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

NEAR = Within(relative=0.05)
MOST_DRAFTS = 64


def best_length(alpha: float, exit_layers: float, num_layers: float) -> int:
    """The draft length with the most tokens per layer."""
    return max(range(MOST_DRAFTS + 1), key=lambda d: exit_tokens_per_layer(alpha, d, exit_layers, num_layers))


def evidence(sheet: Sheet) -> None:
    """The range is all that is published: the acceptance that each end needs."""
    paper = facts("del")
    exit_layers, drafts = paper["static"]["exit"], paper["static"]["num_draft_tokens"]
    num_layers = paper["num_layers"]
    for end, speedup in paper["speedups"].items():
        why = "models, exits and acceptance of each run are not published"
        sheet.leave_open(f"abstract, {end}", "speedup", speedup, why)
        tokens = speedup * (drafts * exit_layers + num_layers) / num_layers
        alpha = accept_prob_of(tokens, drafts)
        sheet.predict(
            f"abstract, {end}, exit {exit_layers} of {num_layers}, {drafts} drafts",
            "acceptance needed",
            alpha,
            f"LayerSkip's static setting, layers being time; the best length there would be "
            f"{best_length(alpha, exit_layers, num_layers)}",
        )
    sheet.say(
        "Tokens per layer take every layer for the same time, head and reading of shadow tokens for none. "
        "What can be shown without its numbers is the rule against the best fixed pair, on a trace."
    )


def ask(sheet: Sheet, values: Values) -> None:
    """The best length of an exit, and its speedup."""
    alpha, exit_layers = float(values["alpha"]), float(values["exit"])
    num_layers = float(values["layers"])
    if exit_layers > num_layers:
        raise InputError(f"`exit` {exit_layers:g} lies behind the last of `layers` {num_layers:g}")
    best = best_length(alpha, exit_layers, num_layers)
    setting = f"alpha = {alpha:g}, exit {exit_layers:g} of {num_layers:g} layers"
    speedup = num_layers * exit_tokens_per_layer(alpha, best, exit_layers, num_layers)
    sheet.predict(
        setting,
        "speedup",
        speedup,
        f"{best} draft tokens (of at most {MOST_DRAFTS}), layers being time",
        within=NEAR,
    )
    sheet.predict(setting, "best draft length", best, "most tokens per layer", within=Within(absolute=0.0))


SYSTEM = System(
    "del",
    "DEL: exit and length chosen each round",
    "arXiv 2504.05598, COLM 2025, abstracts",
    "argmax over exits l and lengths d of tokens(alpha_l, d) / (d l + L)",
    evidence,
    (
        Parameter("alpha", "acceptance of the exit's tokens", 0.0, 0.999),
        Parameter("exit", "layers that draft", 1.0, 1000.0, default=8.0),
        Parameter("layers", "layers of the target", 1.0, 1000.0, default=32.0),
    ),
    ask,
)
