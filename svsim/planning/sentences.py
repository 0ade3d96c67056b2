"""A plan in words: the decision, what it rests on, what could be otherwise."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from svsim.planning.rows import BEST, COULD_BE, MISSES, PlanRow

MOST_NAMES = 4


def plan_sentences(
    plans: Sequence[PlanRow], hours: Sequence[Mapping[str, Any]], demand: str | None
) -> list[str]:
    """Each a sentence or two."""
    best = next(row for row in plans if row["verdict"] == BEST)
    return [
        _decision(best, demand),
        _rate(best),
        *_proof(best),
        _others(plans),
        *_by_hour(hours),
    ]


def _decision(best: PlanRow, demand: str | None) -> str:
    cost = "" if best["usd_per_hour"] is None else f", ${best['usd_per_hour']:,.2f} an hour"
    if best["usd_per_million_tokens"] is not None:
        cost += f", ${best['usd_per_million_tokens']:,.2f} per million output tokens"
    what = f"{best['label']} on {best['deployment']}"
    if demand is None:
        return f"Best: {what} carries {best['max_rate']:,.3g} requests/s on {_gpus(best['gpus'])}{cost}."
    replicas = f"{best['replicas']:,} replica{'s' * (best['replicas'] > 1)}"
    return f"Best for {demand}: {replicas} of {what}: {_gpus(best['gpus'])}{cost}."


def _gpus(num: int) -> str:
    return f"{num:,} GPU{'s' * (num > 1)}"


def _rate(best: PlanRow) -> str:
    alone = f"{best['max_rate_ci_low']:,.3g} to {best['max_rate_ci_high']:,.3g}"
    text = (
        f"One replica carries up to {best['max_rate']:,.3g} requests/s with every SLO met (single "
        f"replications: {alone}); {best['tightest_slo']['text']} is what binds."
    )
    if best["price_error"]:
        text += (
            f" Within the error of prices ({best['price_error']:.0%}, 90 % band) it is "
            f"{best['max_rate_low']:,.3g} to {best['max_rate_high']:,.3g}."
        )
    return text


def _proof(best: PlanRow) -> Iterator[str]:
    fleet = best["fleet"]
    if fleet is None:
        return
    seen = ", ".join(f"{slo['text']}: {_value(slo)}" for slo in fleet["slo"])
    num = fleet["num_simulated"]
    part = "" if num == fleet["replicas"] else f" ({num} of them simulated)"
    yield (
        f"The fleet of {fleet['replicas']:,}{part} was simulated at {fleet['rate']:,.4g} requests/s with "
        f"other random numbers: {seen}; all {fleet['num_replications']} replications meet every SLO."
    )


def _value(slo: Mapping[str, Any]) -> str:
    value = slo["value"]
    if value is None:
        return "no value"
    return f"{value:.1%}" if slo["text"].startswith("good") else f"{value:.3g} s"


def _others(plans: Sequence[PlanRow]) -> str:
    could = [f"{row['label']} on {row['deployment']}" for row in plans if row["verdict"] == COULD_BE]
    misses = [row for row in plans if row["verdict"] == MISSES]
    missing = f" {len(misses)} of {len(plans)} candidates meet the SLOs at no rate." if misses else ""
    if not could:
        return f"No other candidate could be the best within the errors of prices and sampling.{missing}"
    names = list(dict.fromkeys(could))
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    told = f"{', '.join(names[:MOST_NAMES])}{more}"
    return f"Could be the best within the errors of prices and sampling: {told}.{missing}"


def _by_hour(hours: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not hours:
        return
    replicas = [hour["replicas"] for hour in hours]
    used, always = sum(replicas), max(replicas) * len(hours)
    text = (
        f"By hour {min(replicas)} to {max(replicas)} replicas: {used:,} replica-hours in {len(hours)} h "
        f"instead of {always:,} ({1.0 - used / always:.0%} less)"
    )
    if hours[0]["usd"] is not None:
        each = hours[0]["usd"] / replicas[0]
        text += f", ${used * each:,.0f} instead of ${always * each:,.0f}"
    yield f"{text}. Starting and stopping replicas is not simulated."
