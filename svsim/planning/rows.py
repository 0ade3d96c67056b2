"""Plans as plain rows: one per candidate that was searched, best first, what misses last."""

from typing import Any

from svsim.planning.fleet import Fleet
from svsim.planning.plan import Plan
from svsim.planning.rates import Found

BEST, COULD_BE, DEARER, MISSES, NOT_CHOSEN = "best", "could be best", "dearer", "misses", "not chosen"
PlanRow = dict[str, Any]
FROM_ROW = (
    *("output_tok_s", "mean_running", "mean_acceptance_length", "kv_use_max", "num_preemptions"),
    *("ttft_s_p50", "ttft_s_p99", "tpot_s_p50", "tpot_s_p99", "e2el_s_mean", "slo_attainment", "replay_kind"),
)


def plan_rows(plan: Plan) -> list[PlanRow]:
    """In order of cost; then those that may not be chosen; then those that meet the objectives at no rate."""
    others = [n for n in range(len(plan.searched)) if n not in plan.ordered]
    others.sort(key=lambda n: (plan.searched[n].rate is None, n))
    return [plan_row(plan, number) for number in (*plan.ordered, *others)]


def plan_row(plan: Plan, number: int) -> PlanRow:
    """Everything about one candidate. Undefined is None."""
    found = plan.searched[number]
    candidate, row = found.candidate, found.row or {}
    method, latency = candidate.cell.method, candidate.cell.deployment.latency
    replicas = _replicas(plan, number)
    fleet = plan.fleets.get(number)
    low, high = found.ci or (None, None)
    return {
        "method": method.name,
        "params": dict(method.params),
        "label": candidate.label,
        "deployment": candidate.deployment,
        "hardware": latency.hardware,
        "tensor_parallel": latency.tensor_parallel,
        "hardware_options": candidate.cell.deployment.options,
        "engine": candidate.cell.deployment.engine,
        "latency_source": latency.source,
        "max_num_seqs": candidate.cell.settings.max_num_seqs,
        "max_num_batched_tokens": candidate.cell.settings.max_num_batched_tokens,
        "kv_blocks": candidate.cell.num_blocks,
        "verdict": _verdict(plan, number),
        "max_rate": found.rate,
        "max_rate_ci_low": low,
        "max_rate_ci_high": high,
        "max_rate_low": found.low if found.rate else None,
        "max_rate_high": found.high if found.rate else None,
        "price_error": found.price_error,
        "closed_loop_rate": found.pilot.capacity,
        "tightest_slo": dict(found.nearest),
        "replicas": replicas,
        "gpus": None if replicas is None else replicas * candidate.num_gpus,
        **_costs(plan, found, replicas),
        "output_tok_s_per_gpu": row["output_tok_s"] / candidate.num_gpus if row else None,
        "lossless": method.is_lossless_on(candidate.run.metadata),
        **{name: row.get(name) for name in FROM_ROW},
        "at_max_rate": found.row,
        "fleet": None if fleet is None else _fleet_row(fleet),
    }


def _fleet_row(fleet: Fleet) -> PlanRow:
    """The row of the simulated part, saying how many replicas stand for how many."""
    told = {"rate": fleet.rate, "replicas": fleet.replicas, "num_simulated": fleet.num_simulated}
    return {**fleet.row, **told}


def _verdict(plan: Plan, number: int) -> str:
    if number == plan.best:
        return BEST
    if plan.searched[number].rate is None:
        return MISSES
    if number not in plan.ordered:
        return NOT_CHOSEN
    return COULD_BE if number in plan.could_be else DEARER


def _replicas(plan: Plan, number: int) -> int | None:
    rate, fleet = plan.searched[number].rate, plan.fleets.get(number)
    if rate is None or plan.traffic is None:
        return None if rate is None else 1
    return plan.costs.replicas(rate) if fleet is None else fleet.replicas


def _costs(plan: Plan, found: Found, replicas: int | None) -> PlanRow:
    """Dollars and joules of the fleet at the demand, or of one replica at its rate."""
    cost = found.candidate.cell.cost
    if replicas is None or found.rate is None:
        return {"usd_per_hour": None, "usd_per_million_tokens": None, "joules_per_million_tokens": None}
    tok_s = plan.output_tokens * (found.rate if plan.traffic is None else plan.traffic.peak)
    usd = None if cost.usd_per_hour is None else cost.usd_per_hour * replicas
    watts = None if cost.power_w is None else cost.power_w * replicas
    return {
        "usd_per_hour": usd,
        "usd_per_million_tokens": None if usd is None else 1e6 * usd / 3600.0 / tok_s,
        "joules_per_million_tokens": None if watts is None else 1e6 * watts / tok_s,
    }


def hour_rows(plan: Plan) -> list[PlanRow]:
    """Rate, replicas, GPUs and dollars of every hour; empty for one rate."""
    candidate = plan.searched[plan.best].candidate
    usd = candidate.usd_per_hour
    return [
        {
            "hour": one.hour,
            "rate": one.rate,
            "replicas": one.replicas,
            "gpus": one.replicas * candidate.num_gpus,
            "usd": None if usd is None else usd * one.replicas,
        }
        for one in plan.hours
    ]
