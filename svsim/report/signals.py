"""The section on what the signals are worth."""

from collections.abc import Mapping
from typing import Any

from svsim.report.formats import interval, number
from svsim.report.html import Html, element, join, short_name
from svsim.report.plain_table import PlainTable
from svsim.report.sections import section
from svsim.report.tables import folded, plain

JsonObject = Mapping[str, Any]
_ABSENT: JsonObject = {"value": None, "ci_low": None, "ci_high": None}


def information_section(information: JsonObject) -> Html:
    """Gain, ceiling and share of the first belief, then every belief, then the paper's way of counting.

    ``information`` is the object of that name in ``svsim info --json``.
    """
    beliefs = information["beliefs"]
    return section(
        "signals",
        "What the signals are worth",
        "How much a belief knows about whether a draft token will be accepted: learnt on "
        f"{information['num_profile_requests']:,} requests, judged on {information['num_judged_requests']:,} "
        f"others ({information['num_judged_tokens']:,} tokens, one per output position).",
        _headline(information) if beliefs else None,
        _meters(beliefs, information["ceiling_bits"]["value"]),
        _belief_table(beliefs) if beliefs else None,
        _paper(information.get("paper") or ()),
    )


def _headline(information: JsonObject) -> Html:
    first, ceiling = information["beliefs"][0], information["ceiling_bits"]
    words = "outcome itself" if information.get("acceptance") == "coin" else "acceptance probability itself"
    tiles = [
        (first["gain_bits"], ".3f", " bits", f"held-out information gain of {first['name']}"),
        (ceiling, ".3f", " bits", f"ceiling: knowing the {words}"),
        (first["share_of_ceiling"], ".0%", "", "share of the ceiling reached"),
        (information.get("overlap_correlation") or _ABSENT, ".2f", "",
         "correlation of the draft's overlaps with companion and target"),
    ]  # fmt: skip
    shown = [_tile(*tile) for tile in tiles if tile[0]["value"] is not None]
    return element("div", *shown, class_="numbers")


def _tile(estimate: JsonObject, form: str, unit: str, words: str) -> Html:
    around = interval(estimate["ci_low"], estimate["ci_high"], form)
    return element(
        "div",
        element("b", number(estimate["value"], form, unit)),
        element("span", words if around == "-" else f"{words}; 95 % interval {around}"),
    )


def _meters(beliefs: list[JsonObject], ceiling: float | None) -> Html | None:
    """A bar per belief; full is the ceiling."""
    gains = {b["name"]: b["gain_bits"]["value"] for b in beliefs if b["gain_bits"]["value"] is not None}
    if not gains or not ceiling or ceiling <= 0:
        return None
    bars = [
        element(
            "div",
            element("span", short_name(belief), class_="name"),
            element("span", f"{gain:.3f} bits, {gain / ceiling:z.0%} of the ceiling", class_="value"),
            element("span", element("i", style=f"width:{100 * min(max(gain / ceiling, 0), 1):.1f}%"),
                    class_="track"),
            class_="meter",
        )
        for belief, gain in sorted(gains.items(), key=lambda item: -item[1])
    ]  # fmt: skip
    return join(element("h3", "Information gain by signal"), element("div", *bars, class_="meters"))


def _belief_table(beliefs: list[JsonObject]) -> Html:
    heads = (
        "belief",
        "gain (bits)",
        "95 % interval",
        "of the ceiling",
        "R²",
        "Brier skill",
        "calibration error",
    )
    rows = [
        (
            str(b["name"]),
            number(b["gain_bits"]["value"], ".4f"),
            interval(b["gain_bits"]["ci_low"], b["gain_bits"]["ci_high"], ".4f"),
            number(b["share_of_ceiling"]["value"], ".1%"),
            number(b["r2"]["value"], ".3f"),
            number(b["brier_skill"]["value"], ".3f"),
            f"{b['calibration']['error']:.3f} (by chance {b['calibration']['noise']:.3f})",
        )
        for b in beliefs
    ]
    return plain(PlainTable("Beliefs", "", heads, rows, 1))


def _paper(gains: list[JsonObject] | tuple[()]) -> Html | None:
    if not gains:
        return None
    heads = ("bins of acceptance", "cells of the signals", "H(X)", "raw", "shuffled", "corrected")
    rows = [
        (
            str(g["num_x_bins"]),
            str(g["cells"]),
            *(f"{g[key]:.3f}" for key in ("entropy_bits", "raw_bits", "shuffled_bits", "corrected_bits")),
        )
        for g in gains
    ]
    caption = "Mutual information in bins, as in arXiv 2509.24328 (bits)"
    return folded(PlainTable(caption, "", heads, rows, 2))
