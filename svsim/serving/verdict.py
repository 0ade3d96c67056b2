"""Whether to speculate at this load: in numbers, then in words.

The fastest lossless method that speculates (of all, where none is lossless) is compared with target-only
decoding under the same requests: mean end-to-end latency, with sampling (pairs of replications) and prices
(``price_error``) in the bar, as for the closed loop. Where only one of the two can carry the load, that
decides.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from svsim.metrics.verdict import HALF_90, HALF_95, Answer
from svsim.serving.metrics import Measured, Row, label_of, paired_ratio

SPEED = "e2el_s_mean"


def verdict_of(rows: Sequence[Row], measured: Sequence[Measured]) -> Mapping[str, Any] | None:
    """Of one deployment's rows; None without td or without a method that speculates."""
    pairs = list(zip(rows, measured, strict=True))
    base = next((pair for pair in pairs if pair[0]["method"] == "td"), None)
    others = [p for p in pairs if p[0]["method"] != "td" and not p[0]["is_bound"]]
    if base is None or not others:
        return None
    fastest = min(others, key=_place)
    best = min((p for p in others if p[0]["lossless"]), key=_place, default=fastest)
    found = paired_ratio(base[1], best[1], SPEED)
    ratio, low, high = (None, None, None) if found is None else found
    answer = _answer(base[0], best[0], ratio, low, high)
    return {
        "hardware": best[0]["hardware"],
        "rate": best[0]["rate"],
        "verdict": str(answer),
        "method": label_of(best[0]),
        "speedup_vs_td": ratio,
        "low": low,
        "high": high,
        "lossless": best[0]["lossless"],
        "words": _words(answer, base[0], best[0], ratio) + _about_loss(best[0], fastest[0]),
    }


def _place(pair: tuple[Row, Measured]) -> tuple[bool, float]:
    """Those that keep up first, then the faster."""
    row = pair[0]
    return row["saturated"], row[SPEED] or math.inf


def _about_loss(best: Row, fastest: Row) -> str:
    """What is said of a text that leaves the target's law."""
    if not best["lossless"]:
        return f" {label_of(best)} is not lossless, and no lossless method was asked for."
    if fastest["lossless"]:
        return ""
    return f" Faster, but not lossless: {label_of(fastest)} ({_seconds(fastest)})."


def _answer(base: Row, best: Row, ratio: float | None, low: float | None, high: float | None) -> Answer:
    if base["saturated"] != best["saturated"]:
        return Answer.SPECULATE if base["saturated"] else Answer.DO_NOT
    if ratio is None:
        return Answer.MEASURE
    sampling = math.log(high / low) / (2.0 * HALF_95) if low and high else 0.0
    factor = math.exp(HALF_90 * math.hypot(best["price_error"] or 0.0, sampling))
    return Answer.SPECULATE if ratio / factor > 1 else Answer.DO_NOT if ratio * factor < 1 else Answer.MEASURE


def _words(answer: Answer, base: Row, best: Row, ratio: float | None) -> str:
    label = label_of(best)
    if base["saturated"] and best["saturated"]:
        return (
            f"Neither keeps up: requests pile up with td ({base['output_tok_s']:,.0f} tok/s) and with "
            f"{label} ({best['output_tok_s']:,.0f} tok/s); latencies grow with the run. Add replicas, "
            "or lower the rate."
        )
    if base["saturated"]:
        return f"Speculate: {label} carries this load, td does not (its queue grows)."
    if best["saturated"]:
        return f"Do not speculate: td carries this load, {label} does not (its queue grows)."
    told = "" if ratio is None else f"mean end-to-end latency {_seconds(best)} against {_seconds(base)} of td"
    head = {
        Answer.SPECULATE: f"Speculate with {label}: ",
        Answer.DO_NOT: f"Do not speculate: with {label}, the fastest, ",
        Answer.MEASURE: f"Measure: {label} is within the error of prices and sampling, ",
    }[answer]
    return f"{head}{told}." + ("" if ratio is None else f" ({ratio:.2f}x)")


def _seconds(row: Row) -> str:
    return f"{row[SPEED]:,.2f} s"
