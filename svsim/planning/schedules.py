"""``svsim plan --schedule``: phases of encoding and decoding (ExeGPT) on every deployment, cheapest first.

Closed-form phases of target-only decoding in place of a simulated server: requests always wait, so throughput
is what a replica completes, and latency is of a request of 99th-percentile output length, without a queue.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.method import DecodingMethod
from svsim.engines.binding import Deployment
from svsim.errors import InfeasibleError, InputError, require
from svsim.latency.shape import Role, StepShape
from svsim.options import texts
from svsim.phase_schedules.residency import OutputLengths
from svsim.phase_schedules.schedules import Limits
from svsim.phase_schedules.search import Found
from svsim.phase_schedules.spelling import ScheduleAsked
from svsim.planning.candidates import Candidate
from svsim.planning.options import PlanOptions
from svsim.random_streams import RandomStreams
from svsim.report.formats import number
from svsim.report.plain_table import PlainTable
from svsim.run import Trace
from svsim.serving.demand import Demand
from svsim.serving.memory import calibrated_limits
from svsim.serving.metrics import csv_of
from svsim.version import __version__

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Row = dict[str, Any]
NUM_DRAWN = 200_000  # lengths of a law that has no closed form here
NUM_SIDES = {"rra": 1, "waa": 2}  # GPU groups: one that does both, or one each


@dataclass(frozen=True, slots=True)
class DeploymentTimes:
    """Phases of target-only decoding on a deployment, its engine's host time at every pass included.

    most_queries, most_tokens: of a pass, as far as the step times reach: prompts go in as few passes as hold
    them, and larger decode batches take forever, so that no schedule has them.
    """

    deployment: Deployment
    method: DecodingMethod
    most_queries: float
    most_tokens: float

    @classmethod
    def of(cls, deployment: Deployment, method: DecodingMethod) -> "DeploymentTimes":
        """With the reach of its step times."""
        return cls(deployment, method, *map(float, calibrated_limits(deployment.latency)))

    @property
    def source(self) -> str:
        """Of the step times."""
        return self.deployment.latency.source

    def encode_s(self, num_queries: Floats, num_tokens: Floats) -> Floats:
        """Prefill steps of all prompts, one where the step times reach as far."""
        reach = np.maximum(num_tokens / self.most_tokens, num_queries / self.most_queries)
        steps = np.maximum(np.ceil(reach), 1.0)
        queries = np.maximum(num_queries / steps, 1.0)
        return steps * self.deployment.prefill_s(self.method, queries, num_tokens / steps, target_only=True)

    def decode_s(self, num_queries: Floats, num_kv_tokens: Floats) -> Floats:
        """One decode step; one that less than one request needs on average runs that often."""
        host = self.deployment.priced(self.method).host
        running = np.clip(num_queries, 1.0, self.most_queries)
        kv = num_kv_tokens * running / np.maximum(num_queries, 1.0)
        shape = StepShape(Role.TARGET, running, running, kv)
        pass_s = self.deployment.latency.predict_s(shape) + host.per_step_s + host.per_sequence_s * running
        seconds = pass_s * np.minimum(num_queries, 1.0)
        return np.where(num_queries > self.most_queries, np.inf, seconds)


@dataclass(frozen=True, slots=True)
class ScheduleResult:
    """Schedules, best first; ``to_frame`` and ``to_csv`` as other plans have them."""

    plans: tuple[Row, ...]
    config: Row
    notes: tuple[str, ...]

    @property
    def best(self) -> Row:
        """The plan to take."""
        return self.plans[0]

    @property
    def sentences(self) -> list[str]:
        """The decision in words."""
        best = self.best
        text = (
            f"Best: {best['schedule']} on {best['deployment']}: {best['throughput']:,.3g} requests/s on "
            f"{best['gpus_per_replica']:,} GPU{'s' * (best['gpus_per_replica'] > 1)}, "
            f"{best['latency_s']:,.3g} s for {best['tail_tokens']:,} output tokens."
        )
        if best["replicas"] is None:
            return [text]
        replicas = f"{best['replicas']:,} replica{'s carry' if best['replicas'] > 1 else ' carries'}"
        return [text, f"{replicas} {self.config['demand']:,.4g} requests/s."]

    @property
    def tables(self) -> list[PlainTable]:
        """One row per schedule."""
        heads = (
            *(
                "schedule",
                "deployment",
                "requests/s",
                "tok/s",
                "latency s",
                "phase s",
                "encode s",
                "decode s",
            ),
            *("residents", "decode batch", "GPUs", "$/h", "priced"),
        )
        note = (
            "latency: of a request of 99th-percentile output length; residents: requests that decode when a "
            "phase begins; priced: schedules that the search looked at"
        )
        caption = f"Schedules of phases, lengths {self.config['lengths']}"
        return [PlainTable(caption, note, heads, [_cells(row) for row in self.plans], 2)]

    def to_dict(self) -> Row:
        """The JSON document."""
        return {
            "svsim": __version__,
            "config": dict(self.config),
            "notes": list(self.notes),
            "words": self.sentences,
            "plans": [dict(row) for row in self.plans],
            "best": dict(self.best),
        }

    def to_frame(self) -> "pd.DataFrame":
        """One row per schedule, best first."""
        import pandas as pd

        return pd.DataFrame(list(self.plans))

    def to_csv(self) -> str:
        """The plans as CSV; undefined as empty."""
        return csv_of(list(self.plans))


def _cells(row: Row) -> list[str]:
    gpus = row["gpus"] if row["gpus"] is not None else row["gpus_per_replica"]
    return [
        row["schedule"],
        row["deployment"],
        number(row["throughput"], ",.3f"),
        number(row["output_tok_s"], ",.0f"),
        number(row["latency_s"], ",.3f"),
        number(row["phase_s"], ",.3f"),
        number(row["encode_s"], ",.3f"),
        number(row["decode_s"], ",.3f"),
        number(row["bd"], ",.1f"),
        number(row["mean_decode_batch"], ",.1f"),
        f"{gpus:,}",
        number(row["usd_per_hour"], ",.2f"),
        f"{row['num_priced']:,}",
    ]


def planned_schedules(
    trace: Trace | None, options: PlanOptions, schedules: Sequence[str] | str
) -> ScheduleResult:
    """The best of each kind of schedule on every deployment. InfeasibleError where none keeps the bound."""
    asked = [ScheduleAsked.parse(text) for text in texts("schedule", schedules)]
    bound, demand = _latency_bound(options), _rate(options.demand)
    serve = replace(options.serve, run=replace(options.serve.run, methods=("td",)))
    options = replace(options, serve=serve, slo=())
    candidates, notes = options.candidates(trace, options.grid(trace))
    lengths, prompt_tokens = _lengths(candidates[0].run.demand, serve.run.seed)
    rows: list[Row] = []
    problems: list[InfeasibleError] = []
    for candidate in candidates:
        for one in asked:
            try:
                found = _found(candidate, one, lengths, prompt_tokens, bound)
            except InfeasibleError as error:
                problems.append(error)
                continue
            rows.append(_row(candidate, found, demand))
    if not rows:
        raise problems[0]
    rows.sort(key=_cost)
    config = {
        "schedule": [text.strip() for text in texts("schedule", schedules)],
        "lengths": candidates[0].run.demand.lengths.text,
        "mean_prompt_tokens": prompt_tokens,
        "mean_output_tokens": lengths.mean,
        "latency_bound_s": bound,
        "demand": demand,
        "seed": serve.run.seed,
    }
    notes += tuple(f"left out: {problem}" for problem in problems)
    return ScheduleResult(tuple(rows), config, notes)


def _found(
    candidate: Candidate, asked: ScheduleAsked, lengths: OutputLengths, prompt: float, bound: float | None
) -> Found:
    cell = candidate.cell
    blocks = cell.num_blocks
    limits = Limits(bound, None if blocks is None else float(blocks * cell.settings.block_size))
    return asked.plan(lengths, prompt, DeploymentTimes.of(cell.deployment, cell.method), limits)


def _row(candidate: Candidate, found: Found, demand: float | None) -> Row:
    best, latency = found.best, candidate.cell.deployment.latency
    sides = NUM_SIDES[best.kind]
    gpus, usd = sides * candidate.num_gpus, candidate.usd_per_hour
    replicas = None if demand is None else math.ceil(demand / best.throughput)
    per_hour = None if usd is None else usd * sides * (replicas or 1)
    tokens_per_hour = best.output_tok_s * (replicas or 1) * 3600
    return {
        **best.to_row(),
        "deployment": candidate.deployment,
        "hardware": latency.hardware,
        "tensor_parallel": latency.tensor_parallel,
        "engine": candidate.cell.deployment.engine,
        "gpus_per_replica": gpus,
        "replicas": replicas,
        "gpus": None if replicas is None else replicas * gpus,
        "usd_per_hour": per_hour,
        "usd_per_million_tokens": None if per_hour is None else 1e6 * per_hour / tokens_per_hour,
        "num_priced": found.num_priced,
        "num_schedules": found.num_points,
    }


def _cost(row: Row) -> tuple[float, float]:
    """Dollars (else GPUs) of the fleet, or per request; ties go to the faster."""
    price = row["usd_per_hour"]
    paid = price if price is not None else float(row["gpus"] or row["gpus_per_replica"])
    return paid if row["replicas"] is not None else paid / row["throughput"], row["latency_s"]


def _latency_bound(options: PlanOptions) -> float | None:
    """Seconds of ``e2el:p99=S``, the one objective that a schedule knows."""
    if not texts("slo", options.slo):
        return None
    slos = options.slos
    for slo in slos:
        require(
            (slo.metric, slo.statistic) == ("e2el", "p99"),
            f"`slo` {slo.text}: a schedule of phases bounds the latency of long requests; give e2el:p99=S",
        )
    return min(slo.limit for slo in slos)


def _rate(demand: Any) -> float | None:
    """Requests/s, constant."""
    if demand is None:
        return None
    try:
        rate = float(demand)
    except (TypeError, ValueError):
        rate = math.nan
    if not 0 < rate < math.inf:
        raise InputError(f"`demand` {demand}: a schedule of phases takes requests/s, as 20")
    return rate


def _lengths(demand: Demand, seed: int) -> tuple[OutputLengths, float]:
    """The law of output lengths, and mean prompt tokens."""
    law, trace = demand.lengths, demand.trace
    if law.law == "trace":
        assert trace is not None
        return OutputLengths.observed(trace.num_output_tokens), float(trace.num_prompt_tokens.mean())
    if law.law == "normal":
        prompt_law, output_law = law.laws
        return output_law, prompt_law.mean
    num = 1 if law.law == "fixed" else NUM_DRAWN
    prompt, output = law.draw(num, RandomStreams(seed).generator("schedule lengths"))
    return OutputLengths.observed(output), float(prompt.mean())
