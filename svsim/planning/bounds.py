"""What a candidate can carry at most, by the analytic model: those that cannot be best are not simulated.

The analytic model says how long the mean step of n sequences takes and how many tokens it emits (prefill
apart). With n requests of O output tokens in the system and the prompt's share of steps added,

    rate(n) = a / (1 + a p),   a = n tokens(n) / (O step_s(n)),   p: what one prompt adds to a step of n

is what n users complete, and n / (rate(n) O) the mean time per token. No objective about time per token (or
the whole request) can be met where even the mean misses it. A rate above the largest that is left is ruled
out, with ``ROOM`` for what the model does not know. Between batch sizes step times go on in straight lines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from svsim.errors import OutOfRangeError, SvsimError
from svsim.latency.mixed_pass import MixedLatencyModel
from svsim.latency.shape import Role, StepShape
from svsim.options import RunOptions
from svsim.planning.candidates import Candidate
from svsim.run import Trace, answer
from svsim.serving.demand import BLOCK
from svsim.serving.slo import Slo

ROOM = 1.3
SIZES = (1, 8, 32, 128, 512)
KNOTS = np.unique(np.round(2.0 ** np.arange(0.0, 14.25, 0.25)))  # sequences
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MeanSteps:
    """Batch sizes, seconds of the mean step of each, tokens that a sequence gains in it; float64 [N]."""

    sizes: Floats
    seconds: Floats
    tokens: Floats

    def at(self, num: Floats) -> tuple[Floats, Floats]:
        """(seconds, tokens), the last line of seconds going on beyond the last size."""
        seconds, tokens = np.interp(num, self.sizes, self.seconds), np.interp(num, self.sizes, self.tokens)
        if len(self.sizes) > 1:
            slope = (self.seconds[-1] - self.seconds[-2]) / (self.sizes[-1] - self.sizes[-2])
            seconds = seconds + np.maximum(num - self.sizes[-1], 0.0) * max(slope, 0.0)
        return np.asarray(seconds), np.asarray(tokens)


def most_rates(
    trace: Trace | None, options: RunOptions, candidates: Sequence[Candidate], slos: Sequence[Slo]
) -> list[float]:
    """Requests per second that each candidate cannot exceed; infinite where the model does not know."""
    if trace is None:
        return [np.inf] * len(candidates)
    try:
        steps = analytic_steps(trace, options, candidates)
    except SvsimError:
        return [np.inf] * len(candidates)
    asked, found = mean_lengths(candidates[0]), []
    for one in candidates:
        try:
            found.append(_most_rate(one, steps.get((one.label, one.deployment)), slos, asked))
        except OutOfRangeError:
            found.append(np.inf)
    return found


def analytic_steps(
    trace: Trace, options: RunOptions, candidates: Sequence[Candidate]
) -> Mapping[tuple[str, str], MeanSteps]:
    """Mean steps by (method, deployment), at the contexts of the trace."""
    lenders = candidates[0].run.demand.trace
    num_requests = 1 if lenders is None else lenders.num_requests  # no batch exceeds them
    names = tuple(dict.fromkeys(str(c.cell.deployment.spec) for c in candidates if c.cell.deployment.spec))
    sizes = tuple(size for size in SIZES if size <= num_requests)
    asked = replace(
        options, batch_sizes=sizes, hardware=names, prefill="exclude", gpu_memory_utilization=None
    )
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for row in answer("analytic", trace, asked).rows:
        if row.step_time_s is not None and row.mean_acceptance_length is not None:
            point = (float(row.batch_size), row.step_time_s, row.mean_acceptance_length)
            found.setdefault((row.label, row.deployment), []).append(point)
    return {key: MeanSteps(*np.array(sorted(points)).T) for key, points in found.items()}


def mean_lengths(candidate: Candidate) -> tuple[float, float]:
    """Mean prompt and output tokens of the requests asked for."""
    rows = candidate.demand_at(1.0, BLOCK).requests(0).until(BLOCK)
    return float(rows["prompt"].mean()), float(rows["output"].mean())


def _most_rate(
    candidate: Candidate, steps: MeanSteps | None, slos: Sequence[Slo], asked: tuple[float, float]
) -> float:
    if steps is None:
        return np.inf
    prompt, output = asked
    rules, demand = candidate.cell.fleet.rules, candidate.run.demand
    most = min(rules.max_num_seqs, rules.num_blocks * rules.block_size / (prompt + 0.5 * output))
    num = np.append(KNOTS[most > KNOTS], max(most, 1.0))
    seconds, tokens = steps.at(num)
    if demand.lengths.law != "trace" and demand.trace is not None:
        recorded = float(demand.trace.num_prompt_tokens.mean() + 0.5 * demand.trace.num_output_tokens.mean())
        seconds = seconds * _longer(candidate, num, prompt + 0.5 * output, recorded)
    alone = num * tokens / (output * seconds)
    rate = alone / (1.0 + alone * _prompt_s(candidate, num, prompt, output))
    per_token_s = num / (rate * output)
    allowed = per_token_s <= ROOM * _time_per_token_s(slos, output)
    return ROOM * float(rate[allowed].max()) if allowed.any() else ROOM * float(rate[0])


def _time_per_token_s(slos: Sequence[Slo], output: float) -> float:
    """The strictest mean time per token that objectives leave."""
    limits = [slo.limit for slo in slos if slo.metric == "tpot"]
    limits += [slo.limit / output for slo in slos if slo.metric == "e2el"]
    return min(limits, default=np.inf)


def _target_s(candidate: Candidate, num: Floats, context: float) -> Floats:
    shape = StepShape(Role.TARGET, num, num, num * context)
    return candidate.cell.deployment.latency.predict_s(shape)


def _longer(candidate: Candidate, num: Floats, context: float, recorded: float) -> Floats:
    """How much longer a pass of the target takes at other contexts than the trace's."""
    return np.asarray(_target_s(candidate, num, context) / _target_s(candidate, num, recorded))


def _prompt_s(candidate: Candidate, num: Floats, prompt: float, output: float) -> Floats:
    """Seconds that one prompt adds to a pass of the target over ``num`` sequences."""
    latency = candidate.cell.deployment.latency
    if not isinstance(latency, MixedLatencyModel):
        return np.zeros(len(num))
    decode = StepShape(Role.TARGET, num, num, num * (prompt + 0.5 * output))
    chunk, none = np.full((len(num), 1), max(round(prompt), 1)), np.zeros((len(num), 1))
    with_prompt = latency.predict_mixed_s(decode, chunk, none)
    return np.asarray(with_prompt - latency.predict_mixed_s(decode, np.zeros((len(num), 1)), none))
