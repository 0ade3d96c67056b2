"""Entropy adaptive decoding: two models take turns; what a share of tokens on the large one costs."""

from typing import NamedTuple

from svsim.closed_forms import switched_cost
from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

COST = Within(relative=0.005)


class Turn(NamedTuple):
    """Seconds of a token on one model, and of its first pass after a gap of tokens that the other wrote."""

    token_s: float
    first_s: float


def evidence(sheet: Sheet) -> None:
    """The published cost is a count of parameters; beside it, seconds with and without catching up."""
    pair = facts("ead")["pair"]
    share, ratio = pair["large_share"], pair["small"] / pair["large"]
    sheet.take(pair["name"], "share of tokens on the large model", share, "measured by the paper")
    sheet.predict(
        pair["name"],
        "cost of a token, parameters",
        switched_cost(share, ratio),
        f"{share:.2f} + {1 - share:.2f} x {pair['small']:g}/{pair['large']:g}; sizes by the models' names",
        published=pair["cost"],
        within=COST,
    )
    _seconds(sheet, pair["name"], share)
    accuracy = facts("ead")["accuracy"]
    sheet.leave_open(
        pair["name"], "accuracy", accuracy["switching"],
        f"lossy ({accuracy['large_alone']:.1%} on the large model alone): needs generating anew",
    )  # fmt: skip


def _seconds(sheet: Sheet, name: str, share: float) -> None:
    """Roofline prices of one sequence, switching as often as the dwell allows."""
    priced, dwell = facts("ead")["priced_on"], facts("ead")["dwell_tokens"]
    small_run = dwell * max(1.0, (1 - share) / share)
    large_run = small_run * share / (1 - share)
    large, small = _turns(small_run, large_run)
    ideal = switched_cost(share, small.token_s / large.token_s)
    extra = (large.first_s - large.token_s + small.first_s - small.token_s) / (small_run + large_run)
    where = f"{name}, {priced['hardware']}, one sequence"
    sheet.predict(
        where, "cost of a token, seconds without catching up", ideal,
        f"roofline: {1e3 * large.token_s:.1f} and {1e3 * small.token_s:.1f} ms; no wall clock is published",
    )  # fmt: skip
    sheet.predict(
        where, "cost of a token, seconds with catching up", ideal + extra / large.token_s,
        f"a switch every {small_run:.0f} and {large_run:.0f} tokens, the most that a dwell of {dwell} allows",
    )  # fmt: skip
    sheet.contradict(
        f"The published saving counts parameters. In seconds one sequence saves {1 - ideal:.0%}: a pass has "
        f"a fixed time. Catching up after every switch takes {extra / large.token_s:.1%} of a step a token."
    )


def _turns(large_gap: float, small_gap: float) -> tuple[Turn, Turn]:
    """Both models' passes: a token, and a token after a gap."""
    from dataclasses import replace

    import numpy as np

    from svsim.latency.geometry import model_geometry
    from svsim.latency.roofline import RooflineLatency
    from svsim.latency.shape import Role, StepShape

    priced = facts("ead")["priced_on"]
    large = replace(model_geometry(priced["large"]), num_layers=priced["large_layers"])
    roofline = RooflineLatency.of(priced["hardware"], 1, large, model_geometry(priced["small"]))
    found = []
    for role, gap in ((Role.TARGET, large_gap), (Role.DRAFT, small_gap)):
        shape = StepShape(role, 1, np.array([1.0, 1.0 + round(gap)]), priced["context"], num_logit_tokens=1)
        token_s, first_s = roofline.predict_s(shape)
        found.append(Turn(float(token_s), float(first_s)))
    return found[0], found[1]


def ask(sheet: Sheet, values: Values) -> None:
    """Cost of a share, by parameters."""
    share, large, small = (float(values[name]) for name in ("share", "large", "small"))
    setting = f"{large:g} and {small:g} billion parameters, {share:.0%} of tokens on the large model"
    cost = switched_cost(share, small / large)
    why = "parameters of the model that writes; no switch, no fixed time is charged"
    sheet.predict(setting, "cost of a token, parameters", cost, why, within=COST)
    sheet.predict(setting, "saving", 1.0 - cost, why, within=Within(relative=0.01))


SYSTEM = System(
    "ead",
    "Entropy adaptive decoding (lossy)",
    "arXiv 2502.06833, abstract",
    "cost = share + (1 - share) small/large, in parameters",
    evidence,
    (
        Parameter("share", "share of tokens on the large model", 0.0, 1.0),
        Parameter("large", "parameters of the large model, billions", 0.001, 1e5, default=11.0),
        Parameter("small", "parameters of the small model, billions", 0.001, 1e5, default=3.0),
    ),
    ask,
)
