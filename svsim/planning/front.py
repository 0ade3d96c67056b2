"""Output tokens per second of a GPU against tokens per second of a user: one curve per method and hardware.

A user's tokens per second are 1 / median TPOT. vLLM's ``plot_pareto`` divides throughput by the users at once
instead; that number is beside it. A point is on its curve if no other of the method on that hardware has more
of both; on the front, if no other of any has.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from svsim.planning.rates import Found, Point
from svsim.serving.metrics import finite

PointRow = dict[str, Any]


def pareto_points(searched: Sequence[Found]) -> list[PointRow]:
    """Every rate that was simulated, of every candidate, with what it is on."""
    rows = [row for found in searched for point in found.points if (row := _row(found, point))]
    curve_of = [(row["method"], row["deployment"]) for row in rows]
    on_curve = _undominated(rows, curve_of)
    on_front = _undominated(rows, [0 if row["meets_slo"] else None for row in rows])
    for number, row in enumerate(rows):
        row["on_curve"], row["on_front"] = number in on_curve, number in on_front
    return sorted(rows, key=lambda r: (r["method"], r["deployment"], r["rate"]))


def _row(found: Found, point: Point) -> PointRow | None:
    values, candidate = point.values, found.candidate
    tpot_s, tok_s, users = values["tpot_s_p50"], values["output_tok_s"], values["mean_running"]
    if not (tpot_s > 0.0 and tok_s > 0.0 and users > 0.0):  # NaN too
        return None
    latency = candidate.cell.deployment.latency
    return {
        "method": candidate.cell.method.name,
        "params": dict(candidate.cell.method.params),
        "hardware": latency.hardware,
        "tensor_parallel": latency.tensor_parallel,
        "deployment": candidate.deployment,
        "max_num_seqs": candidate.cell.settings.max_num_seqs,
        "max_num_batched_tokens": candidate.cell.settings.max_num_batched_tokens,
        "rate": point.rate,
        "num_replications": point.num_replications,
        "tok_s_per_user": 1.0 / tpot_s,
        "tok_s_per_user_vllm": tok_s / users,
        "output_tok_s_per_gpu": tok_s / candidate.num_gpus,
        "mean_running": users,
        "meets_slo": point.meets,
        "slo": {slo.text: finite(values[slo.column]) for slo in found.trials.slos},
    }


def _undominated(rows: Sequence[PointRow], groups: Iterable[Hashable]) -> set[int]:
    """Numbers of the points of each group that no other has more of both than; None: no group."""
    members: dict[Hashable, list[int]] = {}
    for number, group in enumerate(groups):
        if group is not None:
            members.setdefault(group, []).append(number)
    found: set[int] = set()
    for numbers in members.values():
        best = 0.0
        for n in sorted(
            numbers, key=lambda i: (-rows[i]["tok_s_per_user"], -rows[i]["output_tok_s_per_gpu"])
        ):
            if rows[n]["output_tok_s_per_gpu"] > best:
                best = rows[n]["output_tok_s_per_gpu"]
                found.add(n)
    return found
